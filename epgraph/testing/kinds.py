"""Checks that an edge kind is what it says: shapes, adjoint, gradients, pairs, cost, and that it can be compiled.

In float64, on fixed random numbers. Derivatives are held to autograd through ``forward``, and where the edge is linear
to ⟨A s, t⟩ = ⟨s, Aᵀ t⟩ as well, which needs no autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from epgraph.arguments import instance, refused, several, shown, whole_number
from epgraph.errors import EpgraphError
from epgraph.kinds import EdgeKind, Shape, ShapeError, shape_text
from epgraph.result_shapes import Sample, copies, copy, shape_rules
from epgraph.testing import one_state
from epgraph.testing.recording import differs, raise_all, record, said

if TYPE_CHECKING:
    pass

SOURCES: tuple[Shape, ...] = ((3, 6, 6), (3, 7, 7), (2, 8, 5), (4, 9, 10), (6,), (5,))
"""Sources that a kind is tried on where no shapes are given."""

TARGETS: tuple[Shape, ...] = ((4,), (2, 3, 3))
"""Targets for a kind that reaches any shape."""


def verify_kind(kind: EdgeKind | type[EdgeKind], shapes: Sequence[tuple[Shape, Shape]] = ()) -> list[str]:
    """Check an edge kind: a class whose options all have defaults, or one with its options.

    ``shapes`` are pairs of source and target to check it on; left out, it is tried on a few images and vectors.

    ``forward`` gives the target's shape and the shape rules agree with it; it is linear in the source where the kind
    says so; ``adjoint`` and ``weight_gradient`` are the derivatives of ⟨t, A s⟩; the maps of pairs act on s⁺ and s⁻ as
    the plain ones do, and ``weight_contrast`` is half the difference of two gradients; the untied adjoint is the
    adjoint where both weights are one; nothing is written into an argument, or handed back as a result; ``macs`` does
    not count more than is computed; the precision stays; torch.fx can record the methods, for any batch.

    Returns
    -------
    list
        Remarks on what is right but could be better.

    Raises
    ------
    EpgraphError
        With every check that fails, on which shapes, and by how much.
    """
    made = _instance(kind)
    pairs = [_pair(pair) for pair in several("shapes", shapes)]
    remarks: list[str] = []
    raise_all(made.name, _problems(made, pairs, remarks), type(made))
    return remarks


def _pair(value: object) -> tuple[Shape, Shape]:
    """Return the two shapes of a pair."""
    shapes = several("an entry of shapes", value)
    if len(shapes) != 2:
        raise EpgraphError(f"an entry of shapes is a pair, found {len(shapes)}", "e.g. [((3, 8, 8), (4, 4, 4))]")
    source, target = (tuple(whole_number("a size", size, 1) for size in several("a shape", shape)) for shape in shapes)
    return source, target


def _instance(kind: EdgeKind | type[EdgeKind]) -> EdgeKind:
    given: object = kind
    if not isinstance(kind, type):
        return instance("verify_kind", kind, EdgeKind, "pass an edge kind, or its class")
    if not issubclass(kind, EdgeKind):
        raise refused(f"verify_kind expects an edge kind, found {shown(given)}", "derive it from epgraph.EdgeKind")
    needed = [name for name, option in kind.model_fields.items() if option.is_required()]
    if needed:
        hint = f"pass one with its options, such as {kind.__name__}({needed[0]}=…)"
        raise EpgraphError(f"{kind.__name__} needs the options {', '.join(needed)}", hint, "verify")
    try:
        return kind()
    except TypeError as error:
        raise EpgraphError(
            f"{kind.__name__}: {error}", "write every method of EdgeKind that has no default", "verify"
        ) from None


def _problems(kind: EdgeKind, shapes: Sequence[tuple[Shape, Shape]], remarks: list[str]) -> Iterator[str]:
    samples = [Sample(kind, source, target, remarks) for source, target in shapes or _shapes(kind)]
    if not samples:
        yield f"none of the sources {', '.join(map(shape_text, SOURCES))} can be used; name shapes that can"
    failed: dict[Callable[[Sample], Iterator[str]], None] = {}
    for sample in samples:
        for check in UNARY_CHECKS if sample.unary else CHECKS:
            if check in failed:
                continue  # said once
            found = _run(check, sample)
            yield from (f"{problem} (on {sample})" for problem in found)
            if found:
                failed[check] = None
                if check is shape_rules:
                    return  # nothing else can be said about it


def _run(check: Callable[[Sample], Iterator[str]], sample: Sample) -> list[str]:
    found: list[str] = []
    try:
        found.extend(check(sample))
    except Exception as error:  # it is the user's own code that fails
        found.append(f"{check.__name__.strip('_').replace('_', ' ')}: {said(error, type(sample.kind))}")
    return found


def _shapes(kind: EdgeKind) -> Iterator[tuple[Shape, Shape]]:
    for source in SOURCES:
        for channels in dict.fromkeys((4, source[0])):
            try:
                target = kind.target_shape(source, channels)
            except ShapeError:
                continue
            yield from ((source, t) for t in (TARGETS if target is None else (target,)))
            break


def _arguments_are_left_alone(sample: Sample) -> Iterator[str]:
    for pair in (False, True):
        given = sample.draw(batch=4)
        for name, method in sample.methods(pair).items():
            arguments = copies(*given)
            made = method(*arguments)
            for what, before, after in zip(("weight", "s", "t"), given, arguments, strict=True):
                if before is None or after is None:
                    continue
                if not bool((before == after).all()):
                    yield f"{name} writes into its argument {what}"
                elif made.untyped_storage().data_ptr() == after.untyped_storage().data_ptr():
                    yield f"{name} hands its argument {what} back: the result has to be a tensor of its own"


def _linear_in_the_source(sample: Sample) -> Iterator[str]:
    kind, source, target = sample.kind, sample.source, sample.target
    if not kind.is_linear:
        return
    weight, s, t = sample.draw()
    other = sample.draw(1)[1]
    found = kind.forward(copy(weight), 2 * s - 3 * other, target)
    expected = 2 * kind.forward(copy(weight), s.clone(), target) - 3 * kind.forward(copy(weight), other.clone(), target)
    yield from differs("forward of 2a − 3b", found, expected, "the kind says that it is linear in its source")
    back = kind.adjoint(copy(weight), t.clone(), None, source)
    left = (kind.forward(copy(weight), s.clone(), target) * t).sum()
    yield from differs("⟨s, Aᵀ t⟩", (s * back).sum(), left, "that is not ⟨A s, t⟩: the adjoint is not the transpose")


def _adjoint_is_the_derivative(sample: Sample) -> Iterator[str]:
    import torch

    weight, s, t = sample.draw()
    with torch.enable_grad():
        point = s.clone().requires_grad_()
        phi = (sample.kind.forward(copy(weight), point.clone(), sample.target) * t).sum()
        (expected,) = torch.autograd.grad(phi, point)
    found = sample.kind.adjoint(copy(weight), t.clone(), s.clone(), sample.source)
    yield from differs("adjoint", found, expected, "expected ∂⟨t, A s⟩/∂s")


def _weight_gradient_is_the_derivative(sample: Sample) -> Iterator[str]:
    import torch

    weight, s, t = sample.draw()
    if weight is None:
        return
    with torch.enable_grad():
        point = weight.clone().requires_grad_()
        phi = (sample.kind.forward(point.clone(), s.clone(), sample.target) * t).sum()
        (expected,) = torch.autograd.grad(phi, point)
    found = sample.kind.weight_gradient(weight.clone(), s.clone(), t.clone(), sample.source)
    yield from differs("weight_gradient", found, expected, "expected ∂⟨t, A s⟩/∂w, summed over the batch")


def _degree_in_the_weight(sample: Sample) -> Iterator[str]:
    weight, s, _ = sample.draw()
    if weight is None:
        return
    degree = sample.kind.degree
    found = sample.kind.forward(2 * weight, s.clone(), sample.target)
    expected = 2.0**degree * sample.kind.forward(weight.clone(), s.clone(), sample.target)
    yield from differs("forward by twice the weight", found, expected, f"expected 2ᵈ A s, with d the degree {degree}")


def _pairs_are_the_two_states(sample: Sample) -> Iterator[str]:
    import torch

    kind, source, target = sample.kind, sample.source, sample.target
    weight, c_s, c_t = sample.draw()
    _, o_s, o_t = sample.draw(1)
    pair_s, pair_t = torch.cat((c_s, o_s)), torch.cat((c_t, o_t))
    common, odd = kind.forward_pair(copy(weight), pair_s.clone(), target).chunk(2)
    back, odd_back = kind.adjoint_pair(copy(weight), pair_t.clone(), pair_s.clone(), source).chunk(2)
    gradients = []
    for sign, name in ((1, "c + o"), (-1, "c − o")):
        s, t = c_s + sign * o_s, c_t + sign * o_t
        plain = kind.forward(copy(weight), s.clone(), target)
        yield from differs("forward_pair", common + sign * odd, plain, f"expected forward of {name}")
        plain = kind.adjoint(copy(weight), t.clone(), s.clone(), source)
        yield from differs("adjoint_pair", back + sign * odd_back, plain, f"expected adjoint of {name}")
        if weight is not None:
            gradients.append(kind.weight_gradient(weight.clone(), s, t, source))
    if weight is not None:
        found = kind.weight_contrast(weight.clone(), pair_s.clone(), pair_t.clone(), source)
        expected = 0.5 * (gradients[0] - gradients[1])
        yield from differs("weight_contrast", found, expected, "expected half the difference of two weight gradients")


def _untied_adjoint(sample: Sample) -> Iterator[str]:
    import torch

    kind, source = sample.kind, sample.source
    weight, s, t = sample.draw(batch=4)
    if weight is None:
        return
    found = kind.adjoint_untied(weight.clone(), weight.clone(), t.clone(), s.clone(), source)
    expected = kind.adjoint(weight.clone(), t.clone(), s.clone(), source)
    yield from differs("adjoint_untied", found, expected, "expected the adjoint where both weights are one")
    found = kind.adjoint_untied_pair(weight.clone(), weight.clone(), t.clone(), s.clone(), source)
    expected = kind.adjoint_pair(weight.clone(), t.clone(), s.clone(), source)
    yield from differs("adjoint_untied_pair", found, expected, "expected adjoint_pair where both weights are one")
    other = torch.roll(weight, 1, 0)
    found = kind.adjoint_untied(weight.clone(), 2 * other, t.clone(), s.clone(), source)
    expected = 2.0**kind.degree * kind.adjoint_untied(weight.clone(), other, t.clone(), s.clone(), source)
    yield from differs("adjoint_untied", found, expected, "expected it to go back through the feedback")


def _cost(sample: Sample) -> Iterator[str]:
    from torch.utils.flop_counter import FlopCounterMode

    said_macs = sample.kind.macs(sample.source, sample.target)
    if not isinstance(said_macs, int) or isinstance(said_macs, bool) or said_macs < 0:
        yield f"macs gives {said_macs!r}: expected a whole number, 0 or more"
        return
    weight, s, _ = sample.draw(batch=1)
    with FlopCounterMode(display=False) as counter:
        sample.kind.forward(weight, s, sample.target)
    counted = counter.get_total_flops() // 2
    if not counted:
        return  # elementwise operations are not counted
    if said_macs > counted:
        yield f"macs says {said_macs:,}, and forward takes {counted:,} multiply-accumulates for one example"
    elif said_macs < counted:
        sample.remarks.append(
            f"forward takes {counted:,} multiply-accumulates, and macs says {said_macs:,} (on {sample})"
        )


def _precision(sample: Sample) -> Iterator[str]:
    import torch

    for name, method in sample.methods(pair=False).items():
        made = method(*(None if v is None else v.float() for v in sample.draw()))
        if made.dtype != torch.float32:
            yield f"{name} gives {str(made.dtype).removeprefix('torch.')} from float32"


def _can_be_recorded(sample: Sample) -> Iterator[str]:
    import torch

    for pair in (False, True):
        for name, method in sample.methods(pair).items():
            given = sample.draw(batch=6)
            # A kind without weights gets None in their place, as it does from the compiler.
            bare = given[0] is None
            function = (lambda s, t, m=method: m(None, s, t)) if bare else method
            arguments = given[1:] if bare else given
            try:
                again = record(function, len(arguments))
                found = again(*copies(*arguments))
            except Exception as error:
                yield f"{name} cannot be recorded by torch.fx: {said(error, type(sample.kind))}"
                continue
            with torch.no_grad():
                expected = method(*copies(*given))
            if found.shape != expected.shape:
                yield f"{name} as recorded gives the shape {shape_text(tuple(found.shape))}"
                continue
            yield from differs(f"{name} as recorded by torch.fx", found, expected, "expected what it gives itself")


UNARY_CHECKS = (shape_rules, _arguments_are_left_alone, *one_state.CHECKS, _precision, _can_be_recorded)
"""Those of a kind that acts on one state."""

CHECKS: tuple[Callable[[Sample], Iterator[str]], ...] = (
    shape_rules,
    _arguments_are_left_alone,
    _linear_in_the_source,
    _adjoint_is_the_derivative,
    _weight_gradient_is_the_derivative,
    _degree_in_the_weight,
    _pairs_are_the_two_states,
    _untied_adjoint,
    _cost,
    _precision,
    _can_be_recorded,
)
"""Every check, in order; where the shape rules fail the others are not run."""

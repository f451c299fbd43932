"""Checks that an edge kind is what it says: shapes, adjoint, gradients, pairs, cost, and that it can be compiled.

In float64, on fixed random numbers. Derivatives are held to autograd through ``forward``, and where the edge is linear
to ⟨A s, t⟩ = ⟨s, Aᵀ t⟩ as well, which needs no autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from epgraph.arguments import instance, refused, several, shown, whole_number
from epgraph.errors import EpgraphError
from epgraph.kinds import EdgeKind, Shape, ShapeError, shape_text
from epgraph.testing.recording import differs_in_shape, raise_all, record, said

if TYPE_CHECKING:
    from torch import Tensor

TOLERANCE = 1e-10
"""Largest error of a float64 result, relative to its norm."""

SOURCES: tuple[Shape, ...] = ((3, 6, 6), (3, 7, 7), (2, 8, 5), (4, 9, 10), (6,), (5,))
"""Sources that a kind is tried on where no shapes are given."""

TARGETS: tuple[Shape, ...] = ((4,), (2, 3, 3))
"""Targets for a kind that reaches any shape."""

MOST_UNITS = 2_000
"""Units of a state above which ``smaller`` looks for a smaller one."""

MOST_OF_ONE = 300
"""The same for a kind that acts on one state, whose matrix of second derivatives is looked at."""


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


def shape_problems(kind: EdgeKind, source: Shape, target: Shape) -> list[str]:
    """Return which methods of a kind give other shapes than it says, tried on small states that it joins so."""
    return list(_shape_rules(Case(kind, *smaller(kind, source, target), [])))


def smaller(kind: EdgeKind, source: Shape, target: Shape) -> tuple[Shape, Shape]:
    """Return shapes that a kind joins as it joins these, but with few units where there are many."""
    most = MOST_OF_ONE if getattr(kind, "unary", False) else MOST_UNITS
    if max(_units(source), _units(target)) <= most:
        return source, target
    few = tuple(min(n, 3) if i == 0 else n if n <= 16 else 8 + n % 8 for i, n in enumerate(source))
    for reduced in (few, (few[0], *source[1:]) if len(source) == 3 else few):
        try:
            made = kind.target_shape(reduced, min(target[0], 4))
        except ShapeError:
            continue
        return reduced, tuple(min(n, 4) for n in target) if made is None else made
    return source, target


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


@dataclass(frozen=True)
class Case:
    """A kind between two shapes."""

    kind: EdgeKind
    source: Shape
    target: Shape
    remarks: list[str]

    def __str__(self) -> str:
        return f"{shape_text(self.source)} → {shape_text(self.target)}"

    @property
    def unary(self) -> bool:
        """Whether the kind acts on one state, and ``forward`` is the derivative of its ``potential``."""
        return bool(getattr(self.kind, "unary", False))

    @cached_property
    def weight_shape(self) -> Shape | None:
        """Shape of the weight."""
        return self.kind.weight_shape(self.source, self.target)

    def draw(self, seed: int = 0, batch: int = 2) -> tuple[Tensor | None, Tensor, Tensor]:
        """Draw weight, source state s and target state t, which are one for a kind that acts on one."""
        import torch

        generator = torch.Generator().manual_seed(seed)

        def drawn(*shape: int) -> Tensor:
            return torch.randn(shape, dtype=torch.float64, generator=generator)

        weight = None if self.weight_shape is None else drawn(*self.weight_shape)
        s, t = drawn(batch, *self.source), drawn(batch, *self.target)
        return weight, s, s.clone() if self.unary else t

    def methods(self, pair: bool) -> dict[str, Callable[..., Any]]:
        """Methods of weight (where there is one), s and t, by name."""
        k, source, target = self.kind, self.source, self.target
        forward, adjoint = (k.forward_pair, k.adjoint_pair) if pair else (k.forward, k.adjoint)
        found: dict[str, Callable[..., Any]] = {forward.__name__: lambda w, s, t: forward(w, s, target)}
        if not self.unary:
            found[adjoint.__name__] = lambda w, s, t: adjoint(w, t, s, source)
        if self.weight_shape is not None:
            gradient = k.weight_contrast if pair else k.weight_gradient
            found[gradient.__name__] = lambda w, s, t: gradient(w, s, t, source)
        return found


def _problems(kind: EdgeKind, shapes: Sequence[tuple[Shape, Shape]], remarks: list[str]) -> Iterator[str]:
    cases = [Case(kind, source, target, remarks) for source, target in shapes or _shapes(kind)]
    if not cases:
        yield f"none of the sources {', '.join(map(shape_text, SOURCES))} can be used; name shapes that can"
    failed: dict[Callable[[Case], Iterator[str]], None] = {}
    for case in cases:
        for check in UNARY_CHECKS if case.unary else CHECKS:
            if check in failed:
                continue  # said once
            found = _run(check, case)
            yield from (f"{problem} (on {case})" for problem in found)
            if found:
                failed[check] = None
                if check is _shape_rules:
                    return  # nothing else can be said about it


def _run(check: Callable[[Case], Iterator[str]], case: Case) -> list[str]:
    found: list[str] = []
    try:
        found.extend(check(case))
    except Exception as error:  # it is the user's own code that fails
        found.append(f"{check.__name__.strip('_').replace('_', ' ')}: {said(error, type(case.kind))}")
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


def _shape_rules(case: Case) -> Iterator[str]:
    kind, source, target = case.kind, case.source, case.target
    ruled = kind.target_shape(source, target[0])
    if ruled not in (None, target):
        yield f"target_shape gives {_written(ruled)}"
    back = kind.source_shape(target, source[0])
    if back not in (None, source):
        yield f"source_shape gives {_written(back)}, which is not the source"
    shape = case.weight_shape
    if shape is not None and not (isinstance(shape, tuple) and all(isinstance(n, int) and n > 0 for n in shape)):
        yield f"weight_shape gives {shape!r}: expected whole numbers above 0, or None"
        return
    if shape is not None and kind.fan_in(source, target) < 1:
        yield f"fan_in gives {kind.fan_in(source, target)}: expected 1 or more for an edge with weights"
    weight, s, t = case.draw()
    expected = dict(zip(("forward", "adjoint", "weight_gradient"), (t, s, weight), strict=True))
    expected |= dict(zip(("forward_pair", "adjoint_pair", "weight_contrast"), (t, s, weight), strict=True))
    for name, method in (case.methods(pair=False) | case.methods(pair=True)).items():
        found, wanted = method(*_copies(weight, s, t)), expected[name]
        assert wanted is not None
        yield from differs_in_shape(name, found, tuple(wanted.shape))


def _arguments_are_left_alone(case: Case) -> Iterator[str]:
    for pair in (False, True):
        given = case.draw(batch=4)
        for name, method in case.methods(pair).items():
            arguments = _copies(*given)
            made = method(*arguments)
            for what, before, after in zip(("weight", "s", "t"), given, arguments, strict=True):
                if before is None or after is None:
                    continue
                if not bool((before == after).all()):
                    yield f"{name} writes into its argument {what}"
                elif made.untyped_storage().data_ptr() == after.untyped_storage().data_ptr():
                    yield f"{name} hands its argument {what} back: the result has to be a tensor of its own"


def _linear_in_the_source(case: Case) -> Iterator[str]:
    kind, source, target = case.kind, case.source, case.target
    if not kind.is_linear:
        return
    weight, s, t = case.draw()
    other = case.draw(1)[1]
    found = kind.forward(_copy(weight), 2 * s - 3 * other, target)
    expected = 2 * kind.forward(_copy(weight), s.clone(), target) - 3 * kind.forward(
        _copy(weight), other.clone(), target
    )
    yield from _differs("forward of 2a − 3b", found, expected, "the kind says that it is linear in its source")
    back = kind.adjoint(_copy(weight), t.clone(), None, source)
    left = (kind.forward(_copy(weight), s.clone(), target) * t).sum()
    yield from _differs("⟨s, Aᵀ t⟩", (s * back).sum(), left, "that is not ⟨A s, t⟩: the adjoint is not the transpose")


def _adjoint_is_the_derivative(case: Case) -> Iterator[str]:
    import torch

    weight, s, t = case.draw()
    with torch.enable_grad():
        point = s.clone().requires_grad_()
        phi = (case.kind.forward(_copy(weight), point.clone(), case.target) * t).sum()
        (expected,) = torch.autograd.grad(phi, point)
    found = case.kind.adjoint(_copy(weight), t.clone(), s.clone(), case.source)
    yield from _differs("adjoint", found, expected, "expected ∂⟨t, A s⟩/∂s")


def _weight_gradient_is_the_derivative(case: Case) -> Iterator[str]:
    import torch

    weight, s, t = case.draw()
    if weight is None:
        return
    with torch.enable_grad():
        point = weight.clone().requires_grad_()
        phi = (case.kind.forward(point.clone(), s.clone(), case.target) * t).sum()
        (expected,) = torch.autograd.grad(phi, point)
    found = case.kind.weight_gradient(weight.clone(), s.clone(), t.clone(), case.source)
    yield from _differs("weight_gradient", found, expected, "expected ∂⟨t, A s⟩/∂w, summed over the batch")


def _degree_in_the_weight(case: Case) -> Iterator[str]:
    weight, s, _ = case.draw()
    if weight is None:
        return
    degree = case.kind.degree
    found = case.kind.forward(2 * weight, s.clone(), case.target)
    expected = 2.0**degree * case.kind.forward(weight.clone(), s.clone(), case.target)
    yield from _differs("forward by twice the weight", found, expected, f"expected 2ᵈ A s, with d the degree {degree}")


def _pairs_are_the_two_states(case: Case) -> Iterator[str]:
    import torch

    kind, source, target = case.kind, case.source, case.target
    weight, c_s, c_t = case.draw()
    _, o_s, o_t = case.draw(1)
    pair_s, pair_t = torch.cat((c_s, o_s)), torch.cat((c_t, o_t))
    common, odd = kind.forward_pair(_copy(weight), pair_s.clone(), target).chunk(2)
    back, odd_back = kind.adjoint_pair(_copy(weight), pair_t.clone(), pair_s.clone(), source).chunk(2)
    gradients = []
    for sign, name in ((1, "c + o"), (-1, "c − o")):
        s, t = c_s + sign * o_s, c_t + sign * o_t
        plain = kind.forward(_copy(weight), s.clone(), target)
        yield from _differs("forward_pair", common + sign * odd, plain, f"expected forward of {name}")
        plain = kind.adjoint(_copy(weight), t.clone(), s.clone(), source)
        yield from _differs("adjoint_pair", back + sign * odd_back, plain, f"expected adjoint of {name}")
        if weight is not None:
            gradients.append(kind.weight_gradient(weight.clone(), s, t, source))
    if weight is not None:
        found = kind.weight_contrast(weight.clone(), pair_s.clone(), pair_t.clone(), source)
        expected = 0.5 * (gradients[0] - gradients[1])
        yield from _differs("weight_contrast", found, expected, "expected half the difference of two weight gradients")


def _untied_adjoint(case: Case) -> Iterator[str]:
    import torch

    kind, source = case.kind, case.source
    weight, s, t = case.draw(batch=4)
    if weight is None:
        return
    found = kind.adjoint_untied(weight.clone(), weight.clone(), t.clone(), s.clone(), source)
    expected = kind.adjoint(weight.clone(), t.clone(), s.clone(), source)
    yield from _differs("adjoint_untied", found, expected, "expected the adjoint where both weights are one")
    found = kind.adjoint_untied_pair(weight.clone(), weight.clone(), t.clone(), s.clone(), source)
    expected = kind.adjoint_pair(weight.clone(), t.clone(), s.clone(), source)
    yield from _differs("adjoint_untied_pair", found, expected, "expected adjoint_pair where both weights are one")
    other = torch.roll(weight, 1, 0)
    found = kind.adjoint_untied(weight.clone(), 2 * other, t.clone(), s.clone(), source)
    expected = 2.0**kind.degree * kind.adjoint_untied(weight.clone(), other, t.clone(), s.clone(), source)
    yield from _differs("adjoint_untied", found, expected, "expected it to go back through the feedback")


def _cost(case: Case) -> Iterator[str]:
    from torch.utils.flop_counter import FlopCounterMode

    said_macs = case.kind.macs(case.source, case.target)
    if not isinstance(said_macs, int) or isinstance(said_macs, bool) or said_macs < 0:
        yield f"macs gives {said_macs!r}: expected a whole number, 0 or more"
        return
    weight, s, _ = case.draw(batch=1)
    with FlopCounterMode(display=False) as counter:
        case.kind.forward(weight, s, case.target)
    counted = counter.get_total_flops() // 2
    if not counted:
        return  # elementwise operations are not counted
    if said_macs > counted:
        yield f"macs says {said_macs:,}, and forward takes {counted:,} multiply-accumulates for one example"
    elif said_macs < counted:
        case.remarks.append(f"forward takes {counted:,} multiply-accumulates, and macs says {said_macs:,} (on {case})")


def _precision(case: Case) -> Iterator[str]:
    import torch

    for name, method in case.methods(pair=False).items():
        made = method(*(None if v is None else v.float() for v in case.draw()))
        if made.dtype != torch.float32:
            yield f"{name} gives {str(made.dtype).removeprefix('torch.')} from float32"


def _can_be_recorded(case: Case) -> Iterator[str]:
    import torch

    for pair in (False, True):
        for name, method in case.methods(pair).items():
            given = case.draw(batch=6)
            # A kind without weights gets None in their place, as it does from the compiler.
            bare = given[0] is None
            function = (lambda s, t, m=method: m(None, s, t)) if bare else method
            arguments = given[1:] if bare else given
            try:
                again = record(function, len(arguments))
                found = again(*_copies(*arguments))
            except Exception as error:
                yield f"{name} cannot be recorded by torch.fx: {said(error, type(case.kind))}"
                continue
            with torch.no_grad():
                expected = method(*_copies(*given))
            if found.shape != expected.shape:
                yield f"{name} as recorded gives the shape {shape_text(tuple(found.shape))}"
                continue
            yield from _differs(f"{name} as recorded by torch.fx", found, expected, "expected what it gives itself")


CHECKS: tuple[Callable[[Case], Iterator[str]], ...] = (
    _shape_rules,
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


def _forward_is_the_derivative_of_the_potential(case: Case) -> Iterator[str]:
    import torch

    weight, s, _ = case.draw()
    potential = cast(Any, case.kind).potential
    with torch.enable_grad():
        points = [s.clone().requires_grad_()] + ([] if weight is None else [weight.clone().requires_grad_()])
        value = potential(points[1].clone() if len(points) > 1 else None, points[0].clone(), case.source)
        if tuple(value.shape) != s.shape[:1]:
            yield f"potential gives the shape {shape_text(tuple(value.shape))}: expected one number an example"
            return
        expected = torch.autograd.grad(value.sum(), points)
    found = case.kind.forward(_copy(weight), s.clone(), case.target)
    yield from _differs("forward", found, expected[0], "expected ∂φ/∂s")
    if weight is not None:
        found = case.kind.weight_gradient(weight.clone(), s.clone(), s.clone(), case.source)
        yield from _differs("weight_gradient", found, expected[1], "expected ∂φ/∂w, summed over the batch")


def _pair_is_the_two_states(case: Case) -> Iterator[str]:
    import torch

    kind, source = case.kind, case.source
    weight, c, _ = case.draw()
    o = case.draw(1)[1]
    pair = torch.cat((c, o))
    common, odd = kind.forward_pair(_copy(weight), pair.clone(), source).chunk(2)
    gradients = []
    for sign, name in ((1, "c + o"), (-1, "c − o")):
        s = c + sign * o
        plain = kind.forward(_copy(weight), s.clone(), source)
        yield from _differs("forward_pair", common + sign * odd, plain, f"expected forward of {name}")
        if weight is not None:
            gradients.append(kind.weight_gradient(weight.clone(), s, s.clone(), source))
    if weight is not None:
        found = kind.weight_contrast(weight.clone(), pair.clone(), pair.clone(), source)
        expected = 0.5 * (gradients[0] - gradients[1])
        yield from _differs("weight_contrast", found, expected, "expected half the difference of two weight gradients")


def _concavity_is_a_bound(case: Case) -> Iterator[str]:
    import torch

    kind = cast(Any, case.kind)
    weight, s, _ = case.draw(batch=1)
    bound = float(kind.concavity(_copy(weight), case.source)) if getattr(kind, "damps", False) else 0.0

    def summed(point: Tensor) -> Tensor:
        total: Tensor = kind.potential(_copy(weight), point.view(1, *case.source), case.source).sum()
        return total

    hessian = torch.autograd.functional.hessian(summed, s.flatten())  # type: ignore[no-untyped-call]
    least = float(torch.linalg.eigvalsh(hessian)[0])
    if least < -bound - TOLERANCE * max(1.0, abs(least)):
        what = f"concavity says {bound:.4g}" if bound else "the kind says that φ is convex"
        yield f"{what}, and ∂²φ/∂s² has the eigenvalue {least:.4g}"


UNARY_CHECKS: tuple[Callable[[Case], Iterator[str]], ...] = (
    _shape_rules,
    _arguments_are_left_alone,
    _forward_is_the_derivative_of_the_potential,
    _pair_is_the_two_states,
    _concavity_is_a_bound,
    _precision,
    _can_be_recorded,
)
"""Those of a kind that acts on one state."""


def _differs(what: str, found: Tensor, expected: Tensor, why: str) -> Iterator[str]:
    """Say by how much a result is off, as a factor where it is one."""
    if found.shape != expected.shape:
        yield f"{what} has the shape {shape_text(tuple(found.shape))}, not {shape_text(tuple(expected.shape))}; {why}"
        return
    scale = float(expected.norm())
    apart = float((found - expected).norm())
    # A sum of many terms that nearly cancel keeps the rounding of the terms.
    if apart <= TOLERANCE * max(scale, 1.0):
        return
    factor = float((found * expected).sum()) / scale**2 if scale else 0.0
    if scale and float((found - factor * expected).norm()) <= 1e-6 * scale:
        yield f"{what} is {factor:.4g} times what it should be; {why}"
    else:
        yield f"{what} is off by {apart / scale if scale else apart:.2g} of its norm; {why}"


def _copy(value: Tensor | None) -> Tensor | None:
    return None if value is None else value.clone()


def _copies(*values: Tensor | None) -> tuple[Any, ...]:
    return tuple(map(_copy, values))


def _written(shape: Shape | None) -> str:
    return "None" if shape is None else shape_text(shape)


def _units(shape: Shape) -> int:
    product = 1
    for n in shape:
        product *= n
    return product

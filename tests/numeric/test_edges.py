"""Every edge kind against the mathematics it claims: adjoints, gradients, pairs. Float64, all geometries.

A new kind is held to these by one entry in ``CASES``.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from epgraph.edges import KINDS, Conv, Dense, EdgeKind, Identity, Shape, Skip

GEOMETRIES = [
    Conv(kernel=kernel, stride=stride, padding=padding, pool=pool)
    for kernel, stride, padding, pool in itertools.product((1, 2, 3, 5), (1, 2, 3), (0, 1, 2), (None, "average", "max"))
]
SIZES = [(6, 6), (7, 7), (8, 5), (9, 10)]
IMAGE_KINDS: list[EdgeKind] = [*GEOMETRIES, *(Skip(stride=n) for n in (1, 2, 3)), Identity(scale=0.7)]


def _cases() -> list[tuple[EdgeKind, Shape, Shape]]:
    cases: list[tuple[EdgeKind, Shape, Shape]] = []
    for kind, size in itertools.product(IMAGE_KINDS, SIZES):
        source = (3, *size)
        try:
            target = kind.target_shape(source, 4)
        except Exception:
            continue
        assert target is not None
        cases.append((kind, source, target))
    cases += [(Dense(), (3, 4, 5), (7,)), (Dense(), (6,), (2, 3, 3)), (Dense(), (5,), (4,))]
    return cases


CASES = _cases()
LINEAR = [case for case in CASES if case[0].is_linear]
POOLED = [case for case in CASES if not case[0].is_linear]


def _draw(kind: EdgeKind, source: Shape, target: Shape, batch: int = 2) -> tuple[Tensor | None, Tensor, Tensor]:
    shape = kind.weight_shape(source, target)
    weight = None if shape is None else torch.randn(shape, dtype=torch.float64)
    return (
        weight,
        torch.randn(batch, *source, dtype=torch.float64),
        torch.randn(batch, *target, dtype=torch.float64),
    )


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_every_kind_is_covered() -> None:
    assert {type(kind) for kind, _, _ in CASES} == {kind for kind in KINDS.values() if not kind.unary}
    assert len(LINEAR) > 150
    assert len(POOLED) > 80
    strides = {kind.geometry.stride for kind, _, _ in LINEAR if isinstance(kind, Conv)}
    assert strides == {1, 2, 3}


def test_adjoint_identity() -> None:
    """⟨A s, t⟩ = ⟨s, Aᵀ t⟩ for every linear kind, odd and even sizes, strides 1 to 3."""
    for kind, source, target in LINEAR:
        weight, s, t = _draw(kind, source, target)
        mapped = kind.forward(weight, s, target)
        assert mapped.shape == t.shape, (kind, source)
        left = (mapped * t).sum()
        right = (s * kind.adjoint(weight, t, None, source)).sum()
        scale = mapped.norm() * t.norm()
        assert abs(left - right) <= 1e-12 * scale, (kind, source)


def test_derivatives_of_phi() -> None:
    """adjoint = ∂⟨t, A(s)⟩/∂s and weight_gradient = ∂⟨t, A(s)⟩/∂w, max pooling included."""
    for kind, source, target in CASES:
        weight, s, t = _draw(kind, source, target)
        inputs = [s.requires_grad_()] + ([weight.requires_grad_()] if weight is not None else [])
        phi = (kind.forward(weight, s, target) * t).sum()
        by_autograd = torch.autograd.grad(phi, inputs)
        with torch.no_grad():
            torch.testing.assert_close(
                kind.adjoint(weight, t, s, source), by_autograd[0], rtol=1e-11, atol=1e-12, msg=str(kind)
            )
            if weight is not None:
                torch.testing.assert_close(
                    kind.weight_gradient(weight, s, t, source), by_autograd[1], rtol=1e-11, atol=1e-12, msg=str(kind)
                )


def test_pairs_are_the_two_states() -> None:
    """The pair maps act on s⁺ and s⁻ as the plain maps do."""
    for kind, source, target in CASES:
        weight, c_s, c_t = _draw(kind, source, target)
        _, o_s, o_t = _draw(kind, source, target)
        pair_s, pair_t = torch.cat((c_s, o_s)), torch.cat((c_t, o_t))
        common, odd = kind.forward_pair(weight, pair_s, target).chunk(2)
        for sign in (1, -1):
            s, t = c_s + sign * o_s, c_t + sign * o_t
            torch.testing.assert_close(common + sign * odd, kind.forward(weight, s, target))
            back, odd_back = kind.adjoint_pair(weight, pair_t, pair_s, source).chunk(2)
            torch.testing.assert_close(back + sign * odd_back, kind.adjoint(weight, t, s, source))
        if weight is not None:
            plus = kind.weight_gradient(weight, c_s + o_s, c_t + o_t, source)
            minus = kind.weight_gradient(weight, c_s - o_s, c_t - o_t, source)
            torch.testing.assert_close(
                kind.weight_contrast(weight, pair_s, pair_t, source), 0.5 * (plus - minus), rtol=1e-10, atol=1e-10
            )


def test_contrast_survives_a_tiny_odd_part() -> None:
    """In float32, with an odd part 1e-6 of the state, the contrast keeps its digits; the plain difference does not."""
    torch.manual_seed(1)
    for kind, source, target in (CASES[4], (Dense(), (20,), (10,)), POOLED[3]):
        weight, c_s, c_t = _draw(kind, source, target, batch=8)
        _, o_s, o_t = _draw(kind, source, target, batch=8)
        pairs = [torch.cat((c, 1e-6 * o)) for c, o in ((c_s, o_s), (c_t, o_t))]
        assert weight is not None
        exact = kind.weight_contrast(weight, *pairs, source)
        low = kind.weight_contrast(weight.float(), *(p.float() for p in pairs), source).double()
        assert (low - exact).norm() < 1e-5 * exact.norm(), kind
        (c1, o1), (c2, o2) = (p.float().chunk(2) for p in pairs)
        weight32 = weight.float()
        naive = kind.weight_gradient(weight32, c1 + o1, c2 + o2, source) - kind.weight_gradient(
            weight32, c1 - o1, c2 - o2, source
        )
        assert (0.5 * naive.double() - exact).norm() > 1e-3 * exact.norm(), kind


def test_ties_go_to_the_first_index() -> None:
    kind = Conv(kernel=1, pool="max")
    s = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    t = torch.ones(1, 1, 2, 2, dtype=torch.float64)
    expected = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    expected[0, 0, ::2, ::2] = 1
    weight = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    torch.testing.assert_close(kind.adjoint(weight, t, s, (1, 4, 4)), expected)


def test_results_are_new_tensors() -> None:
    """The engine writes into what an edge returns; it must never be the state itself."""
    for kind, source, target in CASES:
        weight, s, t = _draw(kind, source, target)
        for made, given in (
            (kind.forward(weight, s, target), s),
            (kind.adjoint(weight, t, s, source), t),
            (kind.forward_pair(weight, s, target), s),
        ):
            assert made.untyped_storage().data_ptr() != given.untyped_storage().data_ptr(), kind


def test_macs_count_multiplications() -> None:
    assert Conv(kernel=3, padding=1).macs((2, 8, 8), (4, 8, 8)) == 4 * 2 * 9 * 64
    assert Conv(kernel=3, padding=1, pool="max").macs((2, 8, 8), (4, 4, 4)) == 4 * 2 * 9 * 64
    assert Skip(stride=2).macs((2, 8, 8), (4, 4, 4)) == 4 * 2 * 16
    assert Dense().macs((2, 3, 3), (5,)) == 90
    assert Identity().macs((2, 3, 3), (2, 3, 3)) == 18

"""Every edge kind against the mathematics it claims: adjoints, gradients, pairs. Float64, all geometries.

A new kind is held to these by one entry in ``CASES``. Options of the convolutional kinds are drawn besides, in all
combinations, and their maps are compared with the oracle's.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from epgraph.errors import EpgraphError
from epgraph.kinds import (
    KINDS,
    Conv,
    ConvTranspose,
    Dense,
    EdgeKind,
    Identity,
    Lateral,
    Pool,
    Shape,
    ShapeError,
    Skip,
)
from epgraph.testing import verify_kind
from epgraph.testing.maps import mapped

GEOMETRIES = [
    Conv(kernel=kernel, stride=stride, padding=padding, pool=pool)
    for kernel, stride, padding, pool in itertools.product((1, 2, 3, 5), (1, 2, 3), (0, 1, 2), (None, "average", "max"))
]
SIZES = [(6, 6), (7, 7), (8, 5), (9, 10)]
IMAGE_KINDS: list[EdgeKind] = [*GEOMETRIES, *(Skip(stride=n) for n in (1, 2, 3)), Identity(scale=0.7)]

Case = tuple[EdgeKind, Shape, Shape]

DRAWN = settings(deadline=None, max_examples=300, suppress_health_check=list(HealthCheck))


def _cases() -> list[Case]:
    cases: list[Case] = []
    for kind, size in itertools.product(IMAGE_KINDS, SIZES):
        source = (3, *size)
        try:
            target = kind.target_shape(source, 4)
        except ShapeError:
            continue
        assert target is not None
        cases.append((kind, source, target))
    cases += [(Dense(), (3, 4, 5), (7,)), (Dense(), (6,), (2, 3, 3)), (Dense(), (5,), (4,))]
    cases += [(Dense(rank=r), (2, 3, 3), (7,)) for r in (1, 3, 7)]
    cases += [
        (Lateral(kernel=(3, 1)), (3, 5, 4), (3, 5, 4)),
        (Lateral(), (2, 3, 3), (2, 3, 3)),
        (Lateral(), (4,), (4,)),
    ]
    cases += [(Pool(kind=how, size=n), (3, 7, 6), (3, 7 // n, 6 // n)) for how in ("max", "average") for n in (1, 2, 3)]
    cases += [(ConvTranspose(kernel=4, stride=2, padding=1), (3, 3, 4), (2, 6, 8))]
    return cases


@st.composite
def drawn(draw: Callable[..., Any]) -> Case:
    """A convolutional kind with options in any combination, and shapes that it joins."""
    size = (draw(st.integers(1, 10)), draw(st.integers(1, 10)))

    def pixels(low: int, high: int) -> Any:
        number = st.integers(low, high)
        return draw(number | st.tuples(number, number))

    groups = draw(st.sampled_from([1, 1, 2, 3, "depthwise"]))
    given_, wanted = (draw(st.integers(1, 2)) * (groups if isinstance(groups, int) else 1) for _ in range(2))
    name = draw(st.sampled_from(["conv", "conv", "conv", "conv_transpose", "skip", "pool", "lateral"]))
    kind: EdgeKind
    try:
        if name == "conv":
            padding = draw(st.just("same") | st.integers(0, 3) | st.tuples(st.integers(0, 3), st.integers(0, 3)))
            kind = Conv(
                kernel=pixels(1, 4),
                stride=1 if padding == "same" else pixels(1, 3),
                padding=padding,
                dilation=pixels(1, 3),
                groups=groups,
                pool=draw(st.sampled_from([None, "max", "average"])),
            )
        elif name == "conv_transpose":
            kind = ConvTranspose(
                kernel=pixels(1, 4),
                stride=pixels(1, 3),
                padding=pixels(0, 2),
                output_padding=pixels(0, 2),
                dilation=pixels(1, 2),
                groups=groups,
            )
        elif name == "skip":
            kind = Skip(stride=pixels(1, 3))
        elif name == "pool":
            kind = Pool(kind=draw(st.sampled_from(["max", "average"])), size=pixels(1, 3))
        else:
            kind = Lateral(kernel=draw(st.sampled_from([1, 3, 5, (1, 3), (5, 1)])))
        depthwise = groups == "depthwise" and name in ("conv", "conv_transpose")
        target = kind.target_shape((given_, *size), None if depthwise else wanted)
    except (EpgraphError, ShapeError):
        assume(False)
        raise
    assert target is not None
    return kind, (given_, *size), target


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
    assert strides == {(1, 1), (2, 2), (3, 3)}


def test_maps_are_those_of_the_oracle() -> None:
    """A s, written down a second time from the mathematics."""
    for kind, source, target in CASES:
        _is_the_oracles(kind, source, target)


@DRAWN
@given(case=drawn())
def test_every_combination_of_options(case: Case) -> None:
    """Map, adjoint, gradients and pairs of convolutional kinds with options that nobody has thought of."""
    kind, source, target = case
    torch.manual_seed(0)
    _is_the_oracles(kind, source, target)
    assert verify_kind(kind, [(source, target)]) == []


def test_every_case_is_what_it_says() -> None:
    """Adjoints, gradients, pairs, costs, recording: all that is asked of a user's kind, in all geometries."""
    by_options: dict[str, list[Case]] = {}
    for case in CASES:
        by_options.setdefault(repr(case[0]), []).append(case)
    for cases in by_options.values():
        assert verify_kind(cases[0][0], [(source, target) for _, source, target in cases]) == []


def _is_the_oracles(kind: EdgeKind, source: Shape, target: Shape) -> None:
    weight, s, _ = _draw(kind, source, target)
    made = kind.forward(weight, s, target)
    assert made.shape[1:] == target, (kind, source)
    torch.testing.assert_close(
        made.flatten(1), mapped(kind, weight, s, target).flatten(1), rtol=1e-12, atol=1e-12, msg=str(kind)
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


def test_macs_count_multiplications() -> None:
    assert Conv(kernel=3, padding=1).macs((2, 8, 8), (4, 8, 8)) == 4 * 2 * 9 * 64
    assert Conv(kernel=3, padding=1, pool="max").macs((2, 8, 8), (4, 4, 4)) == 4 * 2 * 9 * 64
    assert Skip(stride=2).macs((2, 8, 8), (4, 4, 4)) == 4 * 2 * 16
    assert Dense().macs((2, 3, 3), (5,)) == 90
    assert Identity().macs((2, 3, 3), (2, 3, 3)) == 18
    assert Conv(kernel=(1, 5), padding="same", dilation=2).macs((2, 8, 6), (4, 8, 6)) == 4 * 2 * 5 * 48
    assert Conv(kernel=3, padding=1, groups=2).macs((4, 8, 8), (6, 8, 8)) == 6 * 2 * 9 * 64
    assert Conv(kernel=3, padding=1, groups="depthwise").macs((4, 8, 8), (4, 8, 8)) == 4 * 9 * 64
    assert ConvTranspose(kernel=4, stride=2, padding=1).macs((2, 4, 4), (3, 8, 8)) == 2 * 3 * 16 * 16
    assert Pool(kind="average").macs((2, 5, 5), (2, 2, 2)) == 2 * 16
    assert Dense(rank=4).macs((2, 3, 3), (5,)) == 4 * (18 + 5)
    assert Lateral(kernel=3).macs((2, 4, 4), (2, 4, 4)) == 2 * 2 * 9 * 16
    assert Lateral().macs((6,), (6,)) == 36

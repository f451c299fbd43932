"""What a solver proposes outside of the range of σ is projected onto it: single states, and pairs of nudged ones."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

import epgraph as ep
from epgraph.runtime.solving import clip_pair_
from tests.helpers.networks import RING, batch


def test_a_pair_is_clipped_as_its_two_states_are() -> None:
    c, o = torch.meshgrid(torch.linspace(-2, 2, 41), torch.linspace(-2, 2, 41), indexing="ij")
    for low, high in ((-1.0, 1.0), (0.0, 0.75), (0.0, torch.tensor(0.75))):
        pair = torch.cat((c, o)).double()
        plus, minus = ((pair[:41] + sign * pair[41:]).clamp(min=low).clamp(max=high) for sign in (1, -1))
        clip_pair_(pair, low, high)
        torch.testing.assert_close(pair, torch.cat((plus + minus, plus - minus)) / 2, rtol=0, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_pair_inside_keeps_every_bit_and_one_at_an_end_the_digits_of_its_odd_part(dtype: torch.dtype) -> None:
    inside = torch.tensor([[0.3, -0.7, 0.9], [1e-12, -3e-9, 1e-30]], dtype=dtype)
    clipped = inside.clone()
    clip_pair_(clipped, -1.0, 1.0)
    assert torch.equal(clipped, inside)
    # The common part is at an end, so one state is beyond it: half of the odd part is left, with all digits.
    across = torch.tensor([[1.0, -1.0], [1e-12, -3e-9]], dtype=dtype)
    clipped = across.clone()
    clip_pair_(clipped, -1.0, 1.0)
    assert torch.equal(clipped, torch.stack((across[0], across[1] / 2)))


class Thrown(ep.Solver):
    """Steps far beyond the result of a sweep, and notes the states from which the sweeps start."""

    mixes = True
    starts: ClassVar[list[Tensor]] = []

    def step(self, memory: Any, before: Tensor, after: Tensor) -> tuple[Any, Tensor | None]:
        Thrown.starts.append(before)
        return None, after + 3 * (after - before)


@pytest.mark.parametrize(
    ("activation", "low", "high"),
    [("tanh", -1.0, 1.0), ("logistic", 0.0, 1.0), ("softclip", 0.0, 6.0), ("relu1", 0, 1)],
)
@pytest.mark.parametrize("estimator", ["centered", "positive"])
def test_no_nudged_phase_starts_a_sweep_outside_of_the_range(
    activation: str, low: float, high: float, estimator: str
) -> None:
    """With two nudged phases as a pair, and with one; the output has no range."""
    ep.register_solver("thrown", Thrown)
    data = {**RING, "defaults": {"activation": activation}, "dynamics": {"schedule": "coloring", "solver": "thrown"}}
    engine = ep.compile(ep.Architecture.model_validate(data), dtype=torch.float64)
    with torch.no_grad():
        for parameter in engine.parameters():
            parameter.mul_(4)
    x, y = batch()
    Thrown.starts = []
    engine.backward(x, y, estimator=estimator, beta=0.5, free_steps=10, nudged_steps=30)  # type: ignore[arg-type]
    assert engine.graph.free[-1] == "y"
    hidden = [start[:, : -engine.graph.output.units] for start in Thrown.starts]
    pairs = [start.chunk(2) for start in hidden if len(start) == 2 * len(x)]
    assert len(pairs) == (29 if estimator == "centered" else 0)
    states = [start for start in hidden if len(start) == len(x)]
    states += [common + sign * odd for common, odd in pairs for sign in (1, -1)]
    assert min(float(s.min()) for s in states) >= low - 1e-15
    assert max(float(s.max()) for s in states) <= high + 1e-15
    if estimator == "centered" and activation == "tanh":
        assert any(bool((common.abs() == 1).any()) for common, _ in pairs), "proposals do leave the range"

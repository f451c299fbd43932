"""How near a gradient is to that at rest, against states that were settled by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import epgraph as ep
from epgraph.probes import NetworkProbe, compare_at_rest
from epgraph.probes.rest import whole_cosine

NETWORK = """
epgraph: 2
input: {shape: [8]}
output: {classes: 4}
defaults: {activation: tanh, gain: 1.2}
states: {a: {shape: [12]}, b: {shape: [12]}, c: {shape: [12]}}
edges:
  - {from: x, to: a, dense: {}}
  - {from: a, to: b, dense: {}}
  - {from: b, to: c, dense: {}}
  - {from: c, to: y, dense: {}}
dynamics: {schedule: coloring, free_steps: 4, nudged_steps: 3}
learning: {beta: 0.05}
"""

MANY = ("dynamics.free_steps=200", "dynamics.nudged_steps=200")


def probe(*settings: str, dtype: str = "float32") -> NetworkProbe:
    torch.manual_seed(0)
    architecture = ep.load(NETWORK, list(settings))
    return NetworkProbe(ep.compile(architecture, dtype=dtype, seed=1), torch.rand(6, 8), torch.arange(6) % 4)


def gradient(one: NetworkProbe, **options: object) -> dict[str, Tensor]:
    """Gradient in float64, by the engine alone."""
    engine = ep.compile(one.engine.architecture, dtype="float64", seed=1)
    engine.backward(one.x, one.y, **options)  # type: ignore[arg-type]
    return {name: p.grad.clone() for name, p in engine.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("estimator", ["centered", "positive", "coupled_centered"])
def test_the_cosine_is_that_to_a_gradient_settled_by_hand(estimator: str, dtype: str) -> None:
    one = probe(f"learning.estimator={estimator}", dtype=dtype)
    found = compare_at_rest(one)
    settled = gradient(one, free_steps=3000, nudged_steps=3000, tolerance=1e-12)
    assert found is not None
    assert found.cosine == found.sweeps == pytest.approx(whole_cosine(gradient(one), settled), abs=1e-4)
    assert found.cosine < 0.999  # so that the comparison can fail
    more = compare_at_rest(
        probe(f"learning.estimator={estimator}", "dynamics.free_steps=200", "dynamics.nudged_steps=200")
    )
    assert more is not None
    assert more.cosine > 0.99999


def test_it_starts_where_the_training_starts() -> None:
    one = probe()
    rest = one.engine.relax(one.x, steps=2000, tolerance=1e-7).states
    cold, warm = compare_at_rest(one), compare_at_rest(one, rest)
    assert cold is not None
    assert warm is not None
    settled = gradient(one, free_steps=3000, nudged_steps=3000, tolerance=1e-12)
    assert warm.cosine == pytest.approx(whole_cosine(gradient(one, start=rest), settled), abs=1e-4)
    assert warm.cosine > cold.cosine


def test_what_half_precision_costs_is_told_apart() -> None:
    found = compare_at_rest(probe(*MANY, dtype="bfloat16"))
    assert found is not None
    assert found.cosine < found.sweeps
    assert found.sweeps > 0.99999


def test_the_predictive_energy_is_compared_with_backpropagation() -> None:
    settings = ("energy=predictive", "dynamics.solver=error_sweeps", "dynamics.nudged_steps=2", "learning.beta=0.01")
    one = probe(*settings)
    found = compare_at_rest(one)
    assert found is not None
    assert found.cosine == pytest.approx(whole_cosine(gradient(one), gradient(one, estimator="backprop")), abs=1e-5)
    assert found.cosine > 0.9999


def test_nothing_is_said_of_a_network_that_does_not_rest() -> None:
    # Moved all at once, states that push each other apart swing for ever.
    one = probe("dynamics.schedule=synchronous", "defaults.gain=6")
    assert one.engine.relax(one.x, steps=2000).residual > 0.1
    assert compare_at_rest(one) is None


def test_the_network_is_left_as_it_is() -> None:
    one = probe()
    before = {name: value.clone() for name, value in one.engine.state_dict().items()}
    generator = torch.get_rng_state()
    compare_at_rest(one)
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(value, before[name]) for name, value in one.engine.state_dict().items())
    assert all(p.grad is None for p in one.engine.parameters())


def test_cosines_of_gradients_without_a_direction() -> None:
    some, none = {"w": torch.ones(2)}, {"w": torch.zeros(2)}
    assert whole_cosine(none, some) == 0
    assert whole_cosine(some, none) != whole_cosine(some, none)  # NaN
    assert whole_cosine({"w": torch.tensor([1.0, 0.0])}, some) == pytest.approx(0.5**0.5)

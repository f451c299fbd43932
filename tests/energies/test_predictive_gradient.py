"""EP on the predictive energy against backpropagation; ``benchmarks/predictive_gradient.py`` has more networks."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import pytest
import torch

import epgraph as ep
from epgraph.compiler.sweep import SWEEPS_BETWEEN_LOOKS
from tests.helpers.bridged import scalar
from tests.helpers.case import apart
from tests.helpers.directed import SMOOTH, DirectedCase, random_directed
from tests.helpers.studied import candidates, study

NETWORKS = 6


def test_the_gradient_is_that_of_backpropagation(note: Callable[[str], None]) -> None:
    """Centered to second order in β, one-sided to first order; after few sweeps, too. Float64."""
    torch.set_num_threads(1)
    studied = (study(seed, data) for seed, data in islice(candidates(), 3 * NETWORKS))
    found = list(islice((one for one in studied if one is not None), NETWORKS))
    assert len(found) == NETWORKS
    slopes = [one.slope for one in found]
    sweeps, rounds = min(one.cosine_sweeps for one in found), min(one.cosine_rounds for one in found)
    note(
        f"predictive: {NETWORKS} networks, slope {min(slopes):.3f} to {max(slopes):.3f}, "
        f"1 − cosine {1 - sweeps:.0e} (sweeps), {1 - rounds:.0e} (error sweeps)"
    )
    for one in found:
        assert 1.9 <= one.slope <= 2.1, one
        assert all(0.8 <= slope <= 1.2 for slope in one.slopes_one_sided), one
        assert one.rests, one
        assert one.cosine_sweeps >= 0.9999, one
        assert one.cosine_rounds >= 0.9999, one
        assert one.apart is not None, one
        assert one.apart <= 1e-9, one


@pytest.mark.parametrize("activations", [SMOOTH, ["relu6"]], ids=["smooth", "relu6"])
@pytest.mark.parametrize("estimator", ["centered", "positive"])
def test_one_round_of_error_sweeps_is_backpropagation(estimator: str, activations: Sequence[str]) -> None:
    """At any β: its errors are those of the forward pass, and linear in β. A second round depends on β."""
    data = random_directed(random.Random(3), activations=activations, pool_max=False, costs=["squared_error"])
    data["dynamics"] = {"solver": "error_sweeps"}
    case = DirectedCase(data, 3)
    engine = case.engine("coloring")
    exact, _ = case.predictive(engine).backpropagation(case.x, case.y)

    def worst(rounds: int) -> float:
        engine.zero_grad(set_to_none=True)
        engine.backward(case.x, case.y, estimator=estimator, beta=0.5, nudged_steps=rounds, tolerance=0)
        trained = {n: p.grad for n, p in engine.named_parameters() if p.requires_grad}
        return max(apart(g, exact[n]) for n, g in trained.items() if g is not None)

    assert worst(1) <= 1e-9
    assert worst(2) > 1e-4


CHAIN: dict[str, Any] = {
    "epgraph": 2,
    "name": "chain",
    "energy": "predictive",
    "input": {"name": "x", "shape": [1, 6, 6]},
    "output": {"classes": 3, "cost": "squared_error"},
    "states": {"h1": {"channels": 3}, "h2": {"channels": 4}, "h3": {"shape": [7], "activation": "tanh"}},
    "defaults": {"activation": "tanh"},
    "edges": [
        {"from": "x", "to": "h1", "conv": {"kernel": 3, "padding": 1}},
        {"from": "h1", "to": "h2", "conv": {"kernel": 3, "stride": 2}},
        {"from": "h2", "to": "h3", "dense": {}},
        {"from": "h3", "to": "y", "dense": {}},
    ],
}


@pytest.mark.parametrize("estimator", ["centered", "positive"])
def test_one_sweep_of_a_chain_is_backpropagation(estimator: str) -> None:
    """With smooth activations, at any β: under ``backward`` a gradient ends with the errors of the last sweep."""
    case = DirectedCase(CHAIN, 3)
    engine = case.engine("backward")
    exact, _ = case.predictive(engine).backpropagation(case.x, case.y)

    def worst(sweeps: int, tolerance: float = 0) -> float:
        engine.zero_grad(set_to_none=True)
        engine.backward(case.x, case.y, estimator=estimator, beta=0.5, nudged_steps=sweeps, tolerance=tolerance)
        trained = {n: p.grad for n, p in engine.named_parameters() if p.requires_grad}
        return max(apart(g, exact[n]) for n, g in trained.items() if g is not None)

    assert worst(1) <= 1e-9
    assert worst(2) > 1e-4
    # A tolerance that any residual is under ends the sweeps at the first look, and the errors are those of its states.
    assert worst(20, tolerance=1e6) == worst(SWEEPS_BETWEEN_LOOKS + 1)


@pytest.mark.parametrize("seed", range(6))
def test_the_bridge_is_backpropagation(seed: int) -> None:
    """By all parameters and the input, of a scalar that depends on several states."""
    rng = random.Random(seed)
    data = random_directed(rng, activations=SMOOTH, pool_max=False, costs=["squared_error"])
    case = DirectedCase(data, seed)
    engine = case.engine("coloring")
    oracle = case.predictive(engine)
    names = rng.sample(case.graph.dynamic, rng.randint(1, len(case.graph.dynamic)))
    parameters = {n: p for n, p in engine.named_parameters() if p.requires_grad}
    module = ep.Equilibrium(engine, estimator="centered", beta=1e-3, nudged_steps=100)
    x = case.x.clone().requires_grad_()
    found = torch.autograd.grad(scalar(module.states(x, names)), [*parameters.values(), x])
    leaves = {n: p.detach().requires_grad_() for n, p in oracle.parameters.items()}
    image = case.x.clone().requires_grad_()
    states = oracle.forward(image, leaves)
    wanted = [*(leaves[n] for n in parameters), image]
    total = scalar({n: states[n] for n in names})
    expected = torch.autograd.grad(total, wanted, materialize_grads=True)
    for name, one, other in zip([*parameters, "x"], found, expected, strict=True):
        assert apart(one, other) <= 1e-4, name

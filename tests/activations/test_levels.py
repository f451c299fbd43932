"""Learnt levels of ReLUα: their gradient against the oracle, the implicit gradient and finite differences; training."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings

import epgraph as ep
from epgraph.graph import make_schedule
from epgraph.testing.oracle import Reference
from epgraph.training import make_optimizer
from tests.helpers.case import ORACLE, Case
from tests.helpers.emitted import check
from tests.helpers.qualified import SWEEPS, Settled, aimed, error, qualified
from tests.helpers.topologies import architectures

LEARNT: tuple[object, ...] = ({"relu": 0.6, "learn": True}, {"relu": [0.3, 1.2], "learn": True}, "relu6")
"""Low levels, so that units reach them."""

OPTIONS: dict[str, Any] = {"activations": LEARNT, "output_activation": "identity"}
SATURATED: dict[str, Any] = {"bias": 0.6, "pool_max": False, **OPTIONS}


def levels(engine: ep.Engine) -> dict[str, torch.nn.Parameter]:
    return {name: p for name, p in engine.named_parameters() if name.endswith(".alpha")}


@settings(ORACLE, max_examples=10)
@given(data=architectures(**OPTIONS))
def test_gradients_follow_the_oracle(data: dict[str, Any]) -> None:
    case = Case(data)
    classes = make_schedule(case.graph, "coloring").classes
    engine = case.engine("coloring")
    oracle = case.oracle(engine)
    free = oracle.relax(case.x, classes, 12)
    contrasted = oracle.parameter_gradient(case.x, free)
    nudged = {sign: oracle.relax(case.x, classes, 6, free, case.y, sign * 0.2) for sign in (1, -1)}
    for estimator in ("centered", "positive", "negative"):
        engine.zero_grad(set_to_none=True)
        engine.backward(case.x, case.y, estimator=estimator, beta=0.2, free_steps=12, nudged_steps=6)  # type: ignore[arg-type]
        expected = oracle.estimate(case.x, case.y, free, nudged, 0.2, estimator)  # type: ignore[arg-type]
        for name, parameter in engine.named_parameters():
            assert parameter.grad is not None
            bar = 1e-8 * expected[name].norm() + 1e-13 / 0.2 * (1 + contrasted[name].norm())
            assert (parameter.grad - expected[name]).norm() <= bar, (estimator, name)


def saturated(network: Settled) -> bool:
    """Whether units stand at a learnt level, clearly enough that β = 1e-4 does not free them."""
    return any(float(network.implicit_by_name()[name].abs()) > 1e-6 for name in levels(network.engine))


class Named(Settled):
    def implicit_by_name(self) -> dict[str, torch.Tensor]:
        return self.oracle.implicit_gradient(self.x, self.y, self.free)


def named() -> Any:
    networks = (Named(**vars(aimed(n))) for n in qualified(**SATURATED))
    return (n for n in networks if saturated(n))


def test_implicit_gradient_and_finite_differences(note: Callable[[str], None]) -> None:
    """EP at a small β gives the implicit gradient of α, and that is the slope of the relaxed loss."""
    count, worst, slopes = 0, 0.0, 0.0
    for network in islice(named(), 4):
        exact = network.implicit_by_name()
        network.gradient(1e-4)
        classes = network.engine.plan.schedule.classes
        for name, parameter in levels(network.engine).items():
            if float(exact[name].abs()) < 1e-6:
                continue
            assert parameter.grad is not None
            worst = max(worst, error(parameter.grad, exact[name]))
            h, losses = 1e-6, []
            for sign in (1, -1):
                moved = {**network.engine.state_dict(), name: parameter.detach() + sign * h}
                oracle = Reference(network.engine.graph, moved)
                states = oracle.relax(network.x, classes, SWEEPS, network.free)
                losses.append(float(oracle.cost(states, network.y).mean()))
            slopes = max(slopes, abs((losses[0] - losses[1]) / (2 * h) / float(exact[name]) - 1))
            count += 1
    note(f"learnt α: {count} levels, EP at β = 1e-4 {worst:.0e} and finite differences {slopes:.0e} off the implicit")
    assert count >= 8
    assert worst <= 1e-5
    assert slopes <= 1e-4


@pytest.mark.parametrize("estimator", ["unrolled", "truncated", "implicit"])
def test_reference_gradients_reach_levels(estimator: Any) -> None:
    network = next(named())
    exact = network.implicit_by_name()
    # The levels' part of the gradient is small, and the solver's tolerance is relative to the whole.
    data = {**network.engine.architecture.to_dict(), "learning": {"solver_tolerance": 1e-12}}
    solved = ep.compile(ep.Architecture.model_validate(data), dtype=torch.float64)
    solved.load_state_dict(network.engine.state_dict())
    with solved.aside() as found:
        solved.backward(
            network.x, network.y, estimator=estimator, start=network.free, free_steps=SWEEPS, nudged_steps=SWEEPS
        )
    assert max(float(exact[name].abs()) for name in levels(network.engine)) > 1e-6
    for name in levels(network.engine):
        assert float((found[name] - exact[name]).abs()) <= 1e-5 * float(exact[name].abs()) + 1e-12


def engine(**training: Any) -> ep.Engine:
    data = ep.load("examples/digits.yaml").to_dict()
    data["defaults"] = {**data.get("defaults", {}), "activation": {"relu": [0.1, 0.5], "learn": True}}
    data["states"] = {name: {**state, "learning_rate": 0.01} for name, state in data["states"].items()}
    data["training"] = {**data.get("training", {}), **training}
    return ep.compile(ep.Architecture.model_validate(data), dtype=torch.float32)


def test_a_level_has_the_rate_of_its_bias_and_no_decay() -> None:
    made = engine(weight_decay=0.1)
    optimizer = make_optimizer(made)
    groups = {id(p): g for g in optimizer.param_groups for p in g["params"]}
    assert len(levels(made)) == 4
    for level in levels(made).values():
        assert (groups[id(level)]["lr"], groups[id(level)]["weight_decay"]) == (0.01, 0.0)
    bias = made.get_parameter("states.h1.bias")
    assert (groups[id(bias)]["lr"], groups[id(bias)]["weight_decay"]) == (0.01, 0.1)
    assert made.graph.parameters() == sum(p.numel() for p in made.parameters())


def test_levels_learn_and_stay_positive() -> None:
    made = engine()
    x, y = torch.rand(8, 1, 8, 8), torch.arange(8)
    before = {name: p.item() for name, p in levels(made).items()}
    optimizer = torch.optim.SGD(made.parameters(), lr=0.05)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        losses.append(made.backward(x, y, beta=0.1).loss)
        torch.nn.utils.clip_grad_norm_(made.parameters(), 1.0)
        optimizer.step()
    assert losses[-1] < losses[0]
    # A state none of whose units reaches its level leaves that where it is.
    assert sum(p.item() != before[name] for name, p in levels(made).items()) >= 2
    with torch.no_grad():
        made.get_parameter("states.h1.alpha").fill_(-3.0)
    relaxed = made.relax(x, steps=3)
    assert made.get_parameter("states.h1.alpha").item() > 0
    assert float(relaxed.states["h1"].min()) >= 0


def test_the_emitted_module_gives_the_same_bits(tmp_path: Path) -> None:
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    check(engine(), tmp_path, x, torch.tensor([1, 2, 0]))


def test_an_output_level_is_refused() -> None:
    data = ep.load("examples/digits.yaml").to_dict()
    data["output"] = {**data["output"], "activation": {"relu": 1, "learn": True}}
    with pytest.raises(ep.EpgraphError, match=r"the level α of the output 'y' cannot be learnt.*use relu1"):
        ep.compile(ep.Architecture.model_validate(data))

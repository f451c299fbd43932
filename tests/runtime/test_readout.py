"""A softmax readout outside the dynamics, and targets of any shape, against the oracle and implicit gradients."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings

import epgraph as ep
from epgraph.graph import SCHEDULES, make_schedule
from epgraph.testing.oracle import Reference
from epgraph.training.evaluate import evaluate
from tests.helpers.case import ORACLE, SWEEPS, Case, apart
from tests.helpers.emitted import check
from tests.helpers.qualified import cosine, error, qualified
from tests.helpers.topologies import architectures, random_graph

BACKENDS = ("eager", "channels_last", "onednn")


@settings(ORACLE, max_examples=5)
@given(data=architectures(readout=True))
def test_states_and_gradients_follow_the_oracle(data: dict[str, Any]) -> None:
    """Under every schedule, for every estimator, in the free, the nudged and the paired phase."""
    case = Case(data)
    oracle = case.oracle(case.engine("coloring"))
    for schedule in SCHEDULES:
        classes = make_schedule(case.graph, schedule).classes
        assert classes[-1] == ("y",)
        engine = case.engine(schedule)
        free = oracle.relax(case.x, classes, SWEEPS)
        contrasted = oracle.parameter_gradient(case.x, free)
        nudged = {sign: oracle.relax(case.x, classes, 6, free, case.y, sign * 0.2) for sign in (1, -1)}
        for estimator in ("centered", "positive", "negative") if schedule == "coloring" else ("centered",):
            engine.zero_grad(set_to_none=True)
            made = engine.backward(case.x, case.y, estimator=estimator, beta=0.2, free_steps=SWEEPS, nudged_steps=6)  # type: ignore[arg-type]
            for name, value in free.items():
                assert apart(made.free.states[name], value) <= 1e-9, (schedule, name)
            sign = -1 if estimator == "negative" else 1
            for name, value in nudged[sign].items():
                assert apart(made.nudged[0].states[name], value) <= 1e-9, (schedule, name)
            expected = oracle.estimate(case.x, case.y, free, nudged, 0.2, estimator)  # type: ignore[arg-type]
            for name, parameter in engine.named_parameters():
                assert parameter.grad is not None
                bar = 1e-8 * expected[name].norm() + 1e-14 / 0.2 * contrasted[name].norm()
                assert (parameter.grad - expected[name]).norm() <= bar, (schedule, estimator, name)
            torch.testing.assert_close(made.losses, oracle.cost(free, case.y), rtol=1e-9, atol=1e-12)


def test_centered_gradient_is_the_implicit_one(note: Callable[[str], None]) -> None:
    """O(β²), on networks that qualify; the readout's own parameters to rounding whatever β."""
    ratios, own = [], 0.0
    for network in islice(qualified(smooth=True, readout=True), 15):
        exact = network.implicit()
        at = {beta: network.gradient(beta) for beta in (2e-2, 1e-2)}
        assert cosine(at[1e-2], exact) >= 0.9999
        by_name = network.oracle.implicit_gradient(network.x, network.y, network.free)
        for name, parameter in network.engine.named_parameters():
            if name == "states.y.bias" or _into_output(network.engine, name):
                assert parameter.grad is not None
                own = max(own, error(parameter.grad, by_name[name]))
        inner = [name for name in by_name if name != "states.y.bias" and not _into_output(network.engine, name)]
        parts = {beta: _parts(network.engine, at[beta], inner) for beta in at}
        wanted = torch.cat([by_name[name].flatten() for name in inner])
        ratios.append(error(parts[2e-2], wanted) / error(parts[1e-2], wanted))
    note(f"softmax readout: {len(ratios)} graphs, error ratio {min(ratios):.3f} to {max(ratios):.3f}, own {own:.0e}")
    assert len(ratios) == 15
    assert all(3.5 <= ratio <= 4.5 for ratio in ratios)
    assert own <= 1e-12


def _into_output(engine: ep.Engine, name: str) -> bool:
    kind, item, _ = name.split(".")
    return kind == "edges" and engine.graph.edges[item].target == "y"


def _parts(engine: ep.Engine, flat: torch.Tensor, names: list[str]) -> torch.Tensor:
    """Entries of a flat gradient that belong to some parameters."""
    named = dict(engine.named_parameters())
    split = dict(zip(named, flat.split([p.numel() for p in named.values()]), strict=True))
    return torch.cat([split[name] for name in names])


def test_implicit_gradient_of_the_oracle_against_finite_differences() -> None:
    for network in islice(qualified(smooth=True, readout=True), 3):
        oracle, x, y = network.oracle, network.x, network.y
        exact = oracle.implicit_gradient(x, y, network.free)
        generator = torch.Generator().manual_seed(1)
        direction = {n: torch.randn(p.shape, generator=generator).double() for n, p in oracle.parameters.items()}
        h = 1e-4 / sum(float(d.square().sum()) for d in direction.values()) ** 0.5
        ends = []
        for sign in (1, -1):
            moved = Reference(oracle.graph, {n: p + sign * h * direction[n] for n, p in oracle.parameters.items()})
            ends.append(moved.loss(x, y, network.engine.plan.schedule.classes, 150))
        along = sum(float((exact[n] * d).sum()) for n, d in direction.items())
        assert along == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-5)


def test_nothing_flows_back_in_the_free_phase() -> None:
    """The free states and F are those of the network without its readout, whatever the readout holds."""
    engine = Case(_example()).engine("coloring")
    x = torch.rand(3, 1, 8, 8, dtype=torch.float64)
    before = engine.relax(x)
    energy = engine.energy(x, before.states)
    with torch.no_grad():
        engine.get_parameter("edges.h4_y.weight").mul_(-7)
        engine.get_parameter("states.y.bias").add_(3)
    after = engine.relax(x)
    for name, state in before.states.items():
        assert torch.equal(after.states[name], state) == (name != "y")
    assert torch.equal(engine.energy(x, after.states), energy)


def _example(**output: Any) -> dict[str, Any]:
    data = ep.load("examples/digits.yaml").to_dict()
    return {**data, "output": {**data["output"], "cost": "softmax_readout", **output}}


@pytest.mark.parametrize("backend", BACKENDS)
def test_backends_and_emitted_modules_agree(tmp_path: Path, backend: str) -> None:
    engine = ep.compile(ep.Architecture.model_validate(_example()), dtype=torch.float32, backend=backend)
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    y = torch.tensor([1, 2, 0])
    check(engine, tmp_path, x, y)
    plain = ep.compile(ep.Architecture.model_validate(_example()), dtype=torch.float64, backend="eager")
    plain.load_state_dict(engine.state_dict())
    plain.backward(x.double(), y)
    for (name, p), q in zip(engine.named_parameters(), plain.parameters(), strict=True):
        assert p.grad is not None
        assert q.grad is not None
        assert error(p.grad.double(), q.grad) <= 2e-3, name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation": "tanh"}, "needs an output without activation, but 'y' has tanh; leave activation out"),
        ({}, "edge 'y_h1' leaves the output 'y', but with softmax_readout.*write edges into the output"),
    ],
)
def test_what_cannot_be_read_off_is_refused(change: dict[str, Any], message: str) -> None:
    data = _example(**change)
    if not change:
        data["edges"] = [*data["edges"], {"from": "y", "to": "h1", "dense": {}}]
    with pytest.raises(ep.EpgraphError, match=message):
        ep.compile(ep.Architecture.model_validate(data))


# --- targets of any shape -----------------------------------------------------------------------------------

IMAGE: dict[str, Any] = {
    "epgraph": 2,
    "input": {"shape": [2, 6, 6]},
    "output": {"shape": [3, 6, 6]},
    "defaults": {"activation": "tanh"},
    "states": {"a": {"channels": 4}, "b": {"channels": 3}},
    "edges": [
        {"from": "x", "to": "a", "conv": {"kernel": 3, "padding": 1}},
        {"from": "a", "to": "b", "conv": {"kernel": 3, "padding": 1, "stride": 2}},
        {"from": "y", "to": "b", "conv": {"kernel": 3, "padding": 1, "stride": 2}},
        {"from": "a", "to": "y", "conv": {"kernel": 3, "padding": 1}},
    ],
}


@pytest.mark.parametrize("cost", ["squared_error", "cross_entropy", "softmax_readout"])
@pytest.mark.parametrize("backend", BACKENDS[:2])
def test_an_output_may_be_an_image(cost: str, backend: str, tmp_path: Path) -> None:
    """The gradient is the implicit one, for targets of the output's shape; a softmax is over channels."""
    data = {**IMAGE, "output": {**IMAGE["output"], "cost": cost}}
    if cost == "softmax_readout":
        data["edges"] = [edge for edge in data["edges"] if edge["from"] != "y"]
    engine = ep.compile(ep.Architecture.model_validate(data), dtype=torch.float64, schedule="coloring", backend=backend)
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(2, n, 6, 6, generator=generator, dtype=torch.float64) for n in (2, 3))
    estimate = engine.backward(x, y, beta=1e-3, free_steps=150, nudged_steps=150)
    oracle = Reference(engine.graph, engine.state_dict())
    exact = oracle.implicit_gradient(x, y, estimate.free.states)
    for name, parameter in engine.named_parameters():
        assert parameter.grad is not None
        assert error(parameter.grad, exact[name]) <= 1e-5, name
    torch.testing.assert_close(estimate.losses, oracle.cost(estimate.free.states, y))
    if backend == "eager":
        engine.zero_grad()
        check(engine, tmp_path, x, y, free_steps=4, nudged_steps=3)


def test_multi_hot_and_soft_targets() -> None:
    """Cross-entropy takes any weights on the classes, not only one-hot rows."""
    for cost in ("cross_entropy", "softmax_readout"):
        states = {name: {"shape": [12]} for name in "ab"}
        edges = [{"from": a, "to": b, "dense": {}} for a, b in ("xa", "xb", "ab", "ay", "by")]
        data = {**IMAGE, "output": {"classes": 4, "cost": cost}, "states": states, "edges": edges}
        engine = ep.compile(ep.Architecture.model_validate(data), dtype=torch.float64, schedule="coloring")
        x = torch.rand(2, 2, 6, 6, dtype=torch.float64)
        y = torch.rand(2, 4, dtype=torch.float64)
        estimate = engine.backward(x, y, beta=1e-3, free_steps=150, nudged_steps=150)
        exact = Reference(engine.graph, engine.state_dict()).implicit_gradient(x, y, estimate.free.states)
        for name, parameter in engine.named_parameters():
            assert parameter.grad is not None
            assert error(parameter.grad, exact[name]) <= 1e-4, (cost, name)


def test_labels_need_classes() -> None:
    engine = ep.compile(ep.Architecture.model_validate(IMAGE))
    with pytest.raises(ep.EpgraphError, match=r"expected 2 targets of shape \(2, 3, 6, 6\), found \(2,\) of int64"):
        engine.backward(torch.rand(2, 2, 6, 6), torch.tensor([0, 1]))


def test_evaluation_without_labels_has_no_error() -> None:
    engine = ep.compile(ep.Architecture.model_validate(IMAGE))
    loader = [(torch.rand(2, 2, 6, 6), torch.rand(2, 3, 6, 6))]
    assert set(evaluate(engine, loader, steps=5)) == {"loss", "residual"}


def test_random_readouts_are_what_they_say() -> None:
    graph = random_graph(3, readout=True)
    assert graph.readout
    assert graph.dynamic == graph.free[:-1]
    assert all(edge.source != "y" for edge in graph.edges.values())

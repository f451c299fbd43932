"""Tied and frozen weights: one parameter, gradients that add up, and what training leaves alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

import epgraph as ep
from epgraph.compiler.export import module_text
from epgraph.estimators import ESTIMATORS
from epgraph.training import make_optimizer
from tests.helpers.case import Case

CHAIN: dict[str, Any] = {
    "epgraph": 2,
    "input": {"shape": [4]},
    "output": {"classes": 4},
    "defaults": {"activation": "tanh", "gain": 0.5},
    "states": {"a": {"shape": [4]}, "b": {"shape": [4]}, "c": {"shape": [4]}},
    "edges": [
        {"from": "x", "to": "a", "dense": {}},
        {"from": "a", "to": "b", "dense": {}},
        {"from": "b", "to": "c", "dense": {}},
        {"from": "c", "to": "y", "dense": {}},
    ],
    "dynamics": {"schedule": "coloring", "free_steps": 60, "nudged_steps": 60},
}


def with_edges(changes: dict[int, dict[str, Any]], **more: Any) -> dict[str, Any]:
    data = copy.deepcopy(CHAIN) | more
    for index, change in changes.items():
        data["edges"][index] |= change
    return data


def gradients(engine: ep.Engine, case: Case, estimator: Any, **options: Any) -> dict[str, torch.Tensor]:
    engine.zero_grad(set_to_none=True)
    engine.backward(case.x, case.y, estimator=estimator, **options)
    return {name: p.grad for name, p in engine.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("estimator", sorted(ESTIMATORS))
def test_gradients_add_up(estimator: str) -> None:
    """That of a shared weight is the sum of those of equal weights: input, hidden and output edges, every rule."""
    tied = Case(with_edges({1: {"tie": "x_a"}, 2: {"tie": "a_b"}, 3: {"tie": "x_a"}}))
    free = Case(CHAIN)
    assert {edge.owner for edge in tied.graph.edges.values()} == {"x_a"}
    engine = tied.engine("coloring")
    apart = ep.compile(free.architecture, dtype=torch.float64, schedule="coloring")
    shared = engine.state_dict()["edges.x_a.weight"]
    values = {f"edges.{name}.weight": shared for name in free.graph.edges}
    apart.load_state_dict({**engine.state_dict(), **values})
    torch.manual_seed(0)
    found = gradients(engine, tied, estimator, continual_rate=0.0)
    torch.manual_seed(0)
    each = gradients(apart, tied, estimator, continual_rate=0.0)
    summed = sum(each[name] for name in values)
    torch.testing.assert_close(found["edges.x_a.weight"], summed, rtol=1e-9, atol=1e-12)
    for name in found.keys() - {"edges.x_a.weight"}:
        torch.testing.assert_close(found[name], each[name])


def test_a_readout_can_share_a_weight_with_the_dynamics() -> None:
    """The cost's own gradient and the contrast add up, in the engine and in the emitted module."""
    output = {"classes": 4, "cost": "softmax_readout"}
    tied = Case(with_edges({3: {"tie": "a_b"}}, output=output))
    free = Case(with_edges({}, output=output))
    engine, apart = tied.engine("coloring"), free.engine("coloring")
    shared = engine.state_dict()["edges.a_b.weight"]
    apart.load_state_dict({**engine.state_dict(), "edges.a_b.weight": shared, "edges.c_y.weight": shared})
    found, each = gradients(engine, tied, "centered"), gradients(apart, tied, "centered")
    torch.testing.assert_close(found["edges.a_b.weight"], each["edges.a_b.weight"] + each["edges.c_y.weight"])
    names: dict[str, Any] = {}
    exec(compile(module_text(engine.machine), "emitted", "exec"), names)
    standalone = names["Engine"](engine.state_dict()).gradient(tied.x, tied.y)
    assert torch.equal(standalone["edges.a_b.weight"], found["edges.a_b.weight"])


def test_tied_feedback_is_shared_too() -> None:
    case = Case(with_edges({2: {"tie": "a_b"}}, learning={"feedback": "untied"}))
    engine = case.engine("coloring")
    names = [name for name, _ in engine.named_parameters() if name.endswith("feedback")]
    assert names == ["edges.a_b.feedback", "edges.c_y.feedback"]
    found = gradients(engine, case, "centered")
    torch.testing.assert_close(found["edges.a_b.feedback"], found["edges.a_b.weight"])
    exact = gradients(engine, case, "unrolled", free_steps=4)
    weight = engine.get_parameter("edges.a_b.feedback")
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            weight[0, 1] += sign * 1e-6
            ends.append(float(engine.loss(engine.relax(case.x, steps=4).states, case.y).mean()))
            weight[0, 1] -= sign * 1e-6
    assert float(exact["edges.a_b.feedback"][0, 1]) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-9)


def test_what_is_tied_has_the_owner_s_options_and_counts_once() -> None:
    whole = ep.build(ep.Architecture.model_validate(CHAIN))
    data = with_edges({0: {"gain": 2.0, "learning_rate": 0.5}, 2: {"tie": "x_a"}, 3: {"frozen": True}})
    graph = ep.build(ep.Architecture.model_validate(data))
    assert graph.parameters() == whole.parameters() - 32
    assert graph.frozen() == 16
    edge = graph.edges["b_c"]
    assert (edge.learning_rate, edge.weight_scale) == (0.5, graph.edges["x_a"].weight_scale)
    engine = ep.compile(ep.Architecture.model_validate(data))
    assert sum(p.numel() for p in engine.parameters() if p.requires_grad) == graph.parameters()
    assert "edges.b_c.weight" not in engine.state_dict()
    assert "edges.c_y.weight" in engine.state_dict()


def test_training_leaves_frozen_weights_alone() -> None:
    """Weight decay and momentum included; of the others one step is what SGD takes."""
    case = Case(with_edges({1: {"frozen": True}, 2: {"tie": "a_b"}, 3: {"tie": "x_a"}}))
    engine = case.engine("coloring")
    before = {name: p.detach().clone() for name, p in engine.named_parameters()}
    optimizer = make_optimizer(engine)
    plain = torch.optim.SGD(engine.parameters(), lr=0.1, weight_decay=0.1, momentum=0.9)
    for chosen in (optimizer, plain):
        for _ in range(2):
            chosen.zero_grad()
            engine.backward(case.x, case.y)
            assert engine.get_parameter("edges.a_b.weight").grad is None
            chosen.step()
    after = dict(engine.named_parameters())
    assert torch.equal(after["edges.a_b.weight"], before["edges.a_b.weight"])
    assert all(not torch.equal(after[n], before[n]) for n in before if n != "edges.a_b.weight")

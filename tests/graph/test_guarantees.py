"""What ``epgraph check`` promises is true on random networks; what it does not promise can go wrong."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch

import epgraph as ep
from epgraph.activations import NAMED, Activation
from epgraph.cli import run
from epgraph.estimators import ESTIMATORS
from epgraph.graph import SCHEDULES, guaranteed
from epgraph.graph.guarantees import nudged_never_rises
from epgraph.solvers import SOLVERS
from tests.helpers.activations import WRITTEN
from tests.helpers.case import Case
from tests.helpers.networks import RING
from tests.helpers.promises import fresh_seed, keeps, rises
from tests.helpers.topologies import random_architecture

DYNAMICS: tuple[dict[str, Any], ...] = (
    {},
    {"over_relaxation": 0.5},
    {"flow": 0.4},
    *({"solver": name} for name, solver in SOLVERS.items() if solver.mixes),
    {"weight_bits": 4},
    {"output_step": "closed_form"},
    {"over_relaxation": 1.5},
)


def test_what_is_promised_of_the_energy_is_kept(note: Callable[[str], None]) -> None:
    """Under every schedule, with every solver that is not refused, free and nudged by ±β, from random states."""

    def draw(rng: random.Random) -> dict[str, Any]:
        data = random_architecture(rng, activations=WRITTEN, gain=(0.4, 1.6), readout=rng.random() < 0.2)
        data["dynamics"] = {"schedule": rng.choice(["coloring", *SCHEDULES]), **rng.choice(DYNAMICS)}
        return {**data, "learning": {"beta": rng.choice([0.1, 0.9])}}

    claimed = keeps(fresh_seed(), draw, {"free": 30, "nudged": 15})
    note(f"guarantees: F never rises, claimed and kept on {claimed['free']} networks, nudged on {claimed['nudged']}")


class Unbounded(Activation):
    """The logistic function, by somebody who does not say what its range is."""

    label = "unbounded"

    def apply_(self, x: torch.Tensor, alpha: float | torch.Tensor) -> torch.Tensor:
        return x.sigmoid_()

    def self_energy(self, s: torch.Tensor, alpha: float | torch.Tensor) -> torch.Tensor:
        return torch.special.xlogy(s, s) + torch.special.xlog1py(1 - s, -s)


@pytest.mark.parametrize("activation", WRITTEN)
def test_what_anderson_mixes_stays_in_the_range_of_every_activation(activation: Any) -> None:
    """Beyond it G is not defined, and the formula of softclip's gave an energy that was far too low."""
    data = {**RING, "defaults": {"activation": activation}, "dynamics": {"schedule": "coloring", "anderson": 3}}
    case = Case(data)
    engine = case.engine("coloring")
    names = engine.graph.free
    generator = torch.Generator().manual_seed(0)
    inside = engine.relax(case.x, steps=3).states
    outside = {n: 20 * torch.rand(s.shape, generator=generator, dtype=s.dtype) - 10 for n, s in inside.items()}
    mixed = [inside[name].clone() for name in names]
    engine.executor.box(dict(zip(names, mixed, strict=True)), engine.snapshot())
    assert all(torch.equal(s, inside[name]) for s, name in zip(mixed, names, strict=True)), "what is inside stays"
    mixed = [outside[name].clone() for name in names]
    engine.executor.box(dict(zip(names, mixed, strict=True)), engine.snapshot())
    for s, name in zip(mixed, names, strict=True):
        bounds = engine.graph.states[name].activation.bounds(engine.snapshot().alpha(engine.graph.states[name]))
        assert torch.equal(s, outside[name] if bounds is None else outside[name].clamp(*bounds)), name


def test_nothing_is_promised_of_anderson_where_a_range_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NAMED, "unbounded", Unbounded())
    changes: dict[str, Any] = {"defaults": {"activation": "unbounded"}}
    assert "free phase: F never rises" in said(**changes)
    text = said(**changes, dynamics={"schedule": "coloring", "anderson": 3})
    assert "F may rise: Anderson acceleration may leave the range of unbounded at a, b, c and 1 more, which is" in text


def said(**changes: Any) -> str:
    data = {**RING, "dynamics": {"schedule": "coloring"}, **changes}
    engine = ep.compile(ep.Architecture.model_validate(data))
    return "\n".join(guaranteed(engine.graph, engine.plan.schedule))


POOLED = [{"from": "a", "to": "d", "conv": {"kernel": 3, "padding": 1, "pool": "max"}}]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "free phase: F never rises, but for rounding: every update is the minimizer of F over"),
        ({}, "nudged phases: F ± βC never rises"),
        ({}, "rest: exactly where F is stationary"),
        (
            {},
            "an error of O(β²); units that the nudge moves across kinks of a, b, c and 1 more add to it",
        ),
        ({}, "holomorphic: no: a (relu6), b (relu6), c (relu6) and 1 more"),
        ({"defaults": {"activation": "softclip"}}, "gradient: at rest that of the loss, with an error of O(β²)"),
        ({"defaults": {"activation": "softclip"}}, "holomorphic: the equilibrium continues to small complex β"),
        (
            {
                "defaults": {"activation": "softclip"},
                "output": {"name": "y", "classes": 3, "cost": "softmax_readout"},
            },
            "holomorphic: no: the cost softmax_readout",
        ),
        ({"learning": {"estimator": "positive"}}, "gradient: at rest that of the loss, with an error of O(β); units"),
        (
            {"learning": {"estimator": "continual"}},
            "with an error of O(β) and one that grows with continual_rate; units",
        ),
        ({"learning": {"estimator": "implicit"}}, "gradient: at rest that of the loss, as exactly as solver_tolerance"),
        ({"learning": {"estimator": "unrolled"}}, "gradient: that of the loss after free_steps sweeps, at rest or not"),
        (
            {"dynamics": {"schedule": "synchronous"}},
            "F may rise: schedule synchronous moves states together that share",
        ),
        ({"dynamics": {"schedule": "coloring", "noise": 0.1}}, "F may rise: noise is added to every pre-activation"),
        ({"dynamics": {"schedule": "coloring", "noise": 0.1}}, "rest: none: the states fluctuate"),
        ({"dynamics": {"schedule": "coloring", "state_bits": 4}}, "F may rise: states are rounded to 4 bits"),
        ({"dynamics": {"schedule": "coloring", "weight_bits": 4}}, "that of the rounded weights, which the float"),
        (
            {"dynamics": {"schedule": "coloring", "flow": 0.2}},
            "F never rises, but for rounding: every update goes less than twice the way",
        ),
        ({"edges": RING["edges"] + POOLED}, "of a tangent above it, where an edge is max-pooled"),
        (
            {"edges": RING["edges"] + POOLED, "defaults": {"activation": "tanh"}},
            "F may rise: max pooling reaches states that may be negative: a_d",
        ),
        ({"learning": {"beta": 1.5}}, "the explicit step of the output overshoots for β = 1.5, above 1"),
        (
            {"output": {"name": "y", "classes": 3, "cost": "softmax_readout"}},
            "nudged phases: F ± βC may rise: softmax_readout is nudged by explicit steps",
        ),
        (
            {"output": {"name": "y", "classes": 3, "activation": "tanh"}},
            "the explicit step of the output (tanh, squared_error) may overshoot",
        ),
        (
            {"defaults": {"activation": {"relu": 6, "learn": True}}},
            "the levels α of a, b, c and 1 more learn from units that stand at them",
        ),
    ],
)
def test_what_is_said(changes: dict[str, Any], sentence: str) -> None:
    assert sentence in said(**changes)


def test_something_is_said_of_the_gradient_of_every_rule() -> None:
    for name, estimator in ESTIMATORS.items():
        assert bool(estimator.error) == (not estimator.clamps_output), name
        sentence = said(learning={"estimator": name}, defaults={"activation": "tanh"})
        assert f"contrast of {name}" in sentence if estimator.clamps_output else estimator.error in sentence, name


def test_the_steps_that_are_not_promised_do_overshoot() -> None:
    """β above the bound: the explicit step of the output raises F + βC, far from where it rests."""
    data = {**RING, "dynamics": {"schedule": "coloring"}, "learning": {"beta": 1.4}}
    case = Case(data)
    engine = case.engine("coloring")
    assert nudged_never_rises(case.graph, engine.plan.schedule)
    assert rises(case, engine, 1.4) > 1e-3


def test_check_prints_them(capsys: pytest.CaptureFixture[str]) -> None:
    file = "examples/hopfield_resnet13.yaml"
    assert run(["check", file]) == 0
    text = capsys.readouterr().out
    assert "guarantees  free phase: F may rise: schedule even_odd moves states together that share an edge: " in text
    assert run(["check", file, "--schedule", "coloring", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["guarantees"]
    assert found[0].startswith("free phase: F never rises")
    assert all(isinstance(sentence, str) for sentence in found)


def test_nothing_is_promised_where_there_is_no_energy() -> None:
    """Feedback with weights of its own, and rules that follow a contrast of their own."""
    tied = said()
    untied = said(learning={"feedback": "untied"})
    assert "free phase: F never rises" in tied
    assert "never rises" not in untied
    assert untied.count("there is no F: feedback has weights of its own") == 2
    assert "gradient: not that of the loss until feedback has aligned" in untied
    assert "that of the contrast of contrastive" in said(learning={"estimator": "contrastive"})

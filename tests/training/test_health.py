"""What is said of a network that does not learn, and that nothing is said of one that does."""

from __future__ import annotations

from math import comb
from pathlib import Path
from typing import Any

import pytest
import torch

import epgraph as ep
from epgraph.chance import guessed
from epgraph.training.health import advice, troubles

TEN = [0.1] * 10
FOLDER = Path("runs/my net")
ADVICE = advice(FOLDER)


def engine(activation: Any = "relu1") -> ep.Engine:
    data = {
        "epgraph": 2,
        "input": {"shape": [4]},
        "output": {"classes": 10},
        "defaults": {"activation": activation},
        "states": {"h": {"shape": [50]}},
        "edges": [{"from": "x", "to": "h", "dense": {}}, {"from": "h", "to": "y", "dense": {}}],
    }
    return ep.compile(ep.Architecture.model_validate(data))


NETWORK = """
epgraph: 2
input: {shape: [4]}
output: {classes: 10}
defaults: {activation: relu1}
states: {h: {shape: [50]}}
edges:
  - {from: x, to: h, dense: {}}
  - {from: h, to: y, dense: {}}
"""

SLOW = """
epgraph: 2
input: {shape: [20]}
output: {classes: 10}
defaults: {activation: tanh, gain: 1.0}
states: {a: {shape: [40]}, b: {shape: [40]}, c: {shape: [40]}}
edges:
  - {from: x, to: a, dense: {}}
  - {from: a, to: b, dense: {}}
  - {from: b, to: c, dense: {}}
  - {from: c, to: y, dense: {}}
"""


def said(error: float | None = 0.1, examples: int = 1000, frequencies: list[float] = TEN, **states: Any) -> list[str]:
    given = {"h": 0.2 + 0.6 * torch.rand(8, 50), "y": torch.randn(8, 10), **states}
    activation = given.pop("activation", "relu1")
    metrics = {"epoch": 3.0, "train_residual": 1e-5} | ({} if error is None else {"test_error": error})
    return troubles(engine(activation), metrics, frequencies, examples, given, FOLDER)


def test_the_binomial_tail_is_exact() -> None:
    for right, examples, chance in [(0, 10, 0.3), (4, 10, 0.3), (10, 10, 0.3), (57, 100, 0.5)]:
        exact = sum(comb(examples, k) * chance**k * (1 - chance) ** (examples - k) for k in range(right, examples + 1))
        assert guessed(right, examples, chance) == pytest.approx(exact, rel=1e-12)
    assert guessed(60_500, 600_000, 0.1) == pytest.approx(0.0157, abs=2e-3)  # 2.15 deviations


@pytest.mark.parametrize(("error", "examples"), [(0.1, 1000), (0.87, 1000), (0.8, 100)])
def test_nothing_is_said_of_what_learns(error: float, examples: int) -> None:
    assert said(error, examples) == []


def test_an_accuracy_at_chance_is_said_with_what_chance_is() -> None:
    first, last = said(0.902)
    assert first == (
        "after epoch 3 the accuracy is at chance: 9.80% of 1000 test examples, and always answering the most frequent "
        "class gives 10.00%"
    )
    assert last == ADVICE
    assert ADVICE.endswith(": epgraph gradcheck 'runs/my net'")
    assert len(said(0.885)) == 2, "11.5 % of 1000 is what chance gives once in 16 times"
    # Of an unequal set the most frequent class alone is right often.
    assert len(said(0.69, frequencies=[0.3, 0.7])) == 2
    assert said(0.1, frequencies=[0.3, 0.7]) == []


def test_where_chance_cannot_be_told() -> None:
    assert said(None) == [], "targets that are no labels"
    assert said(0.9, examples=20) == []
    assert said(0.0, frequencies=[1.0]) == [], "one class"


@pytest.mark.parametrize(
    ("activation", "h", "sentence"),
    [
        ("relu1", torch.zeros(8, 50), "nearly all units are 0, for every input, in state 'h': no signal passes them"),
        ("identity", torch.zeros(8, 50), "nearly all units are 0, for every input, in state 'h'"),
        ("relu1", torch.ones(8, 50), "nearly all units are at an end of their activation in state 'h' (relu1)"),
        ("relu1", torch.ones(8, 50) * (torch.arange(50) > 25), "at an end of their activation in state 'h' (relu1)"),
        ("tanh", 0.999 * torch.ones(8, 50), "at an end of their activation in state 'h' (tanh)"),
        ("tanh", -torch.ones(8, 50), "at an end of their activation in state 'h' (tanh)"),
        ("softclip", 5.999 * torch.ones(8, 50), "at an end of their activation in state 'h' (softclip)"),
        ({"relu": 2, "learn": True}, 2 * torch.ones(8, 50), "in state 'h' (learnt_relu2)"),
    ],
)
def test_states_that_do_not_move(activation: Any, h: torch.Tensor, sentence: str) -> None:
    first, advice = said(h=h, activation=activation)
    assert sentence in first
    assert advice == ADVICE


def test_a_few_units_at_an_end_are_nothing_to_speak_of() -> None:
    for h in (torch.zeros(8, 50), torch.ones(8, 50)):
        h[:, :2] = 0.5
        assert said(h=h) == []


def test_several_states_are_named_together() -> None:
    first, _ = said(h=torch.zeros(8, 50), y=torch.zeros(8, 10))
    assert "in states 'h', 'y': no signal" in first


def test_a_network_that_cannot_learn_is_seen_at_once() -> None:
    """Its biases are so negative that every unit is 0, and the output does not depend on the input."""
    made = engine()
    with torch.no_grad():
        made.get_parameter("states.h.bias").fill_(-50.0)
    states = made.relax(torch.rand(8, 4)).states
    found = troubles(made, {"epoch": 1.0, "test_error": 0.9, "train_residual": 0.0}, TEN, 360, states, FOLDER)
    assert len(found) == 3


SETTLED = {"epoch": 2.0, "test_error": 0.1, "train_residual": 0.0099}
UNSETTLED = SETTLED | {"train_residual": 0.0296}


def of_dynamics(metrics: dict[str, float], *overrides: str) -> list[str]:
    """What is said of a network with these settings, whose units are all well."""
    made = ep.compile(ep.load(NETWORK, list(overrides)))
    states = {"h": 0.2 + 0.6 * torch.rand(8, 50), "y": torch.randn(8, 10)}
    return troubles(made, metrics, TEN, 1000, states, FOLDER)


def test_a_free_phase_that_does_not_settle_is_said_with_what_helps() -> None:
    assert of_dynamics(SETTLED) == []
    first, last = of_dynamics(UNSETTLED, "dynamics.free_steps=10")
    assert first == (
        "in epoch 2 the free phase did not settle: its mean residual is 3.0e-02 after at most 10 sweeps, and the "
        "gradient holds at an equilibrium only; raise dynamics.free_steps and dynamics.nudged_steps, and set "
        "dynamics.tolerance (0.005, say) to stop where fewer are enough"
    )
    assert last == ADVICE
    assert len(of_dynamics(UNSETTLED, "learning.estimator=implicit")) == 2


BEGIN = "after epoch 2 the gradient has a cosine of 0.71 to that of the network at rest"


def test_a_gradient_that_is_not_that_at_rest_is_said_with_its_cause() -> None:
    low = SETTLED | {"gradient_cosine": 0.711}
    more = "raise dynamics.free_steps and dynamics.nudged_steps, and set dynamics.tolerance (0.005, say) to stop where"
    assert of_dynamics(low)[0].startswith(f"{BEGIN}: set training.warm_start: false, or {more}")
    assert of_dynamics(low, "training.warm_start=false")[0].startswith(f"{BEGIN}: {more}")
    assert of_dynamics(low | {"gradient_cosine_float32": 0.8})[0].startswith(f"{BEGIN}: set training")
    assert of_dynamics(low | {"gradient_cosine_float32": 0.99})[0].startswith(
        f"{BEGIN}, and in float32 it would be good: train with --dtype float32"
    )


def test_a_good_gradient_is_believed_before_a_residual() -> None:
    assert of_dynamics(UNSETTLED | {"gradient_cosine": 0.95}) == []


@pytest.mark.parametrize(
    "override",
    ["learning.estimator=unrolled", "learning.estimator=backprop", "dynamics.noise=0.1", "dynamics.state_bits=4"],
)
def test_where_a_residual_is_no_fault(override: str) -> None:
    assert of_dynamics(UNSETTLED, override) == []


def test_the_residual_says_how_far_the_gradient_is_off() -> None:
    """The reason for the sentence: the same network, settled and not, against its gradient at rest."""
    torch.manual_seed(0)
    made = ep.compile(ep.load(SLOW), dtype=torch.float64)
    x, y = torch.randn(16, 20, dtype=torch.float64), torch.randint(10, (16,))

    def gradient(sweeps: int) -> tuple[torch.Tensor, float]:
        made.zero_grad()
        estimate = made.backward(x, y, free_steps=sweeps, nudged_steps=sweeps, beta=0.01)
        found = torch.cat([p.grad.flatten() for p in made.parameters() if p.grad is not None])
        return found, float(estimate.free.residuals.mean())

    rest, at_rest = gradient(2000)
    few, residual = gradient(3)
    more, low = gradient(60)
    assert at_rest < 1e-10
    assert residual > 0.01 > low
    assert torch.cosine_similarity(few, rest, dim=0) < 0.99 < torch.cosine_similarity(more, rest, dim=0)

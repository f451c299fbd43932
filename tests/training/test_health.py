"""What is said of a network that does not learn, and that nothing is said of one that does."""

from __future__ import annotations

from math import comb
from pathlib import Path
from typing import Any

import pytest
import torch

import epgraph as ep
from epgraph.training.health import advice, guessed, troubles

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


def said(error: float | None = 0.1, examples: int = 1000, frequencies: list[float] = TEN, **states: Any) -> list[str]:
    given = {"h": 0.2 + 0.6 * torch.rand(8, 50), "y": torch.randn(8, 10), **states}
    activation = given.pop("activation", "relu1")
    metrics = {"epoch": 3.0} | ({} if error is None else {"test_error": error})
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
    assert ADVICE.endswith(": epgraph gradcheck 'runs/my net' --checkpoint 'runs/my net'")
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
    found = troubles(made, {"epoch": 1.0, "test_error": 0.9}, TEN, 360, states, FOLDER)
    assert len(found) == 3

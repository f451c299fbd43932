"""The equations in symbols: evaluated as they are written, they give what the engine computes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import epgraph as ep
from epgraph.costs import COSTS
from epgraph.lowering import equations
from epgraph.lowering.equations import MOST_TERMS, Symbol, Tokens

EXAMPLES = Path(__file__).parents[2] / "examples"
BETA = 0.3

AS_PYTHON = (
    (r"∂C/∂v\[(\d+)\]", r"force(\1)"),
    (r"(v\[\d+\])/∂v\[\d+\]", r"\1"),  # the symbol ∂φ is the derivative already
    (r"σ′\(v\[(\d+)\]\)", r"slope(\1)"),
    (r"σ⁻¹\(", "inverse("),
    (r"σ\(", "sigma("),
    (r"([ωεd]) \(", r"\1 * ("),
    (r"β (?=y|force)", "β * "),
    ("⊙", "*"),
    ("−", "-"),
)
"""What is written in an equation, and the same in Python."""


class Map:
    """A, B or Aᵀ of an edge, applied by ``@`` or by a call."""

    def __init__(self, apply: Callable[[Tensor], Tensor]) -> None:
        self.apply = apply

    def __matmul__(self, s: Tensor) -> Tensor:
        return self.apply(s)

    __call__ = __matmul__


class Reader:
    """Evaluates the equations of a network with the states and parameters of an engine."""

    def __init__(self, engine: ep.Engine, x: Tensor, y: Tensor, states: dict[str, Tensor]) -> None:
        self.engine, self.graph, self.y = engine, engine.graph, y
        self.states = {self.graph.input.name: x, **states}
        self.parameters = engine.snapshot()

    def sweep(self, phase: str) -> None:
        """Set every state as its equation of this phase says: those of a class together."""
        forward = phase == "free phase" and self.graph.energy.feedforward
        classes: Any = [(n,) for n in self.graph.forward_order] if forward else self.engine.plan.schedule.classes
        for names in classes:
            self.states |= {name: self.updated(name, phase) for name in names}

    def updated(self, name: str, phase: str) -> Tensor:
        by_label = {line.label: line.tokens for line in equations(self.graph, name)}
        old, arrow, *new = by_label.get("every phase") or by_label.get(phase) or by_label["free phase"]
        assert (str(old), arrow) == (f"s[{name}]", " ← ")
        return self.value(tuple(new), name)

    def value(self, tokens: Tokens, name: str) -> Tensor:
        symbols = [token for token in tokens if isinstance(token, Symbol)]
        places = iter(range(len(symbols)))
        # Between two symbols a space applies the first to the second.
        parts = [f"v[{next(places)}]" if isinstance(t, Symbol) else " @ " if t == " " else t for t in tokens]
        text = "".join(parts)
        for written, python in AS_PYTHON:
            text = re.sub(written, python, text)
        state, level = self.graph.states[name], self.level(name)
        dynamics, cost = self.graph.architecture.dynamics, COSTS[self.graph.architecture.output.cost]
        scope = {
            "v": [self.symbol(symbol, name) for symbol in symbols],
            "σ": None,
            "β": BETA,
            "y": self.y,
            "force": lambda k: cost.gradient(self.states[symbols[k].index], self.y),
            "sigma": lambda a: state.activation.apply_(a.clone(), level),
            "inverse": lambda s: state.activation.inverse(s, level),
            "slope": lambda k: self.slope(symbols[k].index),
            "ω": dynamics.step,
            "ε": dynamics.step,
            "d": self.damping(name),
        }
        return torch.as_tensor(eval(text, scope))

    def symbol(self, symbol: Symbol, name: str) -> Any:
        index = symbol.index
        if symbol.letter in ("A", "B"):
            return self.map(symbol)
        if symbol.letter == "∂φ":
            edge = self.graph.edges[index]
            return edge.kind.forward(self.weight(index), self.states[name], self.graph.states[name].shape)
        if symbol.letter == "b":
            bias = self.parameters.values[f"states.{index}.bias"]
            return bias.reshape(1, -1, *[1] * (len(self.graph.states[index].shape) - 1))
        if symbol.letter == "s":
            return self.states[index]
        # a of a state is explained by its own equations, ε by those of the state that reads it.
        lines = equations(self.graph, index if symbol.letter == "a" else name)
        (explained,) = [line.tokens[2:] for line in lines if line.tokens[:2] == (symbol, " = ")]
        return self.value(explained, index)

    def map(self, symbol: Symbol) -> Map:
        edge, weight = self.graph.edges[symbol.index], self.weight(symbol.index)
        source, target = (self.graph.states[end].shape for end in (edge.source, edge.target))
        if not symbol.transposed:
            return Map(lambda s: edge.kind.forward(weight, s, target))
        s = self.states[edge.source]
        if symbol.letter == "B":
            feedback = self.parameters.values[f"edges.{edge.owner}.feedback"]
            return Map(lambda t: edge.kind.adjoint_untied(weight, feedback, t, s, source))
        return Map(lambda t: edge.kind.adjoint(weight, t, s, source))

    def weight(self, edge: str) -> Any:
        return self.parameters.values.get(f"edges.{self.graph.edges[edge].owner}.weight")

    def level(self, name: str) -> Any:
        return self.parameters.alpha(self.graph.states[name])

    def slope(self, name: str) -> Tensor:
        summed = self.symbol(Symbol("a", name), name)
        return self.graph.states[name].activation.derivative(summed, self.level(name))

    def damping(self, name: str) -> float | None:
        """As the line that explains d says."""
        damped, state = self.graph.damped(name), self.graph.states[name]
        if not damped:
            return None
        kappa = sum(float(e.kind.concavity(self.weight(e.name), state.shape)) for e in damped)  # type: ignore[attr-defined]
        c, steepest = self.graph.architecture.dynamics.damping, state.activation.steepest
        assert c is not None
        assert steepest is not None
        return min(1.0, c / (1 + steepest * kappa))


@pytest.mark.parametrize(
    ("file", "overrides"),
    [
        ("digits", []),
        ("digits", ["dynamics.over_relaxation=1.5"]),
        ("digits_tanh", ["dynamics.over_relaxation=0.5"]),
        ("digits_tanh", ["dynamics.flow=0.25", "learning.estimator=centered"]),
        ("digits", ["dynamics.flow=0.25"]),
        ("digits", ["dynamics.output_step=closed_form"]),
        ("digits", ["output.cost=softmax_readout"]),
        ("digits", ["dynamics.schedule=synchronous"]),
        ("pyramid", []),
        ("pyramid", ["dynamics.damping=null"]),
        ("digits", ["energy=predictive"]),
        ("digits", ["energy=predictive", "dynamics.update=pgd"]),
        ("digits_tanh", ["energy=predictive"]),
        ("digits", ["energy=predictive", "output.cost=softmax_readout"]),
    ],
)
def test_the_equations_give_what_the_engine_computes(file: str, overrides: list[str]) -> None:
    engine = ep.compile(ep.load(EXAMPLES / f"{file}.yaml", overrides), dtype=torch.float64, seed=1)
    graph = engine.graph
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(3, *graph.input.shape, dtype=torch.float64, generator=generator)
    labels = torch.tensor([1, 4, 9])
    drawn = {
        name: 0.4 * torch.rand(3, *graph.states[name].shape, dtype=torch.float64, generator=generator)
        for name in graph.free
    }
    free = engine.relax(x, start=drawn, steps=1)
    reader = Reader(engine, x, torch.nn.functional.one_hot(labels, 10).double(), drawn)
    reader.sweep("free phase")
    for name in graph.free:
        torch.testing.assert_close(reader.states[name], free.states[name], rtol=1e-12, atol=1e-12)
    nudged = engine.relax(x, start=drawn, steps=1, target=labels, beta=BETA)
    reader.states |= drawn
    reader.sweep("nudged by β")
    moved = 0.0
    for name in graph.free:
        torch.testing.assert_close(reader.states[name], nudged.states[name], rtol=1e-12, atol=1e-12)
        moved += float((nudged.states[name] - free.states[name]).abs().sum())
    assert moved > 0, "the nudge changes something"


def text(source: object, name: str, overrides: list[str] | None = None) -> list[str]:
    graph = ep.build(ep.load(source, overrides or []))  # type: ignore[arg-type]
    return [f"{line.label}: {line}" for line in equations(graph, name)]


def test_the_input_does_not_move() -> None:
    assert text(EXAMPLES / "digits.yaml", "x") == ["clamped: s[x] = the example"]


def test_what_belongs_to_the_dynamics_is_explained() -> None:
    found = text(EXAMPLES / "digits.yaml", "h2", ["dynamics.noise=0.05", "dynamics.state_bits=4"])
    assert found == [
        "every phase: s[h2] ← round(σ(A[h1_h2] s[h1] + A[h2_h3]ᵀ s[h3] + A[h2_h4]ᵀ s[h4] + b[h2] + η))",
        "where: σ = relu1",
        "where: η = Gaussian noise of deviation 0.05",
        "where: round = to 4 bits on the range of σ",
    ]


def test_error_sweeps_have_an_equation_for_errors() -> None:
    found = text(EXAMPLES / "digits_tanh.yaml", "h2", ["energy=predictive", "dynamics.solver=error_sweeps"])
    assert found == [
        "free phase: s[h2] ← σ(a[h2])",
        "nudged, error: ε[h2] = A[h2_y]ᵀ ε[y]",
        "nudged, state: s[h2] ← σ(a[h2]) + ε[h2]",
        "where: a[h2] = A[h1_h2] s[h1] + b[h2]",
        "where: σ = tanh",
    ]


def test_a_long_sum_is_shortened_and_says_so() -> None:
    many = ep.topologies.all_to_all(states=MOST_TERMS + 4)
    name = next(n for n in ep.build(many).dynamic)
    (line, *_) = text(ep.to_yaml(many), name)
    assert "⋯ (" in line
    assert line.count("A[") == MOST_TERMS


def test_an_energy_of_ones_own_writes_itself() -> None:
    from epgraph.energies import ENERGIES, Hopfield

    class Own(Hopfield):
        """An energy whose updates are not those of Φ."""

        descends = False

        def written(self, state: str, terms: list[str]) -> str:
            return f"half of ({' + '.join(terms)})"

    ep.register_energy("own", Own())
    try:
        assert text(EXAMPLES / "digits_tanh.yaml", "h2", ["energy=own"])[0] == (
            "every phase: s[h2] ← σ(half of (b[h2] + A[h1_h2] s[h1] + A[h2_y]ᵀ s[y]))"
        )
    finally:
        ENERGIES.pop("own")


def test_backpropagation_is_written_as_the_forward_pass_whatever_the_energy() -> None:
    """On a Hopfield file too: those of the predictive energy, whose free phase it is."""
    backprop = ep.load(EXAMPLES / "digits.yaml", ["learning.estimator=backprop"])
    predictive = ep.build(ep.load(EXAMPLES / "digits.yaml", ["energy=predictive"]))
    for name in predictive.free:
        pass_, a, *_ = equations(ep.build(backprop), name)
        free, *more = equations(predictive, name)
        assert (pass_.label, pass_.tokens) == ("forward pass", free.tokens)
        assert a in more

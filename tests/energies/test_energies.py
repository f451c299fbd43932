"""The axis "energy": one from outside goes through the language, the compiler, sweeps and gradients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import Tensor

import epgraph as ep
from epgraph.energies import ENERGIES, Link, Node, Symbols, Wiring
from epgraph.graph import make_schedule
from epgraph.graph.guarantees import guaranteed
from tests.helpers.case import apart
from tests.helpers.emitted import check

NET = """
epgraph: 2
energy: errors
input: {shape: [3]}
output: {classes: 2}
defaults: {activation: identity}
states: {a: {shape: [4]}, b: {shape: [3]}, c: {shape: [4]}}
edges:
- {from: x, to: [a, b], dense: {}}
- {from: a, to: c, dense: {}}
- {from: b, to: c, dense: {}}
- {from: c, to: y, dense: {}}
- {from: a, to: y, dense: {}}
dynamics: {schedule: coloring}
"""


class Errors(ep.Energy):
    """F = ½ Σ ‖s − a‖² with a = Σ A s + b over the edges into a state: identity states, linear edges, no cycles."""

    def interactions(self, graph: Wiring) -> Iterator[tuple[str, str]]:
        yield from super().interactions(graph)
        # Two states with edges into a third one meet in its error.
        for state in graph.dynamic:
            parents = list(dict.fromkeys(edge.source for edge in graph.pre(state)))
            yield from ((one, other) for i, one in enumerate(parents) for other in parents[i + 1 :])

    def error(self, at: Symbols, name: str) -> Tensor:
        return at.state(name) - at.sum(name, "forward")

    def drive(self, at: Symbols, state: Node) -> Tensor:
        drive = at.sum(state.name, "forward")
        for edge in at.graph.post(state.name):
            drive = drive + at.adjoint(edge, self.error(at, edge.target))
        return drive

    def edge_energy(self, at: Symbols, edge: Link) -> None:
        pass

    def state_energy(self, at: Symbols, state: Node) -> None:
        at.add("own", 0.5 * self.error(at, state.name).square().flatten(1).sum(1))

    def edge_gradient(self, at: Symbols, edge: Link) -> Tensor:
        source, error = at.state(edge.source), self.error(at, edge.target)
        return edge.kind.weight_contrast(at.weight(edge), source, error, at.shape(edge.source))

    def bias_gradient(self, at: Symbols, state: Node) -> Tensor:
        return self.error(at, state.name).chunk(2)[1].sum(0)


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    with mock.patch.dict(ENERGIES):
        ep.register_energy("errors", Errors())
        yield


def engine_of(backend: str = "eager", dtype: torch.dtype = torch.float64, schedule: str = "coloring") -> ep.Engine:
    return ep.compile(NET, dtype=dtype, backend=backend, schedule=schedule, seed=1)


def batch(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(5, 3, dtype=dtype, generator=generator), torch.tensor([0, 1, 1, 0, 1])


def predicted(engine: ep.Engine, states: dict[str, Tensor]) -> dict[str, Tensor]:
    """The sum over the edges into each state, written down once more."""
    values = dict(engine.named_parameters())
    sums: dict[str, Tensor] = {name: values[f"states.{name}.bias"] for name in "abcy"}
    for edge in engine.graph.edges.values():
        sums[edge.target] = sums[edge.target] + states[edge.source] @ values[f"edges.{edge.name}.weight"].T
    return sums


def energy(engine: ep.Engine, x: Tensor, states: dict[str, Tensor]) -> Tensor:
    sums = predicted(engine, {"x": x, **states})
    errors = [(states[name] - sums[name]).square().sum(1) for name in "abcy"]
    return 0.5 * torch.stack(errors).sum(0)


def test_the_moral_graph_is_colored() -> None:
    graph = ep.build(ep.load(NET))
    schedule = make_schedule(graph, "coloring")
    classes = [set(names) for names in schedule.classes]
    assert schedule.proper
    assert not any({"a", "b"} <= names for names in classes)  # both have an edge into c, and none joins them
    together = make_schedule(graph, "even_odd")
    assert together.classes == (("a", "c"), ("b", "y"))
    assert [edge.name for edge in together.conflicts] == ["a_c"]
    synchronous = make_schedule(graph, "synchronous")
    assert synchronous.unjoined == (("a", "b"),)
    assert not synchronous.proper
    assert guaranteed(graph, schedule)[0] == "free phase: nothing is claimed of F"
    # The Hopfield energy couples what an edge joins, and nothing else.
    assert make_schedule(ep.build(ep.load(NET.replace("errors", "hopfield"))), "synchronous").unjoined == ()


@pytest.mark.parametrize("schedule", ["coloring", "sequential"])
@pytest.mark.parametrize("backend", ["eager", "channels_last"])
def test_the_free_equilibrium_is_the_forward_pass(backend: str, schedule: str) -> None:
    engine, (x, _) = engine_of(backend, schedule=schedule), batch()
    free = engine.relax(x, steps=500, tolerance=1e-13)
    assert free.status is ep.Status.CONVERGED
    for name, value in predicted(engine, {"x": x, **free.states}).items():
        assert apart(free.states[name], value.detach()) <= 1e-11
    assert float(engine.energy(x, free.states).max()) <= 1e-20
    somewhere = {name: torch.randn_like(s) for name, s in free.states.items()}
    assert apart(engine.energy(x, somewhere), energy(engine, x, somewhere).detach()) <= 1e-12


@pytest.mark.parametrize("backend", ["eager", "channels_last"])
def test_nudged_states_are_stationary(backend: str) -> None:
    engine, (x, y) = engine_of(backend), batch()
    nudged = engine.relax(x, target=y, beta=0.2, steps=2000, tolerance=1e-13)
    assert nudged.status is ep.Status.CONVERGED
    states = {name: s.clone().requires_grad_() for name, s in nudged.states.items()}
    (energy(engine, x, states).sum() + 0.2 * engine.cost.value(states["y"], torch.eye(2)[y]).sum()).backward()
    for name, s in states.items():
        assert s.grad is not None
        assert float(s.grad.norm()) <= 1e-10, name


@pytest.mark.parametrize("doubled", [True, False])
@pytest.mark.parametrize("backend", ["eager", "channels_last"])
def test_the_gradient_is_the_contrast_of_its_energy(backend: str, doubled: bool) -> None:
    """Against finite differences of F at the nudged states, and against backpropagation of the forward pass."""
    engine, (x, y) = ep.compile(NET, dtype=torch.float64, backend=backend, seed=1, doubled=doubled), batch()
    steps = {"steps": 2000, "tolerance": 1e-13}
    beta = 0.01
    ends = [engine.relax(x, target=y, beta=b, **steps).states for b in (beta, -beta)]
    engine.backward(x, y, beta=beta, free_steps=2000, nudged_steps=2000, tolerance=1e-13)
    states = dict(engine.relax(x, **steps).states)
    output = {"x": x}
    for name in "abcy":
        output[name] = predicted(engine, {**{n: torch.zeros_like(s) for n, s in states.items()}, **output})[name]
    loss = engine.cost.value(output["y"], torch.eye(2, dtype=torch.float64)[y]).mean()
    backpropagated = torch.autograd.grad(loss, list(engine.parameters()))
    for (name, parameter), exact in zip(engine.named_parameters(), backpropagated, strict=True):
        assert parameter.grad is not None
        assert apart(parameter.grad, exact) <= 1e-3, name
        direction = torch.randn_like(parameter)
        slopes = []
        for end in ends:
            values = []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter.add_(direction, alpha=sign * 1e-4)
                    values.append(engine.energy(x, end).mean())
                    parameter.sub_(direction, alpha=sign * 1e-4)
            slopes.append((values[0] - values[1]) / 2e-4)
        contrast = (slopes[0] - slopes[1]) / (2 * beta)
        assert apart(contrast, (parameter.grad * direction).sum()) <= 1e-6, name


def test_it_is_in_the_emitted_module(tmp_path: Path) -> None:
    engine, (x, y) = engine_of(dtype=torch.float32), batch(torch.float32)
    check(engine, tmp_path, x, y, free_steps=5, nudged_steps=4)


def test_messages() -> None:
    with pytest.raises(
        ep.EpgraphError, match="'energy' expects 'hopfield', 'predictive' or 'errors', found text 'error'; did you"
    ):
        ep.load(NET.replace("errors", "error"))
    with pytest.raises(ep.EpgraphError, match="'hopfield' cannot be registered: it is built in"):
        ep.register_energy("hopfield", Errors())
    with pytest.raises(ep.EpgraphError, match=r"expected an energy, found .*; pass Errors\(\)"):
        ep.register_energy("other", Errors)  # type: ignore[arg-type]

"""Base class of energies: coupled states, updates, F, and its gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from epgraph.energies.symbols import Direction, Link, Node, Symbols, Wiring
from epgraph.errors import Diagnostic

if TYPE_CHECKING:
    from torch import Tensor


class Energy(ABC):
    """An energy F(s, θ), and the sweeps that relax to a stationary point of it.

    The methods of the first part describe a network, without torch. Those of the second part are traced to emitted
    code. The same methods serve all phases: if ``at.pair`` is true, states are pairs.
    """

    descends: ClassVar[bool] = False
    """Whether F = Σ G(s) − Φ with G′ = σ⁻¹, Φ is the one that edge kinds declare, and σ is applied to ∂Φ/∂s. Only then
    the theorems of ``graph/guarantees.py`` hold."""

    alike: ClassVar[bool] = False
    """Whether the code of a state reads only that state and the terms of its update, and the code of an edge only its
    ends. Then equal states and edges of a large network share a function."""

    feedforward: ClassVar[bool] = False
    """Whether the free equilibrium is one pass over the states, each after those with an edge into it: s = σ(a) with
    the bottom-up sum a = Σ A_e s + b, and ∂F/∂θ is zero there. Then the edges must not form a cycle. The sums are
    carried from class to class (``Symbols.bottom_up``), and ``feedback``, ``send``, ``reply`` and ``input_gradient``
    are needed."""

    reads: ClassVar[frozenset[str]] = frozenset({"damping", "flow", "noise", "state_bits"})
    """Keys of ``dynamics`` that ``update`` reads, of those that not every energy has: these, and ``update``. Without
    them ``flow``, ``noise`` and ``state_bits`` are refused, and ``damping`` and ``update`` have no effect."""

    betas: ClassVar[tuple[float, float]] = (0.1, 0.4)
    """Range of β with stable training in publications; ``check`` warns outside of it. Here it is the paper's: from 0.8
    on nothing was learnt, and far below 0.1 it was unstable."""

    defaults: ClassVar[Mapping[str, Any]] = {}
    """Defaults of keys of ``dynamics`` under this energy, where they differ from those of the language."""

    def terms(self, graph: Wiring, state: str) -> tuple[tuple[Link, Direction], ...]:
        """Edges in the update of a state, with their directions; by default all incident ones."""
        return (
            *((edge, "forward") for edge in graph.pre(state)),
            *((edge, "adjoint") for edge in graph.post(state)),
            *((edge, "forward") for edge in graph.unary_edges(state)),
        )

    def interactions(self, graph: Wiring) -> Iterator[tuple[str, str]]:
        """Pairs of states that must not move together, because the update of one reads the other.

        They are the edges of the graph that ``coloring`` colors; by default those of the network.
        """
        for edge in graph.edges.values():
            if not edge.unary and not graph.reads_out(edge):
                yield edge.source, edge.target

    def refusals(self, graph: Wiring) -> Iterator[Diagnostic]:
        """Yield why a network cannot have this energy."""
        yield from ()

    def guarantees(self, graph: Wiring) -> list[str]:
        """Sentences about the free phase, the nudged phases and the equilibrium, for an energy without ``descends``."""
        return ["free phase: nothing is claimed of F", "nudged phases: nothing is claimed of F ± βC"]

    @abstractmethod
    def drive(self, at: Symbols, state: Node) -> Tensor:
        """Argument of σ at the present states, without the nudge."""

    def update(self, at: Symbols, state: Node) -> Tensor:
        """New value of a state: by default σ of the nudged drive, or a partial step towards it."""
        old = at.state(state.name)
        summed = at.nudged(state, self.drive(at, state))
        level = at.level(state)
        summed, step = at.noisy(state, summed), at.step(state)
        if step is not None and state.activation.projects:
            # G = ½s² on a box: s + ω(sum − s), clipped, never raises F for 0 < ω < 2 (projected SOR).
            summed = at.lerp(old, summed, step)
        elif step is not None and at.flows:
            # du = ε(sum − u): F falls in the metric of G, and s stays in its range.
            summed = at.lerp(at.inverse(state, old, level), summed, step)
        new = at.activated(state, summed, level)
        if step is not None and not state.activation.projects and not at.flows:
            new = at.lerp(old, new, step)
        damping = at.damping(state)
        if damping is not None:
            # Φ may be concave along the step. The damped step is so short that F falls (graph/guarantees.py).
            new = at.lerp(old, new, damping)
        return at.rounded(state, new, level)

    def written(self, state: str, terms: list[str]) -> str:
        """Equation of the drive from those of its terms, for comments in emitted code."""
        return " + ".join(terms or ["0"])

    @abstractmethod
    def edge_energy(self, at: Symbols, edge: Link) -> None:
        """Add the contribution of an edge to F = Σ G − Φ, at states that are no pairs."""

    @abstractmethod
    def state_energy(self, at: Symbols, state: Node) -> None:
        """Add the contribution of a state that moves to F = Σ G − Φ, at states that are no pairs."""

    @abstractmethod
    def edge_gradient(self, at: Symbols, edge: Link) -> Tensor:
        """½[∂F/∂w(s⁻) − ∂F/∂w(s⁺)] of the weight of an edge, summed over the batch, from pairs."""

    @abstractmethod
    def bias_gradient(self, at: Symbols, state: Node) -> Tensor:
        """½[∂F/∂b(s⁻) − ∂F/∂b(s⁺)] of a bias, summed over the batch and the pixels, from pairs."""

    def feedback(self, at: Symbols, state: Node) -> list[Tensor]:
        """What the edges out of a state send back to it, of a ``feedforward`` energy."""
        raise NotImplementedError

    def signal(self, at: Symbols, state: Node) -> Tensor:
        """What a state sends back along the edges into it, from its value and its sum, of a ``feedforward`` energy.

        With it, the last sweep of a gradient ends with the errors on a chain under ``backward``.
        """
        raise NotImplementedError

    def send(self, at: Symbols, state: Node, error: Tensor) -> Tensor:
        """What a state sends back along the edges into it, from its error, of a ``feedforward`` energy."""
        raise NotImplementedError

    def reply(self, at: Symbols, state: Node, bottom_up: Tensor, error: Tensor) -> Tensor:
        """Value of a state from its bottom-up sum and its error, of a ``feedforward`` energy."""
        raise NotImplementedError

    def input_gradient(self, at: Symbols, edge: Link) -> Tensor:
        """½[∂F/∂x(s⁻) − ∂F/∂x(s⁺)] of an edge at the input, from pairs, of a ``feedforward`` energy."""
        raise NotImplementedError

    def level_gradient(self, at: Symbols, state: Node) -> Tensor:
        """½[∂F/∂α(s⁻) − ∂F/∂α(s⁺)] of a learnt level, summed over the batch, from pairs."""
        raise NotImplementedError

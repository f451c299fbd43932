"""What every energy provides: whom a state's update reads, the update, F itself, and its gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from epgraph.energies.symbols import Direction, Link, Node, Symbols, Wiring
from epgraph.errors import Diagnostic

if TYPE_CHECKING:
    from torch import Tensor


class Energy(ABC):
    """An energy F(s, θ), and the sweeps that relax to where it is stationary.

    The methods of the first part are asked about a network, and run without torch; those of the second record emitted
    code. All functions of a phase are recorded with the same methods: where ``at.pair`` says so, states are pairs.
    """

    descends: ClassVar[bool] = False
    """Whether F is Σ G(s) − Φ with G′ = σ⁻¹, Φ is what the kinds of edges declare, and σ is applied to ∂Φ/∂s. The
    theorems of ``graph/guarantees.py`` hold for nothing else."""

    alike: ClassVar[bool] = False
    """Whether what this records for a state reads no more than the state and the terms of its update, and for an edge
    no more than its ends. In a large network states and edges that are alike then share a function."""

    def terms(self, graph: Wiring, state: str) -> tuple[tuple[Link, Direction], ...]:
        """Edges that the update of a state applies, and which way: here all incident ones."""
        return (
            *((edge, "forward") for edge in graph.pre(state)),
            *((edge, "adjoint") for edge in graph.post(state)),
            *((edge, "forward") for edge in graph.unary_edges(state)),
        )

    def interactions(self, graph: Wiring) -> Iterator[tuple[str, str]]:
        """Pairs of states of which one's update reads the other: two that must not move together.

        They are the edges of the graph that ``coloring`` colours. Here they are those of the network.
        """
        for edge in graph.edges.values():
            if not edge.unary and not graph.reads_out(edge):
                yield edge.source, edge.target

    def refusals(self, graph: Wiring) -> Iterator[Diagnostic]:
        """Yield why a network cannot have this energy."""
        yield from ()

    def guarantees(self, graph: Wiring) -> list[str]:
        """Sentences on the free phase, the nudged phases and the rest, for one that does not ``descend``."""
        return ["free phase: nothing is claimed of F", "nudged phases: nothing is claimed of F ± βC"]

    @abstractmethod
    def drive(self, at: Symbols, state: Node) -> Tensor:
        """What σ is applied to, without nudge, at the present states."""

    def update(self, at: Symbols, state: Node) -> Tensor:
        """New value of a state: here σ of the nudged drive, a part of the way where the dynamics ask for it."""
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
            # Φ may be concave along the step: it goes only as far as F is sure to fall (graph/guarantees.py).
            new = at.lerp(old, new, damping)
        return at.rounded(state, new, level)

    def written(self, state: str, terms: list[str]) -> str:
        """Equation of the drive, given those of its terms, for the comments of emitted code."""
        return " + ".join(terms or ["0"])

    @abstractmethod
    def edge_energy(self, at: Symbols, edge: Link) -> None:
        """Add what an edge contributes to F = Σ G − Φ, if anything, at plain states."""

    @abstractmethod
    def state_energy(self, at: Symbols, state: Node) -> None:
        """Add what a state that moves contributes to F = Σ G − Φ, if anything, at plain states."""

    @abstractmethod
    def edge_gradient(self, at: Symbols, edge: Link) -> Tensor:
        """½[∂F/∂w(s⁻) − ∂F/∂w(s⁺)] of the weight of an edge, summed over the batch, from pairs."""

    @abstractmethod
    def bias_gradient(self, at: Symbols, state: Node) -> Tensor:
        """½[∂F/∂b(s⁻) − ∂F/∂b(s⁺)] of a bias, summed over the batch, from pairs."""

    def level_gradient(self, at: Symbols, state: Node) -> Tensor:
        """½[∂F/∂α(s⁻) − ∂F/∂α(s⁺)] of a learnt level, summed over the batch, from pairs."""
        raise NotImplementedError

"""What the recorded functions of one plan share: names, precision, examples of arguments, and what is alike."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import cached_property
from math import inf
from typing import Any, Literal, cast

import torch
from torch import Tensor

from epgraph.activations import Activation
from epgraph.compiler.names import BATCHED, Names
from epgraph.compiler.pieces import Piece
from epgraph.compiler.program import Key, Passed
from epgraph.compiler.recorder import Recorder
from epgraph.compiler.text import load
from epgraph.compiler.trace.pointwise import PairFunction
from epgraph.costs import COSTS, Cost
from epgraph.energies import Energy, Node
from epgraph.graph import Edge
from epgraph.lowering import Plan, Term, Update

PhaseName = Literal["free", "nudged", "pair", "clamped"]
"""Free phase; one phase nudged by β; common and odd part of the phases nudged by +β and −β as one doubled batch; free
phase of all states but the output, which is held."""

Nudging = Literal["cost", "force"] | None
"""Source of the nudge of a state: the cost of the output, or an external force."""

Results = dict[str, Any]

SHARE_ABOVE = 100
"""States that move, above which what is alike shares a function: text, time and memory grow with it instead."""


class PairActivation(Passed):
    """The action of an activation on a pair of sums, as an emitted function of its own."""

    def __init__(self, name: str, activation: Activation) -> None:
        self.identifier = name
        recorder = Recorder()
        p, q, alpha = (recorder.argument(n) for n in ("p", "q", "alpha"))
        fixed = activation.alpha_range[1] > 0 and not activation.stored
        common, odd = activation.pair(p, q, activation.alpha_range[1] if fixed else alpha)
        self.function = recorder.finish(name, {"common": common, "odd": odd}, (f"σ = {activation.label}",))
        self._call = load((self.function,))[name]

    def __call__(self, p: Tensor, q: Tensor, alpha: float | Tensor) -> tuple[Tensor, Tensor]:
        """Common and odd part of σ(p+q), σ(p−q)."""
        return cast(tuple[Tensor, Tensor], self._call(p, q, alpha))


class Context:
    """One plan in one precision, as its functions are recorded.

    Parameters
    ----------
    plan
        The compiled sweep.
    dtype
        Precision of the states; a complex one beside real parameters, for edges that are linear. Parameters of another
        precision are converted once per batch.
    cast
        Whether parameters come in another precision.
    by_class
        Whether updates of max-pooled edges stay in the function of their class even in a large network, which
        ``reuse_argmax`` needs: it hands what one class computed to the next.
    strict
        Whether autograd is to take σ′ = 0 at a kink, like ``Activation.derivative``, where torch's own choice is 1.
    share_above
        Number of states that move, above which what is alike shares a function.
    """

    def __init__(
        self,
        plan: Plan,
        dtype: torch.dtype,
        *,
        cast: bool,
        by_class: bool,
        strict: bool = False,
        share_above: int = SHARE_ABOVE,
    ) -> None:
        self.plan = plan
        self.graph = plan.graph
        self.dtype = dtype
        self.cast = cast
        self.by_class = by_class
        self.strict = strict
        self.names = Names()
        self.cost: Cost = COSTS[plan.graph.architecture.output.cost]
        self.shares = plan.graph.energy.alike and len(plan.graph.free) > share_above
        self.dynamics = plan.graph.architecture.dynamics
        self.pairs: dict[Activation, PairActivation] = {}
        self.functions: dict[tuple[str, Activation, int], PairFunction] = {}
        self._prepared: dict[tuple[str, tuple[str, ...]], str] = {}

    def prepared(self, form: str, arguments: tuple[str, ...]) -> str:
        """Name of a value that depends on parameters alone; equal values have one name in all programs."""
        key = form, arguments
        if key not in self._prepared:
            parameters = map(self.names.name, arguments[:2])
            self._prepared[key] = self.names.fresh("prepared", "_".join(parameters))
        return self._prepared[key]

    def paired(self, activation: Activation) -> PairActivation:
        """Action of an activation on a pair. Levels that differ by little share a label, but not a function."""
        if activation not in self.pairs:
            name = self.names.fresh("function", f"pair_{activation.label}")
            self.pairs[activation] = PairActivation(name, activation)
        return self.pairs[activation]

    def pointwise(self, name: str, activation: Activation, function: Callable[..., Any], count: int) -> PairFunction:
        """Function of ``count`` pairs, for one activation."""
        key = name, activation, count
        if key not in self.functions:
            identifier = self.names.fresh("function", f"{name}_{activation.label}")
            self.functions[key] = PairFunction(identifier, activation, self.projection, function, count)
        return self.functions[key]

    @property
    def projection(self) -> str:
        """``dynamics.update``."""
        return self.dynamics.update

    @cached_property
    def carried(self) -> frozenset[str]:
        """Names of edges whose results are carried, of an energy that is ``feedforward``.

        They are nonlinear, and lead from a state that moves to a state that several states lead to: the sum there is
        brought up to date by the difference of two results.
        """
        graph = self.graph
        if not graph.energy.feedforward:
            return frozenset()
        merging = {name for name in graph.free if len(self.moving_parents(name)) > 1}
        return frozenset(
            edge.name
            for edge in graph.edges.values()
            if edge.target in merging and not edge.kind.is_linear and not graph.states[edge.source].clamped
        )

    @cached_property
    def handed(self) -> tuple[str, ...]:
        """Names of the values that one phase can hand to the next: sums, and results of edges that are carried."""
        if not self.graph.energy.feedforward:
            return ()
        summed = (*self.graph.dynamic, *([self.graph.output.name] if self.graph.readout else []))
        sums = (self.names("carried", "sum", name) for name in summed)
        return (*sums, *(self.names("carried", "out", name) for name in sorted(self.carried)))

    @cached_property
    def returned(self) -> tuple[str, ...]:
        """Names of what the way back of a sweep hands to the gradient: what states send back.

        Of a state that sends nothing, or has a level that is learnt, it is the error in error sweeps, and else the
        value that the state moves to.
        """
        if not self.two_way:
            return ()
        own = ("carried", "error") if self.error_sweeps else ("next",)
        states = [self.graph.states[name] for name in self.graph.dynamic]
        sent = [self.names("carried", "sent", state.name) for state in states if self.sends(state)]
        rest = [self.names(*own, s.name) for s in states if not self.sends(s) or s.activation.learnt]
        return (*sent, *rest)

    @property
    def error_sweeps(self) -> bool:
        """Whether sweeps are error sweeps, whose errors are those of the states after the whole sweep too."""
        return self.dynamics.chosen_solver.errors

    @cached_property
    def two_way(self) -> bool:
        """Whether a sweep is a way back, of errors from the output, and then a way forward, of states.

        So are error sweeps, and sweeps that move every state before those that lead to it, and all of these at once:
        then nothing that the way back reads has moved in it. Under ``backward`` that is a chain.
        """
        energy = self.graph.energy
        if not energy.feedforward or self.error_sweeps:
            return energy.feedforward
        if type(energy).signal is Energy.signal:
            return False
        moves = [(update.state, i) for i, together in enumerate(self.plan.classes) for update in together]
        place = dict(moves)
        if len(place) < len(moves):
            return False  # a state moves twice
        parents = {name: {place[p] for p in self.moving_parents(name)} for name in place}
        return all(len(at) <= 1 and place[name] < min(at, default=inf) for name, at in parents.items())

    def sends(self, state: Node) -> bool:
        """Whether a state sends σ′(a) ⊙ ε back on the way back of a sweep."""
        return bool(self.moving_parents(state.name))

    def moving_parents(self, name: str) -> frozenset[str]:
        """States that move, with an edge into a state."""
        edges = self.graph.pre(name)
        return frozenset(edge.source for edge in edges if not self.graph.states[edge.source].clamped)

    def example(self, name: str, rows: int) -> Any:
        """Zeros in place of an argument; ``rows`` examples of what has a batch (two for a pair)."""
        example = self.examples[name]
        if not isinstance(example, Tensor):
            return example
        shape = (rows, *example.shape[1:]) if self.names.role(name) in BATCHED else example.shape
        # Without examples nothing is computed, and one number stands for all of a weight's.
        return torch.zeros(shape, dtype=example.dtype) if rows else torch.zeros((), dtype=example.dtype).expand(shape)

    @cached_property
    def examples(self) -> dict[str, Any]:
        """Zeros of the shape of every argument, for one example; passes add what they hand on."""
        graph = self.graph
        examples: dict[str, Any] = {"beta": 1.0, "omega": 1.0, "y": _zeros(1, *graph.output.shape)}
        for state in graph.states.values():
            for role in ("state", "next", "constant"):
                examples[self.names(role, state.name)] = _zeros(1, *state.shape)
            examples[self.names("force", state.name)] = _zeros(1, *state.shape)
            examples[self.names("alpha", state.name)] = _zeros()
            if graph.energy.feedforward:
                for what in ("sum", "error", "sent"):
                    examples[self.names("carried", what, state.name)] = _zeros(1, *state.shape)
            if state.bias_shape is not None:
                examples[self.names("bias", state.name)] = _zeros(*state.bias_shape)
        for edge in graph.edges.values():
            if edge.name in self.carried:
                examples[self.names("carried", "out", edge.name)] = _zeros(1, *graph.states[edge.target].shape)
            if edge.weight_shape is not None and not edge.tied:
                examples[self.names("weight", edge.name)] = _zeros(*edge.weight_shape)
                if edge.untied:
                    examples[self.names("feedback", edge.name)] = _zeros(*edge.weight_shape)
        return examples

    @cached_property
    def driven(self) -> frozenset[str]:
        """States to which something constant flows."""
        states = self.graph.states
        return frozenset(u.state for u in self.plan.constants if u.terms or states[u.state].bias_shape is not None)

    def constants_of(self, name: str) -> tuple[Term, ...]:
        """Terms of a state that do not change while the network relaxes."""
        return next(update.terms for update in self.plan.constants if update.state == name)

    @cached_property
    def updates(self) -> dict[str, Update]:
        """Update of every state that moves, by its name."""
        return {update.state: update for updates in self.plan.classes for update in updates}

    @cached_property
    def inside(self) -> tuple[Edge, ...]:
        """Edges that take part in the energy."""
        return tuple(edge for edge in self.graph.edges.values() if not self.graph.reads_out(edge))

    def nudging(self, state: Node, phase: PhaseName, pulled: Sequence[str]) -> Nudging:
        """Source of the nudge of a state; ``pulled``: states that feel a force of their own."""
        if pulled:
            return "force" if state.name in pulled else None
        nudged = phase in ("nudged", "pair") and state.name == self.graph.output.name and not self.graph.readout
        return "cost" if nudged else None

    def is_readout(self, state: Node) -> bool:
        """Whether a state is read off, without dynamics of its own: neither ω nor ε nor noise apply to it."""
        return self.graph.readout and state.name == self.graph.output.name

    def feeds_back(self, term: Term) -> bool:
        """Whether a term is what nudging of the readout makes a state feel."""
        return term.direction == "adjoint" and self.graph.reads_out(term.edge)

    def acting(self, update: Update, phase: PhaseName) -> tuple[Term, ...]:
        """Terms that act in a phase: nothing flows back from a readout that is not nudged."""
        return tuple(t for t in update.terms if phase != "free" or not self.feeds_back(t))

    def ends(self, edge: Edge) -> tuple[str, str]:
        """Names of the values of both states."""
        return self.names("state", edge.source), self.names("state", edge.target)

    def piece(
        self,
        function: Key,
        record: Callable[[Recorder, Results], None],
        note: str,
        names: Iterable[str],
        like: Hashable,
        place: int = 0,
    ) -> Piece:
        """Part of a function, with names and likeness only where functions are shared."""
        if not self.shares:
            return Piece(function, place, record, note)
        return Piece(function, place, record, note, tuple(names), like)

    def read(self, update: Update) -> Iterator[str]:
        """Names of what the terms of an update read."""
        for term in update.terms:
            edge = term.edge
            yield self.names("weight", edge.owner)
            if edge.untied:
                yield self.names("feedback", edge.owner)
            yield from self.ends(edge) if not edge.kind.is_linear else ()
            yield self.names("state", edge.source if term.direction == "forward" else edge.target)

    def likeness(self, term: Term) -> Hashable:
        """All that decides what a term computes, save the names."""
        return term.direction, self.geometry(term.edge), self.feeds_back(term)

    def geometry(self, edge: Edge) -> Hashable:
        """All that decides what an edge computes, save the names."""
        ends = (self.graph.states[name] for name in (edge.source, edge.target))
        return edge.kind, edge.untied, *((state.shape, state.clamped) for state in ends)


def _zeros(*shape: int) -> Tensor:
    return torch.zeros(shape, device="meta")

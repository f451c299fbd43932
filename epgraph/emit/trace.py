"""From a plan to programs: the mathematics of kinds, activations and costs, recorded as torch.fx graphs.

A kind's ``forward`` and ``adjoint`` are ordinary torch code; called with fx proxies in place of tensors they write
themselves down. What is recorded here is the plain form: every update a sum and an activation, nothing packed,
nothing reused. It is right on every device, and ``rewrite`` makes it fast.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from functools import cached_property, partial
from typing import Any, Literal, cast

import torch
from torch import Tensor, fx

from epgraph.activations import Activation, Identity, ReLU
from epgraph.costs import COSTS, Cost
from epgraph.edges import Shape
from epgraph.emit import runtime
from epgraph.emit.names import ROLES, Names
from epgraph.emit.pieces import Piece, functions
from epgraph.emit.program import Function, Program, load
from epgraph.emit.recorder import Recorder
from epgraph.graph import Edge, State
from epgraph.passes import Plan, Term, Update

PhaseName = Literal["free", "nudged", "pair"]
"""Free phase; one phase nudged by β; common and odd part of the phases nudged by +β and −β as one doubled batch."""


Nudging = Literal["cost", "force"] | None
"""What pulls at a state besides its neighbours: the cost of the output, or a force that is given."""

Results = dict[str, Any]
Role = Literal["state", "next"]

MANY = 100
"""States that move, above which what is alike shares a function: text, time and memory grow with it instead."""


class PairActivation:
    """The action of an activation on a pair of sums, as an emitted function of its own."""

    def __init__(self, name: str, activation: Activation) -> None:
        recorder = Recorder()
        p, q, alpha = (recorder.argument(n) for n in ("p", "q", "alpha"))
        fixed = isinstance(activation, ReLU) and not activation.random
        common, odd = activation.pair(p, q, activation.high if fixed else alpha)  # type: ignore[attr-defined]
        self.function = recorder.finish(name, {"common": common, "odd": odd}, (f"σ = {activation.label}",))
        self._call = load((self.function,))[name]

    def __call__(self, p: Tensor, q: Tensor, alpha: float | Tensor) -> tuple[Tensor, Tensor]:
        """Common and odd part of σ(p+q), σ(p−q)."""
        return cast(tuple[Tensor, Tensor], self._call(p, q, alpha))

    def __repr__(self) -> str:
        # What fx prints where the function is passed on.
        return self.function.name


class Tracer:
    """Records the programs of one plan.

    Parameters
    ----------
    plan
        The compiled sweep.
    dtype
        Precision of the states. Parameters of another precision are converted once per batch.
    cast
        Whether parameters come in another precision.
    by_class
        Whether updates of max-pooled edges stay in the function of their class even in a large network, which
        ``reuse_argmax`` needs: it hands what one class computed to the next.
    """

    def __init__(self, plan: Plan, dtype: torch.dtype, *, cast: bool, by_class: bool) -> None:
        self.plan = plan
        self.graph = plan.graph
        self.dtype = dtype
        self.cast = cast
        self.by_class = by_class
        self.names = Names()
        self.cost: Cost = COSTS[plan.graph.architecture.output.cost]
        self.many = len(plan.graph.free) > MANY
        self.closed_form = plan.graph.architecture.dynamics.output_step == "closed_form"
        self.pairs: dict[Activation, PairActivation] = {}
        self._prepared: dict[tuple[str, tuple[str, ...]], str] = {}

    def constants(self) -> tuple[Function, ...]:
        """What the clamped input and the biases contribute to each state, once per batch."""
        return functions(self._constants(), self.names)

    def program(self, phase: PhaseName, *, relaxed: bool = False, pulled: tuple[str, ...] = ()) -> Program:
        """Sweep of a phase in its plain form; ``relaxed``: with over-relaxation by a factor ω.

        With ``pulled`` no cost nudges the output: the states named feel a force of their own, −β times the value
        ``force``, which for a pair has its two parts.
        """
        stem = f"{phase}_relaxed" if relaxed else phase
        stem += "".join(f"_{name}" for name in ("pulled", *pulled) if pulled)
        return Program(stem, functions(self._updates(stem, phase, relaxed, pulled), self.names))

    def energy(self) -> tuple[Function, ...]:
        """F = Σ G(s) − Φ per example."""
        return functions(self._energy(), self.names)

    def gradient(self, trainable: frozenset[str], *, once: bool = True) -> tuple[Function, ...]:
        """½[∂Φ/∂θ(s⁺) − ∂Φ/∂θ(s⁻)] summed over the batch, from pairs, for the parameters named.

        Φ is bilinear, so with s± = c ± o the contrast of an edge is c⊗o + o⊗c: one weight-gradient call an edge, and
        no difference of nearly equal products. ``once=False`` takes that difference instead (to measure its price).
        """
        return functions(self._gradient(trainable, once), self.names)

    def readout(self) -> tuple[Function, ...]:
        """The output state."""
        recorder = Recorder()
        output = recorder.argument(self.names("state", self.graph.output.name))
        return (recorder.finish(self.names.function("readout"), {"output": output}),)

    def prepared(self, form: str, arguments: tuple[str, ...]) -> str:
        """Name of a value that depends on parameters alone; equal values have one name in all programs."""
        key = form, arguments
        if key not in self._prepared:
            weights = [name.removeprefix(ROLES["weight"] + "_") for name in arguments]
            self._prepared[key] = self.names.fresh("prepared", "_".join(weights[:2]))
        return self._prepared[key]

    def example(self, name: str, rows: int) -> Any:
        """Zeros in place of an argument; ``rows`` examples of what has a batch (two for a pair)."""
        known = self.examples[name]
        if not isinstance(known, Tensor):
            return known
        batched = name in self._batched or name.startswith(ROLES["carried"] + "_")
        return torch.zeros((rows, *known.shape[1:]) if batched else known.shape, dtype=known.dtype)

    @cached_property
    def examples(self) -> dict[str, Any]:
        """Zeros of the shape of every argument, for one example; rewrites add what they hand on."""
        graph = self.graph
        found: dict[str, Any] = {"beta": 1.0, "omega": 1.0, "y": _zeros(1, graph.output.units)}
        for state in graph.states.values():
            for role in ("state", "next", "constant"):
                found[self.names(role, state.name)] = _zeros(1, *state.shape)
            found[self.names("force", state.name)] = _zeros(1, *state.shape)
            found[self.names("alpha", state.name)] = _zeros()
            if state.bias_shape is not None:
                found[self.names("bias", state.name)] = _zeros(*state.bias_shape)
        for edge in graph.edges.values():
            if edge.weight_shape is not None:
                found[self.names("weight", edge.name)] = _zeros(*edge.weight_shape)
        return found

    @cached_property
    def _batched(self) -> frozenset[str]:
        return frozenset(self.names(role, name) for role in ("state", "next", "force") for name in self.graph.states)

    def _piece(
        self,
        function: str,
        record: Callable[[Recorder, Results], None],
        note: str,
        names: Iterable[str],
        like: Hashable,
        place: int = 0,
    ) -> Piece:
        """Part of a function, with names and likeness only where those matter."""
        if not self.many:
            return Piece(function, place, record, note)
        return Piece(function, place, record, note, tuple(names), like)

    def _constants(self) -> Iterator[Piece]:
        for update in self.plan.constants:
            state = self.graph.states[update.state]
            bias = state.bias_shape is not None
            if not update.terms and not bias:
                continue
            summed = " + ".join([f"b[{state.name}]"] * bias + [_written(term) for term in update.terms])
            own = (self.names("constant", state.name), self.names("bias", state.name))
            like = (state.shape, bias, *map(self._likeness, update.terms))
            record = partial(self._constant, update)
            yield self._piece("constants", record, f"c[{state.name}] = {summed}", (*own, *self._read(update)), like)

    def _constant(self, update: Update, recorder: Recorder, results: Results) -> None:
        parts = [self._term(recorder, term, "free") for term in update.terms]
        bias = self._bias(recorder, self.graph.states[update.state])
        name = self.names("constant", update.state)
        results[name] = recorder.call(runtime.total, bias, *parts) if parts else bias

    def _updates(self, stem: str, phase: PhaseName, relaxed: bool, pulled: tuple[str, ...]) -> Iterator[Piece]:
        """Updates of a sweep, one class after the other.

        Calls that share a function come before the function of their class, and where it has conflicts their states
        wait under another name until all that move at once have been computed.
        """
        conflicts = {name for edge in self.plan.schedule.conflicts for name in edge.ends} if self.many else set()
        for number, updates in enumerate(self.plan.classes, start=1):
            function = f"{stem}_{number}"
            for update in updates:
                state = self.graph.states[update.state]
                driven = update.state in self._driven
                nudge = _nudging(state, phase, pulled)
                note = _equation(update, state, driven, phase, relaxed, nudge)
                pooled = any(not term.edge.kind.is_linear for term in update.terms)
                if not self.many or (self.by_class and pooled):
                    record = partial(self._update, update, phase, relaxed, nudge, "state")
                    yield Piece(function, 3 * number + 1, record, note)
                    continue
                moved: Role = "next" if update.state in conflicts else "state"
                record = partial(self._update, update, phase, relaxed, nudge, moved)
                own = (self.names(role, state.name) for role in ("state", moved, "constant", "alpha", "force"))
                like = (state.role, state.shape, state.activation, driven, nudge, *map(self._likeness, update.terms))
                yield Piece(function, 3 * number, record, note, (*own, *self._read(update)), like)
                if moved == "next":
                    names = tuple(self.names(role, state.name) for role in ("next", "state"))
                    yield Piece(function, 3 * number + 2, partial(_settle, names), "", names, "settle")

    def _energy(self) -> Iterator[Piece]:
        def start(recorder: Recorder, results: Results) -> None:
            per_example = recorder.argument(self.names("state", free[0])).flatten(1).sum(1)
            results["phi"] = torch.zeros_like(per_example)
            results["own"] = torch.zeros_like(per_example)

        def end(recorder: Recorder, results: Results) -> None:
            results["energy"] = recorder.result(results, "own") - recorder.result(results, "phi")

        free = self.graph.free
        note = "F = Σ G(s) − Φ with G′ = σ⁻¹, and Φ = Σ ⟨s_j, A_e s_i⟩ + Σ ⟨b, s⟩; both (batch,)"
        yield self._piece("energy", start, note, [self.names("state", free[0])], "start")
        for edge in self.graph.edges.values():
            names = [self.names("weight", edge.name), *self._ends(edge)]
            yield self._piece("energy", partial(self._edge_energy, edge), "", names, self._geometry(edge), 1)
        for name in free:
            state = self.graph.states[name]
            names = [self.names(role, name) for role in ("state", "bias", "alpha")]
            like = (state.shape, state.activation, state.bias_shape)
            yield self._piece("energy", partial(self._state_energy, state), "", names, like, 1)
        yield self._piece("energy", end, "", (), "end", 2)

    def _edge_energy(self, edge: Edge, recorder: Recorder, results: Results) -> None:
        source, target = (recorder.argument(name) for name in self._ends(edge))
        mapped = edge.kind.forward(self._weight(recorder, edge.name), source, self._shape(edge.target))
        results["phi"] = recorder.result(results, "phi") + recorder.call(runtime.inner, target, mapped)

    def _state_energy(self, state: State, recorder: Recorder, results: Results) -> None:
        s = recorder.argument(self.names("state", state.name))
        bias = self._bias(recorder, state)
        if bias is not None:
            results["phi"] = recorder.result(results, "phi") + recorder.call(runtime.inner, s, bias)
        g = state.activation.self_energy(s, self._alpha(recorder, state)).flatten(1).sum(1)
        results["own"] = recorder.result(results, "own") + g

    def _gradient(self, trainable: frozenset[str], once: bool) -> Iterator[Piece]:
        for edge in self.graph.edges.values():
            parameter = f"edges.{edge.name}.weight"
            if edge.weight_shape is not None and parameter in trainable:
                note = f"{edge.name}: c[{edge.source}] ⊗ o[{edge.target}] + o[{edge.source}] ⊗ c[{edge.target}]"
                names = (parameter, self.names("weight", edge.name), *self._ends(edge))
                record = partial(self._edge_gradient, edge, once)
                # A function an edge, so that a gradient can be added up and dropped before the next one is made.
                function = "gradient" if self.many else f"gradient_{edge.name}"
                yield self._piece(function, record, note, names, self._geometry(edge))
        for name in self.graph.free:
            parameter = f"states.{name}.bias"
            if self.graph.states[name].bias_shape is not None and parameter in trainable:
                read = (parameter, self.names("state", name))
                yield self._piece("gradient_biases", partial(self._bias_gradient, name), "", read, self._shape(name))

    def _edge_gradient(self, edge: Edge, once: bool, recorder: Recorder, results: Results) -> None:
        clamped = self.graph.input.name
        weight = self._weight(recorder, edge.name)
        assert weight is not None
        source, target = (recorder.argument(name) for name in self._ends(edge))
        shape = self._shape(edge.source)
        # The clamped input has no odd part: half of the products vanish where the edge is linear.
        linear = edge.kind.is_linear and once
        if edge.source == clamped and linear:
            found = edge.kind.weight_gradient(weight, source.chunk(2)[0], target.chunk(2)[1], shape)
        elif edge.target == clamped and linear:
            found = edge.kind.weight_gradient(weight, source.chunk(2)[1], target.chunk(2)[0], shape)
        elif once:
            found = edge.kind.weight_contrast(weight, source, target, shape)
        else:
            (c, o), (d, r) = source.chunk(2), target.chunk(2)
            plus = edge.kind.weight_gradient(weight, c + o, d + r, shape)
            found = 0.5 * (plus - edge.kind.weight_gradient(weight, c - o, d - r, shape))
        results[f"edges.{edge.name}.weight"] = found

    def _bias_gradient(self, name: str, recorder: Recorder, results: Results) -> None:
        odd = recorder.argument(self.names("state", name)).chunk(2)[1]
        results[f"states.{name}.bias"] = odd.sum(dim=[0, *range(2, 1 + len(self._shape(name)))])

    @cached_property
    def _driven(self) -> frozenset[str]:
        """States to which something constant flows."""
        return frozenset(
            u.state for u in self.plan.constants if u.terms or self.graph.states[u.state].bias_shape is not None
        )

    def _update(
        self,
        update: Update,
        phase: PhaseName,
        relaxed: bool,
        nudge: Nudging,
        moved: Role,
        recorder: Recorder,
        results: Results,
    ) -> None:
        state = self.graph.states[update.state]
        old = recorder.argument(self.names("state", update.state))
        parts = [self._term(recorder, term, phase) for term in update.terms] or [torch.zeros_like(old)]
        driven = update.state in self._driven
        constant = recorder.argument(self.names("constant", update.state)) if driven else None
        pair = phase == "pair"
        summed = recorder.call(runtime.total_pair if pair else runtime.total, constant, *parts)
        recorder.node(summed).meta |= {"state": self.names("state", update.state), "about": update.state}
        if nudge == "cost":
            summed = self._nudge(recorder, summed, old, pair)
        elif nudge == "force":
            summed = summed - recorder.argument("beta") * recorder.argument(self.names("force", update.state))
        alpha = self._alpha(recorder, state)
        exact = isinstance(state.activation, ReLU | Identity)
        if relaxed and exact:
            # G = ½s² on a box: s + ω(sum − s), clipped, never raises F for 0 < ω < 2 (projected SOR).
            summed = torch.lerp(old, summed, recorder.argument("omega"))
        new = self._activate(recorder, state, summed, alpha, pair)
        if relaxed and not exact:
            new = torch.lerp(old, new, recorder.argument("omega"))
        results[self.names(moved, update.state)] = new

    def _activate(self, recorder: Recorder, state: State, summed: Tensor, alpha: float | Tensor, pair: bool) -> Tensor:
        activation = state.activation
        if not pair:
            return activation.apply_(summed, alpha)
        if isinstance(activation, Identity):
            return summed
        if activation not in self.pairs:
            # Levels that differ by little share a label, and must not share a function.
            self.pairs[activation] = PairActivation(self.names.fresh("pair", activation.label), activation)
        return recorder.call(runtime.in_pieces, self.pairs[activation], summed, alpha, summed)

    def _nudge(self, recorder: Recorder, summed: Tensor, output: Tensor, pair: bool) -> Tensor:
        """Pull the output towards its target; ±β swaps the parts of a pair.

        As published, an explicit step: add −β ∂C/∂s^out at the present output. In closed form, for the squared
        error of a linear output: its fixed point (p + βy)/(1 + β).
        """
        target, beta = recorder.argument("y"), recorder.argument("beta")
        if self.closed_form and not pair:
            return (summed + beta * target) / (1.0 + beta)
        if not pair:
            return summed - beta * self.cost.gradient(output, target)
        if self.closed_form:
            p, q = summed.chunk(2)
            pulled = torch.cat((p - beta * (q + beta * target), q + beta * (target - p)))
            return pulled / (1.0 - beta * beta)
        common, odd = output.chunk(2)
        force, odd_force = self.cost.gradient_pair(common, odd, target)
        return summed - beta * torch.cat((odd_force, force))

    def _read(self, update: Update) -> Iterator[str]:
        """Names of what the terms of an update read."""
        for term in update.terms:
            edge = term.edge
            yield self.names("weight", edge.name)
            yield from self._ends(edge) if not edge.kind.is_linear else ()
            yield self.names("state", edge.source if term.direction == "forward" else edge.target)

    def _likeness(self, term: Term) -> Hashable:
        """All that decides what a term computes, save the names."""
        return term.direction, self._geometry(term.edge)

    def _geometry(self, edge: Edge) -> Hashable:
        ends = (self.graph.states[name] for name in (edge.source, edge.target))
        return edge.kind, *((state.shape, state.clamped) for state in ends)

    def _ends(self, edge: Edge) -> tuple[str, str]:
        return self.names("state", edge.source), self.names("state", edge.target)

    def _term(self, recorder: Recorder, term: Term, phase: PhaseName) -> Tensor:
        edge = term.edge
        with recorder.about(edge.name):
            return self._contribution(recorder, term, phase)

    def _contribution(self, recorder: Recorder, term: Term, phase: PhaseName) -> Tensor:
        edge = term.edge
        weight = self._weight(recorder, edge.name)
        pair = phase == "pair"
        if term.direction == "forward":
            s = recorder.argument(self.names("state", edge.source))
            forward = edge.kind.forward_pair if pair else edge.kind.forward
            return forward(weight, s, self._shape(edge.target))
        t = recorder.argument(self.names("state", edge.target))
        # A linear edge does not look at its source.
        source = None if edge.kind.is_linear else recorder.argument(self.names("state", edge.source))
        adjoint = edge.kind.adjoint_pair if pair else edge.kind.adjoint
        return adjoint(weight, t, source, self._shape(edge.source))

    def _weight(self, recorder: Recorder, edge: str) -> Tensor | None:
        if self.graph.edges[edge].weight_shape is None:
            return None
        return self._parameter(recorder, self.names("weight", edge))

    def _bias(self, recorder: Recorder, state: State) -> Tensor | None:
        if state.bias_shape is None:
            return None
        bias = self._parameter(recorder, self.names("bias", state.name))
        return bias.view(1, -1, *(1,) * (len(state.shape) - 1))

    def _alpha(self, recorder: Recorder, state: State) -> float | Tensor:
        activation = state.activation
        if not isinstance(activation, ReLU):
            return 0.0
        if activation.random:
            return self._parameter(recorder, self.names("alpha", state.name))
        return activation.high

    def _parameter(self, recorder: Recorder, name: str) -> Tensor:
        value = recorder.argument(name)
        return value.to(self.dtype) if self.cast else value

    def _shape(self, name: str) -> Shape:
        return self.graph.states[name].shape


def _settle(names: tuple[str, ...], recorder: Recorder, results: Results) -> None:
    waiting, state = names
    results[state] = recorder.argument(waiting)


def _zeros(*shape: int) -> Tensor:
    return torch.zeros(shape, device="meta")


def structure(node: fx.Node, names: Mapping[str, str] | None = None) -> str:
    """What a node computes from which arguments, written down; equal text is equal value."""
    if node.op == "placeholder":
        name = str(node.target)
        return name if names is None else names[name]
    inner = fx.node.map_arg((node.args, node.kwargs), lambda n: _Text(structure(n, names)))  # type: ignore[arg-type,return-value]
    return f"{node.op} {node.target} {inner!r}"


def form(node: fx.Node) -> tuple[str, tuple[str, ...]]:
    """What a node computes from arguments that are numbered, and the arguments."""
    arguments = sources(node)
    return structure(node, {name: str(number) for number, name in enumerate(arguments)}), tuple(arguments)


def sources(node: fx.Node) -> list[str]:
    """Names of the arguments that a node depends on."""
    if node.op == "placeholder":
        return [str(node.target)]
    return list(dict.fromkeys(name for n in node.all_input_nodes for name in sources(n)))


class _Text:
    """Text that stands for a node inside written arguments."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"<{self.text}>"


def _written(term: Term) -> str:
    edge = term.edge
    return f"A[{edge.name}] {edge.source}" if term.direction == "forward" else f"A[{edge.name}]ᵀ {edge.target}"


def _nudging(state: State, phase: PhaseName, pulled: tuple[str, ...]) -> Nudging:
    if pulled:
        return "force" if state.name in pulled else None
    return "cost" if state.role == "output" and phase != "free" else None


def _equation(update: Update, state: State, driven: bool, phase: PhaseName, relaxed: bool, nudge: Nudging) -> str:
    name = update.state
    parts = [f"c[{name}]"] * driven + [_written(term) for term in update.terms]
    if nudge is not None:
        parts.append("nudge")
    pull = "β ∂C/∂s" if nudge == "cost" else f"β f[{name}]"
    summed = " + ".join(parts or ["0"]).replace("+ nudge", f"− {pull}" if phase == "nudged" else f"∓ {pull}")
    if relaxed:
        summed = f"{name} + ω({summed} − {name})"
    return f"{name} ← {state.activation.label}({summed})"

"""From a plan to programs: the mathematics of kinds, activations and costs, recorded as torch.fx graphs.

A kind's ``forward`` and ``adjoint`` are ordinary torch code; called with fx proxies in place of tensors they write
themselves down. What is recorded here is the plain form: every update a sum and an activation, nothing packed,
nothing reused. It is right on every device, and ``rewrite`` makes it fast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cached_property
from typing import Any, Literal, cast

import torch
from torch import Tensor, fx
from torch.fx.proxy import GraphAppendingTracer

from epgraph.activations import Activation, Identity, ReLU
from epgraph.costs import COSTS, Cost
from epgraph.edges import Shape
from epgraph.emit import runtime
from epgraph.emit.names import ROLES, Names
from epgraph.emit.program import Function, Program, load
from epgraph.graph import State
from epgraph.passes import Plan, Term, Update

PhaseName = Literal["free", "nudged", "pair"]
"""Free phase; one phase nudged by β; common and odd part of the phases nudged by +β and −β as one doubled batch."""


class Recorder:
    """A graph in the making: its arguments are made when first asked for."""

    def __init__(self) -> None:
        self.graph = fx.Graph()
        self._tracer = GraphAppendingTracer(self.graph)
        self._arguments: dict[str, fx.Node] = {}
        self._last: fx.Node | None = None

    def argument(self, name: str) -> Tensor:
        """Stand-in for a value; to type checkers it is the tensor that it stands for."""
        if name not in self._arguments:
            # Arguments come first, in the order in which they were asked for.
            place = self._last.next if self._last else next(iter(self.graph.nodes), None)
            with self.graph.inserting_before(place) if place else nullcontext():
                self._last = self.graph.placeholder(name)
            self._arguments[name] = self._last
        return self.proxy(self._arguments[name])

    def proxy(self, node: fx.Node) -> Tensor:
        """Stand-in for what a node computes."""
        return cast(Tensor, fx.Proxy(node, self._tracer))

    @contextmanager
    def about(self, subject: str) -> Iterator[None]:
        """Name what is recorded meanwhile after an edge or a state."""
        last = self.graph._root.prev
        yield
        # From the last node that there was to the end; arguments are put in front of both.
        node = last.next
        while node is not self.graph._root:
            node.meta.setdefault("about", subject)
            node = node.next

    @staticmethod
    def node(value: Tensor) -> fx.Node:
        """Node behind a stand-in."""
        return cast(fx.Proxy, value).node

    def call(self, function: Callable[..., Any], *arguments: Any) -> Tensor:
        """Record a call of a helper."""
        plain = tuple(a.node if isinstance(a, fx.Proxy) else a for a in arguments)
        return self.proxy(self.graph.call_function(function, plain))

    def finish(self, name: str, results: dict[str, Any], notes: Iterable[str] = ()) -> Function:
        """Return the function, with named results."""
        values = tuple(r.node if isinstance(r, fx.Proxy) else r for r in results.values())
        self.graph.output(values)
        return Function(name, self.graph, tuple(results), tuple(notes))


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
    """

    def __init__(self, plan: Plan, dtype: torch.dtype, *, cast: bool) -> None:
        self.plan = plan
        self.graph = plan.graph
        self.dtype = dtype
        self.cast = cast
        self.names = Names()
        self.cost: Cost = COSTS[plan.graph.architecture.output.cost]
        self.closed_form = plan.graph.architecture.dynamics.output_step == "closed_form"
        self.pairs: dict[Activation, PairActivation] = {}
        self._prepared: dict[str, str] = {}

    def constants(self) -> Function:
        """What the clamped input and the biases contribute to each state, once per batch."""
        recorder = Recorder()
        results = {}
        notes = []
        for update in self.plan.constants:
            parts = [self._term(recorder, term, "free") for term in update.terms]
            bias = self._bias(recorder, self.graph.states[update.state])
            if not parts and bias is None:
                continue
            name = self.names("constant", update.state)
            results[name] = recorder.call(runtime.total, bias, *parts) if parts else bias
            summed = [f"b[{update.state}]"] * (bias is not None) + [_written(term) for term in update.terms]
            notes.append(f"c[{update.state}] = " + " + ".join(summed))
        return recorder.finish(self.names.function("constants"), results, notes)

    def program(self, phase: PhaseName, *, relaxed: bool = False) -> Program:
        """Sweep of a phase in its plain form; ``relaxed``: with over-relaxation by a factor ω."""
        stem = f"{phase}_relaxed" if relaxed else phase
        nothing = Recorder().finish(self.names.function(f"{stem}_prepare"), {})
        sweep = tuple(
            self._colour_class(f"{stem}_{number}", updates, phase, relaxed)
            for number, updates in enumerate(self.plan.classes, start=1)
        )
        return Program(stem, sweep, nothing)

    def energy(self) -> Function:
        """F = Σ G(s) − Φ per example."""
        recorder = Recorder()
        phi: Tensor | None = None
        for edge in self.graph.edges.values():
            source, target = (recorder.argument(self.names("state", n)) for n in (edge.source, edge.target))
            mapped = edge.kind.forward(self._weight(recorder, edge.name), source, self._shape(edge.target))
            part = recorder.call(runtime.inner, target, mapped)
            phi = part if phi is None else phi + part
        own: Tensor | None = None
        for name in self.graph.free:
            state = self.graph.states[name]
            s = recorder.argument(self.names("state", name))
            bias = self._bias(recorder, state)
            if bias is not None:
                part = recorder.call(runtime.inner, s, bias)
                phi = part if phi is None else phi + part
            g = state.activation.self_energy(s, self._alpha(recorder, state)).flatten(1).sum(1)
            own = g if own is None else own + g
        assert own is not None
        energy = own if phi is None else own - phi
        none = torch.zeros_like(own) if phi is None else phi
        return recorder.finish(
            self.names.function("energy"),
            {"energy": energy, "phi": none},
            ("F = Σ G(s) − Φ with G′ = σ⁻¹, and Φ = Σ ⟨s_j, A_e s_i⟩ + Σ ⟨b, s⟩; both (batch,)",),
        )

    def gradient(self, trainable: frozenset[str], *, once: bool = True) -> Function:
        """½[∂Φ/∂θ(s⁺) − ∂Φ/∂θ(s⁻)] summed over the batch, from pairs, for the parameters named.

        Φ is bilinear, so with s± = c ± o the contrast of an edge is c⊗o + o⊗c: one weight-gradient call an edge, and
        no difference of nearly equal products. ``once=False`` takes that difference instead (to measure its price).
        """
        recorder = Recorder()
        clamped = self.graph.input.name
        results: dict[str, Any] = {}
        notes = []
        for edge in self.graph.edges.values():
            parameter = f"edges.{edge.name}.weight"
            if edge.weight_shape is None or parameter not in trainable:
                continue
            weight = self._weight(recorder, edge.name)
            source, target = (recorder.argument(self.names("state", n)) for n in (edge.source, edge.target))
            assert weight is not None
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
            results[parameter] = found
            notes.append(f"{edge.name}: c[{edge.source}] ⊗ o[{edge.target}] + o[{edge.source}] ⊗ c[{edge.target}]")
        for name in self.graph.free:
            parameter = f"states.{name}.bias"
            if self.graph.states[name].bias_shape is not None and parameter in trainable:
                odd = recorder.argument(self.names("state", name)).chunk(2)[1]
                over = [0, *range(2, 1 + len(self._shape(name)))]
                results[parameter] = odd.sum(dim=over)
        return recorder.finish(self.names.function("gradient"), results, notes)

    def readout(self) -> Function:
        """The output state."""
        recorder = Recorder()
        name = self.graph.output.name
        return recorder.finish(self.names.function("readout"), {"output": recorder.argument(self.names("state", name))})

    def prepared(self, node: fx.Node) -> str:
        """Name of a value that depends on parameters alone; equal values have one name in all programs."""
        key = structure(node)
        if key not in self._prepared:
            weights = [name.removeprefix(ROLES["weight"] + "_") for name in sources(node)]
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
            found[self.names("state", state.name)] = _zeros(1, *state.shape)
            found[self.names("constant", state.name)] = _zeros(1, *state.shape)
            found[self.names("alpha", state.name)] = _zeros()
            if state.bias_shape is not None:
                found[self.names("bias", state.name)] = _zeros(*state.bias_shape)
        for edge in graph.edges.values():
            if edge.weight_shape is not None:
                found[self.names("weight", edge.name)] = _zeros(*edge.weight_shape)
        return found

    @cached_property
    def _batched(self) -> frozenset[str]:
        return frozenset(self.names("state", name) for name in self.graph.states)

    def _colour_class(self, name: str, updates: tuple[Update, ...], phase: PhaseName, relaxed: bool) -> Function:
        recorder = Recorder()
        results = {}
        notes = []
        for update in updates:
            results[self.names("state", update.state)] = self._update(recorder, update, phase, relaxed)
            driven = update.state in self._driven
            notes.append(_equation(update, self.graph.states[update.state], driven, phase, relaxed))
        return recorder.finish(self.names.function(name), results, notes)

    @cached_property
    def _driven(self) -> frozenset[str]:
        """States to which something constant flows."""
        return frozenset(
            u.state for u in self.plan.constants if u.terms or self.graph.states[u.state].bias_shape is not None
        )

    def _update(self, recorder: Recorder, update: Update, phase: PhaseName, relaxed: bool) -> Tensor:
        state = self.graph.states[update.state]
        old = recorder.argument(self.names("state", update.state))
        parts = [self._term(recorder, term, phase) for term in update.terms] or [torch.zeros_like(old)]
        driven = update.state in self._driven
        constant = recorder.argument(self.names("constant", update.state)) if driven else None
        pair = phase == "pair"
        summed = recorder.call(runtime.total_pair if pair else runtime.total, constant, *parts)
        recorder.node(summed).meta |= {"state": self.names("state", update.state), "about": update.state}
        if state.role == "output" and phase != "free":
            summed = self._nudge(recorder, summed, old, pair)
        alpha = self._alpha(recorder, state)
        exact = isinstance(state.activation, ReLU | Identity)
        if relaxed and exact:
            # G = ½s² on a box: s + ω(sum − s), clipped, never raises F for 0 < ω < 2 (projected SOR).
            summed = torch.lerp(old, summed, recorder.argument("omega"))
        new = self._activate(recorder, state, summed, alpha, pair)
        return torch.lerp(old, new, recorder.argument("omega")) if relaxed and not exact else new

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


def _zeros(*shape: int) -> Tensor:
    return torch.zeros(shape, device="meta")


def structure(node: fx.Node) -> str:
    """What a node computes from which arguments, written down; equal text is equal value."""
    if node.op == "placeholder":
        return str(node.target)
    inner = fx.node.map_arg((node.args, node.kwargs), lambda n: _Text(structure(n)))  # type: ignore[arg-type,return-value]
    return f"{node.op} {node.target} {inner!r}"


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


def _equation(update: Update, state: State, driven: bool, phase: PhaseName, relaxed: bool) -> str:
    name = update.state
    parts = [f"c[{name}]"] * driven + [_written(term) for term in update.terms]
    if state.role == "output" and phase != "free":
        parts.append("nudge")
    summed = " + ".join(parts or ["0"]).replace("+ nudge", "− β ∂C/∂s" if phase == "nudged" else "∓ β ∂C/∂s")
    if relaxed:
        summed = f"{name} + ω({summed} − {name})"
    return f"{name} ← {state.activation.label}({summed})"

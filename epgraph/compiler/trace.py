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

from epgraph.activations import Activation
from epgraph.compiler import runtime
from epgraph.compiler.names import BATCHED, Names
from epgraph.compiler.pieces import Piece, functions
from epgraph.compiler.program import Function, Key, Passed, Program
from epgraph.compiler.recorder import Recorder
from epgraph.compiler.text import load
from epgraph.costs import COSTS, Cost
from epgraph.graph import Edge, State
from epgraph.kinds import Shape, Unary
from epgraph.lowering import Plan, Term, Update

PhaseName = Literal["free", "nudged", "pair", "clamped"]
"""Free phase; one phase nudged by β; common and odd part of the phases nudged by +β and −β as one doubled batch; free
phase of all states but the output, which is held."""


Nudging = Literal["cost", "force"] | None
"""What pulls at a state besides its neighbours: the cost of the output, or a force that is given."""

Results = dict[str, Any]
Role = Literal["state", "next"]

_SIGN = {"nudged": "−", "pair": "∓"}

MANY = 100
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


class Tracer:
    """Records the programs of one plan.

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
    """

    def __init__(self, plan: Plan, dtype: torch.dtype, *, cast: bool, by_class: bool, strict: bool = False) -> None:
        self.plan = plan
        self.graph = plan.graph
        self.dtype = dtype
        self.cast = cast
        self.by_class = by_class
        self.strict = strict
        self.names = Names()
        self.cost: Cost = COSTS[plan.graph.architecture.output.cost]
        self.many = len(plan.graph.free) > MANY
        self.dynamics = plan.graph.architecture.dynamics
        self.closed_form = self.dynamics.output_step == "closed_form"
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
        # No name has a '+' in it.
        key = (phase, *["relaxed"] * relaxed, *(("pulled", "+".join(pulled)) if pulled else ()))
        return Program(key, functions(self._updates(key, phase, relaxed, pulled), self.names))

    def energy(self) -> tuple[Function, ...]:
        """F = Σ G(s) − Φ per example."""
        return functions(self._energy(), self.names)

    def gradient(self, trainable: frozenset[str], *, once: bool = True) -> tuple[Function, ...]:
        """½[∂Φ/∂θ(s⁺) − ∂Φ/∂θ(s⁻)] summed over the batch, from pairs, for the parameters named.

        For a learnt level α, −∂F/∂α = Σ (a − α)₊ stands in place of ∂Φ/∂θ, with a the pre-activation, whose sum is
        taken once more for it.


        Φ is bilinear, so with s± = c ± o the contrast of an edge is c⊗o + o⊗c: one weight-gradient call an edge, and
        no difference of nearly equal products. ``once=False`` takes that difference instead (to measure its price).
        """
        return functions(self._gradient(trainable, once), self.names)

    def forces(self) -> tuple[Function, ...]:
        """∂Φ/∂s of every state that moves, all of them at the present states: what σ is applied to."""
        return functions(self._forces(), self.names)

    def local(self, trainable: frozenset[str]) -> tuple[Function, ...]:
        """∂C/∂θ summed over the batch, at plain states, for parameters of the readout: nothing without one."""
        return functions(self._local(trainable), self.names)

    def readout(self) -> tuple[Function, ...]:
        """The output state."""
        recorder = Recorder()
        output = recorder.argument(self.names("state", self.graph.output.name))
        return (recorder.finish(self.names("function", "readout"), {"output": output}),)

    def prepared(self, form: str, arguments: tuple[str, ...]) -> str:
        """Name of a value that depends on parameters alone; equal values have one name in all programs."""
        key = form, arguments
        if key not in self._prepared:
            parameters = map(self.names.name, arguments[:2])
            self._prepared[key] = self.names.fresh("prepared", "_".join(parameters))
        return self._prepared[key]

    def example(self, name: str, rows: int) -> Any:
        """Zeros in place of an argument; ``rows`` examples of what has a batch (two for a pair)."""
        known = self.examples[name]
        if not isinstance(known, Tensor):
            return known
        batched = self.names.role(name) in BATCHED
        return torch.zeros((rows, *known.shape[1:]) if batched else known.shape, dtype=known.dtype)

    @cached_property
    def examples(self) -> dict[str, Any]:
        """Zeros of the shape of every argument, for one example; rewrites add what they hand on."""
        graph = self.graph
        found: dict[str, Any] = {"beta": 1.0, "omega": 1.0, "y": _zeros(1, *graph.output.shape)}
        for state in graph.states.values():
            for role in ("state", "next", "constant"):
                found[self.names(role, state.name)] = _zeros(1, *state.shape)
            found[self.names("force", state.name)] = _zeros(1, *state.shape)
            found[self.names("alpha", state.name)] = _zeros()
            if state.bias_shape is not None:
                found[self.names("bias", state.name)] = _zeros(*state.bias_shape)
        for edge in graph.edges.values():
            if edge.weight_shape is not None and not edge.tied:
                found[self.names("weight", edge.name)] = _zeros(*edge.weight_shape)
                if edge.untied:
                    found[self.names("feedback", edge.name)] = _zeros(*edge.weight_shape)
        return found

    @cached_property
    def _inside(self) -> tuple[Edge, ...]:
        """Edges whose interaction is part of Φ."""
        return tuple(edge for edge in self.graph.edges.values() if not self.graph.reads_out(edge))

    @cached_property
    def _shared(self) -> frozenset[str]:
        """Edges whose weight others share."""
        return frozenset(edge.tied for edge in self.graph.edges.values() if edge.tied)

    def _piece(
        self,
        function: Key,
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
            yield self._piece(("constants",), record, f"c[{state.name}] = {summed}", (*own, *self._read(update)), like)

    def _constant(self, update: Update, recorder: Recorder, results: Results) -> None:
        name = self.names("constant", update.state)
        with recorder.about(update.state):
            parts = [self._term(recorder, term, "free") for term in update.terms]
            bias = self._bias(recorder, self.graph.states[update.state])
            results[name] = recorder.call(runtime.total, bias, *parts) if parts else bias

    def _updates(self, key: Key, phase: PhaseName, relaxed: bool, pulled: tuple[str, ...]) -> Iterator[Piece]:
        """Updates of a sweep, one class after the other.

        Calls that share a function come before the function of their class, and where it has conflicts their states
        wait under another name until all that move at once have been computed.
        """
        conflicts = {name for edge in self.plan.schedule.conflicts for name in edge.ends} if self.many else set()
        for number, updates in enumerate(self.plan.classes, start=1):
            function = (*key, number)
            for update in updates:
                state = self.graph.states[update.state]
                if state.role == "output" and phase == "clamped":
                    continue
                driven = update.state in self._driven
                nudge = self._nudging(state, phase, pulled)
                note = self._equation(update, driven, phase, relaxed, nudge)
                pooled = any(not term.edge.kind.is_linear and not term.edge.unary for term in update.terms)
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

    def _forces(self) -> Iterator[Piece]:
        for update in {u.state: u for updates in self.plan.classes for u in updates}.values():
            state = self.graph.states[update.state]
            driven = update.state in self._driven
            own = (self.names(role, state.name) for role in ("force", "state", "constant"))
            like = (state.shape, driven, *map(self._likeness, update.terms))
            note = f"∂Φ/∂{state.name} = {self._written_sum(update, driven, 'free')}"
            record = partial(self._record_force, update)
            yield self._piece(("forces",), record, note, (*own, *self._read(update)), like)

    def _record_force(self, update: Update, recorder: Recorder, results: Results) -> None:
        results[self.names("force", update.state)] = self._summed(recorder, update, "free")

    def _energy(self) -> Iterator[Piece]:
        def start(recorder: Recorder, results: Results) -> None:
            per_example = recorder.argument(self.names("state", free[0])).flatten(1).sum(1)
            results["phi"] = torch.zeros_like(per_example)
            results["own"] = torch.zeros_like(per_example)

        def end(recorder: Recorder, results: Results) -> None:
            results["energy"] = recorder.result(results, "own") - recorder.result(results, "phi")

        free = self.graph.dynamic or self.graph.free
        note = "F = Σ G(s) − Φ with G′ = σ⁻¹, and Φ = Σ ⟨s_j, A_e s_i⟩ + Σ ⟨b, s⟩; both (batch,)"
        yield self._piece(("energy",), start, note, [self.names("state", free[0])], "start")
        for edge in self._inside:
            names = [self.names("weight", edge.owner), *self._ends(edge)]
            yield self._piece(("energy",), partial(self._edge_energy, edge), "", names, self._geometry(edge), 1)
        for name in self.graph.dynamic:
            state = self.graph.states[name]
            names = [self.names(role, name) for role in ("state", "bias", "alpha")]
            like = (state.shape, state.activation, state.bias_shape)
            yield self._piece(("energy",), partial(self._state_energy, state), "", names, like, 1)
        yield self._piece(("energy",), end, "", (), "end", 2)

    def _edge_energy(self, edge: Edge, recorder: Recorder, results: Results) -> None:
        source, target = (recorder.argument(name) for name in self._ends(edge))
        weight = self._weight(recorder, edge)
        if isinstance(edge.kind, Unary):
            assert weight is not None
            own = edge.kind.potential(weight, source, self._shape(edge.source))
            results["phi"] = recorder.result(results, "phi") + own
            return
        mapped = edge.kind.forward(weight, source, self._shape(edge.target))
        results["phi"] = recorder.result(results, "phi") + recorder.call(runtime.inner, target, mapped)

    def _state_energy(self, state: State, recorder: Recorder, results: Results) -> None:
        s = recorder.argument(self.names("state", state.name))
        bias = self._bias(recorder, state)
        if bias is not None:
            results["phi"] = recorder.result(results, "phi") + recorder.call(runtime.inner, s, bias)
        g = state.activation.self_energy(s, self._alpha(recorder, state)).flatten(1).sum(1)
        results["own"] = recorder.result(results, "own") + g

    def _gradient(self, trainable: frozenset[str], once: bool) -> Iterator[Piece]:
        for edge in self._inside:
            parameter = f"edges.{edge.owner}.weight"
            if edge.weight_shape is not None and parameter in trainable:
                note = f"{edge.name}: c[{edge.source}] ⊗ o[{edge.target}] + o[{edge.source}] ⊗ c[{edge.target}]"
                names = (parameter, self.names("weight", edge.owner), *self._ends(edge))
                record = partial(self._edge_gradient, edge, once)
                # A function a weight, so that a gradient can be added up and dropped before the next one is made.
                function = ("gradient", edge.owner)
                if edge.owner in self._shared:
                    yield Piece(function, 0, record, note)
                else:
                    yield self._piece(
                        ("gradient",) if self.many else function, record, note, names, self._geometry(edge)
                    )
        for name in self.graph.dynamic:
            parameter = f"states.{name}.bias"
            if self.graph.states[name].bias_shape is not None and parameter in trainable:
                read = (parameter, self.names("state", name))
                yield self._piece(("gradient_biases",), partial(self._bias_gradient, name), "", read, self._shape(name))
        for update in {u.state: u for updates in self.plan.classes for u in updates}.values():
            parameter = f"states.{update.state}.alpha"
            if self.graph.states[update.state].activation.learnt and parameter in trainable:
                yield self._level_piece(update, parameter)

    def _edge_gradient(self, edge: Edge, once: bool, recorder: Recorder, results: Results) -> None:
        clamped = self.graph.input.name
        weight = self._weight(recorder, edge)
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
        _add(results, f"edges.{edge.owner}.weight", found)

    def _local(self, trainable: frozenset[str]) -> Iterator[Piece]:
        if not self.graph.readout:
            return
        out = self.graph.output.name
        for edge in self.graph.pre(out):
            parameter = f"edges.{edge.owner}.weight"
            if edge.weight_shape is not None and parameter in trainable:
                record = partial(self._local_gradient, edge)
                yield Piece(("local", edge.owner), 0, record, f"{edge.name}: {edge.source} ⊗ ∂C/∂{out}")
        if self.graph.output.bias_shape is not None and f"states.{out}.bias" in trainable:
            yield Piece(("local_bias",), 0, self._local_bias, f"Σ ∂C/∂{out}")

    def _pull(self, recorder: Recorder) -> Tensor:
        output = recorder.argument(self.names("state", self.graph.output.name))
        return self.cost.gradient(output, recorder.argument("y"))

    def _local_gradient(self, edge: Edge, recorder: Recorder, results: Results) -> None:
        weight = self._weight(recorder, edge)
        assert weight is not None
        source = recorder.argument(self.names("state", edge.source))
        pull = self._pull(recorder)
        found = edge.kind.weight_gradient(weight, source, pull, self._shape(edge.source))
        _add(results, f"edges.{edge.owner}.weight", found)

    def _local_bias(self, recorder: Recorder, results: Results) -> None:
        out = self.graph.output
        results[f"states.{out.name}.bias"] = self._pull(recorder).sum(dim=[0, *range(2, 1 + len(out.shape))])

    def _bias_gradient(self, name: str, recorder: Recorder, results: Results) -> None:
        odd = recorder.argument(self.names("state", name)).chunk(2)[1]
        results[f"states.{name}.bias"] = odd.sum(dim=[0, *range(2, 1 + len(self._shape(name)))])

    def _level_piece(self, update: Update, parameter: str) -> Piece:
        state = self.graph.states[update.state]
        driven = update.state in self._driven
        summed = " + ".join([f"c[{state.name}]"] * driven + [_written(term) for term in update.terms])
        own = (self.names(role, state.name) for role in ("state", "constant", "alpha"))
        like = ("level", state.shape, driven, *map(self._likeness, update.terms))
        record = partial(self._level_gradient, update, parameter)
        function = ("gradient_levels",) if self.many else ("gradient_level", state.name)
        return self._piece(function, record, f"Σ ({summed} − α)₊", (parameter, *own, *self._read(update)), like)

    def _level_gradient(self, update: Update, parameter: str, recorder: Recorder, results: Results) -> None:
        state = self.graph.states[update.state]
        activation, alpha = state.activation, self._alpha(recorder, state)
        assert not isinstance(alpha, float)
        p, q = self._summed(recorder, update, "pair").chunk(2)
        results[parameter] = activation.excess_contrast(p, q, alpha).sum()

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
        with recorder.about(update.state):
            results[self.names(moved, update.state)] = self._moved(update, phase, relaxed, nudge, recorder)

    def _moved(self, update: Update, phase: PhaseName, relaxed: bool, nudge: Nudging, recorder: Recorder) -> Tensor:
        """New value of a state."""
        state = self.graph.states[update.state]
        old = recorder.argument(self.names("state", update.state))
        pair = phase == "pair"
        summed = self._summed(recorder, update, phase)
        read = self.graph.readout and state.role == "output"
        if nudge == "cost":
            summed = self._nudge(recorder, summed, old, pair)
        elif nudge == "force":
            summed = summed - recorder.argument("beta") * recorder.argument(self.names("force", update.state))
        # What is read off follows the states without delay.
        relaxed = relaxed and not read
        alpha = self._alpha(recorder, state)
        exact = state.activation.projects
        if self.dynamics.noise and not read:
            summed = recorder.call(runtime.noisy_pair_ if pair else runtime.noisy_, summed, self.dynamics.noise)
        if relaxed and not exact and self.dynamics.flow:
            # du = ε(sum − u): F falls in the metric of G, and s stays in its range.
            summed = torch.lerp(self._inverse(state, old, alpha, pair), summed, recorder.argument("omega"))
        if relaxed and exact:
            # G = ½s² on a box: s + ω(sum − s), clipped, never raises F for 0 < ω < 2 (projected SOR).
            summed = torch.lerp(old, summed, recorder.argument("omega"))
        new = self._activate(recorder, state, summed, alpha, pair)
        if relaxed and not exact and not self.dynamics.flow:
            new = torch.lerp(old, new, recorder.argument("omega"))
        damping = self._damping(recorder, state)
        if damping is not None:
            # Φ may be concave along the step: it goes only as far as F is sure to fall (graph/guarantees.py).
            new = torch.lerp(old, new, damping)
        bounds = state.activation.bounds(alpha)
        if self.dynamics.state_bits and bounds is not None:
            step = bounds[1] / levels(self.dynamics.state_bits, signed=bounds[0] < 0)
            new = recorder.call(runtime.quantise_pair_ if pair else runtime.quantise_, new, step)
        return new

    def _damping(self, recorder: Recorder, state: State) -> Tensor | None:
        """Part of the way that an update goes, min(1, c/(1 + mκ)); None where it goes all the way."""
        edges = self.graph.damped(state.name)
        if not edges:
            return None
        shape, steepest, c = self._shape(state.name), state.activation.steepest, self.dynamics.damping
        kinds = [(edge.kind, self.names("weight", edge.owner)) for edge in edges]
        bounds = [kind.concavity(recorder.argument(w), shape) for kind, w in kinds if isinstance(kind, Unary)]
        concavity = bounds[0]
        for bound in bounds[1:]:
            concavity = concavity + bound
        assert c is not None
        factor = (c / (1.0 + concavity * (1.0 if steepest is None else steepest))).clamp(max=1.0)
        return factor.to(self.dtype) if self.cast or self.dtype.is_complex else factor

    def _summed(self, recorder: Recorder, update: Update, phase: PhaseName) -> Tensor:
        """Pre-activation ∂Φ/∂s of a state, without nudge: the constant and the terms that act."""
        old = recorder.argument(self.names("state", update.state))
        terms = self._acting(update, phase)
        parts = [self._term(recorder, term, phase) for term in terms] or [torch.zeros_like(old)]
        driven = update.state in self._driven
        constant = recorder.argument(self.names("constant", update.state)) if driven else None
        summed = recorder.call(runtime.total_pair if phase == "pair" else runtime.total, constant, *parts)
        recorder.node(summed).meta |= {"state": self.names("state", update.state), "about": update.state}
        return summed

    def _activate(self, recorder: Recorder, state: State, summed: Tensor, alpha: float | Tensor, pair: bool) -> Tensor:
        activation = state.activation
        if not pair:
            if self.strict and not activation.smooth:
                summed = torch.where(activation.derivative(summed, alpha) == 0, summed.detach(), summed)
            return activation.apply_(summed, alpha)
        if activation.linear:
            return summed
        if activation not in self.pairs:
            # Levels that differ by little share a label, and must not share a function.
            self.pairs[activation] = PairActivation(
                self.names.fresh("function", f"pair_{activation.label}"), activation
            )
        return recorder.call(runtime.in_pieces, self.pairs[activation], summed, alpha, summed)

    def _inverse(self, state: State, old: Tensor, alpha: float | Tensor, pair: bool) -> Tensor:
        """σ⁻¹ of a state, or of a pair."""
        if not pair:
            return state.activation.inverse(old, alpha)
        common, odd = old.chunk(2)
        return torch.cat(state.activation.inverse_pair(common, odd, alpha))

    def _nudge(self, recorder: Recorder, summed: Tensor, output: Tensor, pair: bool) -> Tensor:
        """Pull the output towards its target; ±β swaps the parts of a pair.

        As published, an explicit step: add −β ∂C/∂s^out at the present output. In closed form, for the squared
        error of a linear output: its fixed point (p + βy)/(1 + β).
        """
        target, beta = recorder.argument("y"), recorder.argument("beta")
        if self.closed_form and not pair:
            return (summed + beta * target) / (1.0 + beta)
        if not pair:
            gradient = self.cost.holomorphic_gradient if self.dtype.is_complex else self.cost.gradient
            return summed - beta * gradient(output, target)
        if self.closed_form:
            p, q = summed.chunk(2)
            pulled = torch.cat((p - beta * (q + beta * target), q + beta * (target - p)))
            return pulled / (1.0 - beta * beta)
        common, odd = output.chunk(2)
        force, odd_force = self.cost.gradient_pair(common, odd, target)
        return summed - beta * torch.cat((odd_force, force))

    def _force(self, recorder: Recorder, pair: bool) -> Tensor:
        """−β ∂C/∂s at the output; ±β swaps the parts of a pair."""
        target, beta = recorder.argument("y"), recorder.argument("beta")
        output = recorder.argument(self.names("state", self.graph.output.name))
        if not pair:
            return -beta * self.cost.gradient(output, target)
        common, odd = output.chunk(2)
        force, odd_force = self.cost.gradient_pair(common, odd, target)
        return -beta * torch.cat((odd_force, force))

    def _acting(self, update: Update, phase: PhaseName) -> tuple[Term, ...]:
        """Terms that act in a phase: nothing flows back from a readout that is not nudged."""
        return tuple(t for t in update.terms if phase != "free" or not self._fed_back(t))

    def _fed_back(self, term: Term) -> bool:
        """Whether a term is what nudging of the readout makes a state feel."""
        return term.direction == "adjoint" and self.graph.reads_out(term.edge)

    def _read(self, update: Update) -> Iterator[str]:
        """Names of what the terms of an update read."""
        for term in update.terms:
            edge = term.edge
            yield self.names("weight", edge.owner)
            if edge.untied:
                yield self.names("feedback", edge.owner)
            yield from self._ends(edge) if not edge.kind.is_linear else ()
            yield self.names("state", edge.source if term.direction == "forward" else edge.target)

    def _likeness(self, term: Term) -> Hashable:
        """All that decides what a term computes, save the names."""
        return term.direction, self._geometry(term.edge), self._fed_back(term)

    def _geometry(self, edge: Edge) -> Hashable:
        ends = (self.graph.states[name] for name in (edge.source, edge.target))
        return edge.kind, edge.untied, *((state.shape, state.clamped) for state in ends)

    def _ends(self, edge: Edge) -> tuple[str, str]:
        return self.names("state", edge.source), self.names("state", edge.target)

    def _term(self, recorder: Recorder, term: Term, phase: PhaseName) -> Tensor:
        edge = term.edge
        with recorder.about(edge.name):
            if not self.dtype.is_complex:
                return self._contribution(recorder, term, phase, lambda s: s)
            # Weights are real and the edge is linear: it maps both parts alike, at half of a complex product's work.
            doubled = self._contribution(recorder, term, phase, lambda s: torch.cat((s.real, s.imag)))
            real, imaginary = doubled.chunk(2)
            return torch.complex(real, imaginary)

    def _contribution(
        self, recorder: Recorder, term: Term, phase: PhaseName, seen: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """A term of a state's sum; ``seen`` is what the edge gets to see of a state."""
        edge = term.edge
        pair = phase == "pair"
        # The way back of an untied edge needs the weight of the way there for its arg-max alone.
        away = edge.untied and edge.kind.is_linear and term.direction == "adjoint"
        weight = None if away else self._weight(recorder, edge)
        if term.direction == "forward":
            s = seen(recorder.argument(self.names("state", edge.source)))
            forward = edge.kind.forward_pair if pair else edge.kind.forward
            return forward(weight, s, self._shape(edge.target))
        t = seen(
            self._force(recorder, pair) if self._fed_back(term) else recorder.argument(self.names("state", edge.target))
        )
        # A linear edge does not look at its source.
        source = None if edge.kind.is_linear else recorder.argument(self.names("state", edge.source))
        if edge.untied:
            feedback = self._parameter(recorder, self.names("feedback", edge.owner))
            untied = edge.kind.adjoint_untied_pair if pair else edge.kind.adjoint_untied
            return untied(weight, feedback, t, source, self._shape(edge.source))
        adjoint = edge.kind.adjoint_pair if pair else edge.kind.adjoint
        return adjoint(weight, t, source, self._shape(edge.source))

    def _weight(self, recorder: Recorder, edge: Edge) -> Tensor | None:
        if edge.weight_shape is None:
            return None
        return self._parameter(recorder, self.names("weight", edge.owner))

    def _bias(self, recorder: Recorder, state: State) -> Tensor | None:
        if state.bias_shape is None:
            return None
        bias = self._parameter(recorder, self.names("bias", state.name))
        return bias.view(1, -1, *(1,) * (len(state.shape) - 1))

    def _alpha(self, recorder: Recorder, state: State) -> float | Tensor:
        if state.activation.stored:
            return self._parameter(recorder, self.names("alpha", state.name))
        return state.activation.alpha_range[1]

    def _parameter(self, recorder: Recorder, name: str) -> Tensor:
        value = recorder.argument(name)
        return value.to(self.dtype) if self.cast else value

    def _written_sum(self, update: Update, driven: bool, phase: PhaseName) -> str:
        parts = [f"c[{update.state}]"] * driven
        for term in self._acting(update, phase):
            fed = f"A[{term.edge.name}]ᵀ({_SIGN.get(phase)}β ∂C/∂{term.edge.target})"
            parts.append(fed if self._fed_back(term) else _written(term))
        return " + ".join(parts or ["0"])

    def _nudging(self, state: State, phase: PhaseName, pulled: tuple[str, ...]) -> Nudging:
        if pulled:
            return "force" if state.name in pulled else None
        nudged = phase in ("nudged", "pair") and state.role == "output" and not self.graph.readout
        return "cost" if nudged else None

    def _equation(self, update: Update, driven: bool, phase: PhaseName, relaxed: bool, nudge: Nudging) -> str:
        name, state = update.state, self.graph.states[update.state]
        summed = self._written_sum(update, driven, phase)
        read = self.graph.readout and state.role == "output"
        if nudge is not None:
            summed += f" {_SIGN[phase]} β " + ("∂C/∂s" if nudge == "cost" else f"f[{name}]")
        summed += " + noise" if self.dynamics.noise and not read else ""
        if relaxed and not read:
            exact = state.activation.projects or not self.dynamics.flow
            old = name if exact else f"σ⁻¹({name})"
            summed = f"{old} + ω({summed} − {old})"
        new = f"{state.activation.label}({summed})"
        damped = self.graph.damped(name)
        if damped:
            bounds = " + ".join(f"‖{edge.name}‖" for edge in damped)
            return f"{name} ← {name} + min(1, {self.dynamics.damping:g}/(1 + mκ)) ({new} − {name}), κ ≥ {bounds}"
        return f"{name} ← {new}"

    def _shape(self, name: str) -> Shape:
        return self.graph.states[name].shape


def levels(bits: int, *, signed: bool) -> int:
    """Steps from 0 to the end of a range that so many bits tell apart; a signed one has as many below 0."""
    return (1 << (bits - signed)) - 1


def _add(results: Results, name: str, found: Tensor) -> None:
    """Add to a result what one more edge contributes."""
    results[name] = results[name] + found if name in results else found


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
    if edge.unary:
        return f"∂φ[{edge.name}]/∂{edge.source}"
    if term.direction == "forward":
        return f"A[{edge.name}] {edge.source}"
    return f"{'B' if edge.untied else 'A'}[{edge.name}]ᵀ {edge.target}"

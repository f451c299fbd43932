"""The symbols that an energy is written in, recorded: values of states, terms of sums, nudges, activations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from epgraph.compiler import runtime
from epgraph.compiler.recorder import Recorder
from epgraph.compiler.trace.context import Context, Nudging, PhaseName, Results
from epgraph.compiler.trace.pointwise import Values
from epgraph.energies import Direction, Link, Node
from epgraph.kinds import Shape, Unary
from epgraph.lowering import Term

Parts = Callable[[Tensor], Tensor]
"""What a map is applied to: real and imaginary part, one below the other, of a complex tensor."""


class Recording:
    """Writes down one function, or a part of one; see ``energies.Symbols``.

    Parameters
    ----------
    phase
        The phase that is recorded; where the function belongs to none, ``pair`` where states are pairs, else ``free``.
    relaxed
        Whether updates go part of the way, by a factor ω.
    nudging
        Source of the nudge, at the state that is updated.
    alone
        Whether the function runs without what is computed once per batch, so that its sums begin with the input.
    errors
        Whether it belongs to a way of a sweep that is ``two_way``.
    from_errors
        Whether it is given what the way back of the last sweep has ``returned``.
    moved
        New values of states, where the present ones are not meant; None: the value that the state moves to.
    weighted
        Whether signals are multiplied by a weight of their example.
    wide
        Whether it computes in the precision of the parameters, where states have a lower one.
    """

    def __init__(
        self,
        context: Context,
        recorder: Recorder,
        results: Results,
        phase: PhaseName = "free",
        *,
        relaxed: bool = False,
        nudging: Nudging = None,
        once: bool = True,
        alone: bool = False,
        errors: bool = False,
        weighted: bool = False,
        from_errors: bool = False,
        wide: bool = False,
        moved: Mapping[str, Tensor | None] | None = None,
    ) -> None:
        self.context = context
        self.recorder = recorder
        self.results = results
        self.phase = phase
        self.relaxed = relaxed
        self.nudging = nudging
        self.once = once
        self.alone = alone
        self.errors = errors
        self.weighted = weighted
        self.from_errors = from_errors
        self.moved = moved or {}
        self.wide = wide and context.cast
        self.projection = context.projection
        self.graph = context.graph
        self.pair = phase == "pair"
        self.flows = bool(context.dynamics.flow)

    def value(self, role: str, name: str) -> Tensor:
        """A value by its role and name."""
        return self.recorder.argument(self.context.names(role, name))

    def state(self, name: str) -> Tensor:
        """Value of a state."""
        if name in self.moved:
            new = self.moved[name]
            return self.value("next", name) if new is None else new
        value = self.value("state", name)
        return value.float() if self.wide else value

    def shape(self, name: str) -> Shape:
        """Shape of one example of a state."""
        return self.graph.states[name].shape

    def weight(self, edge: Link) -> Tensor | None:
        """Weight of an edge; None for one without."""
        return None if edge.weight_shape is None else self._parameter("weight", edge.owner)

    def bias(self, state: Node) -> Tensor | None:
        """Bias of a state, as wide as its images; None for one without."""
        if state.bias_shape is None:
            return None
        return self._parameter("bias", state.name).view(1, -1, *(1,) * (len(state.shape) - 1))

    def level(self, state: Node) -> float | Tensor:
        """Level α of ReLUα; 0 elsewhere."""
        if state.activation.stored:
            return self._parameter("alpha", state.name)
        return state.activation.alpha_range[1]

    def _parameter(self, role: str, name: str) -> Tensor:
        value = self.value(role, name)
        return value.to(self.context.dtype) if self.context.cast and not self.wide else value

    def sum(self, name: str, direction: Direction | None = None) -> Tensor:
        """Constant + Σ terms of the update of a state, in the memory of the first of them."""
        old, context = self.state(name), self.context
        terms = context.acting(context.updates[name], self.phase)
        # Bias and clamped input act forward.
        driven, constant = name in context.driven and direction != "adjoint", None
        if driven and self.alone:
            terms = (*context.constants_of(name), *terms)
        parts = [self.term(term) for term in terms if direction in (None, term.direction)] or [torch.zeros_like(old)]
        if driven:
            constant = self.bias(self.graph.states[name]) if self.alone else self.value("constant", name)
        summed = self.recorder.call(runtime.total_pair if self.pair else runtime.total, constant, *parts)
        self.recorder.node(summed).meta |= {"state": self.context.names("state", name), "about": name}
        return summed

    def term(self, term: Term) -> Tensor:
        """What an edge contributes to the sum of a state."""
        return self.forward(term.edge) if term.direction == "forward" else self.adjoint(term.edge)

    def forward(self, edge: Link, s: Tensor | None = None) -> Tensor:
        """A_e s, of the source where s is left out."""
        apply = edge.kind.forward_pair if self.pair else edge.kind.forward

        def mapped(parts: Parts) -> Tensor:
            weight = self.weight(edge)
            return apply(weight, parts(self.state(edge.source) if s is None else s), self.shape(edge.target))

        return self._mapped(edge, mapped)

    def adjoint(self, edge: Link, t: Tensor | None = None) -> Tensor:
        """A_eᵀ t, or that of the feedback weight; of the target where t is left out, or of the nudge of a readout."""
        kind, shape = edge.kind, self.shape(edge.source)

        def mapped(parts: Parts) -> Tensor:
            # The way back of an untied edge needs the weight of the way there for its arg-max alone.
            weight = None if edge.untied and kind.is_linear else self.weight(edge)
            force = parts(self._acting_back(edge) if t is None else t)
            # A linear edge does not look at its source.
            source = None if kind.is_linear else self.state(edge.source)
            if edge.untied:
                feedback = self._parameter("feedback", edge.owner)
                untied = kind.adjoint_untied_pair if self.pair else kind.adjoint_untied
                return untied(weight, feedback, force, source, shape)
            adjoint = kind.adjoint_pair if self.pair else kind.adjoint
            return adjoint(weight, force, source, shape)

        return self._mapped(edge, mapped)

    def _acting_back(self, edge: Link) -> Tensor:
        return self._force() if self.graph.reads_out(edge) else self.state(edge.target)

    def _mapped(self, edge: Link, mapped: Callable[[Parts], Tensor]) -> Tensor:
        """Record a linear map; of complex states both parts at once."""
        with self.recorder.about(edge.name):
            if not self.context.dtype.is_complex:
                return mapped(lambda s: s)
            # Weights are real and the edge is linear: it maps both parts alike, at half of a complex product's work.
            real, imaginary = mapped(lambda s: torch.cat((s.real, s.imag))).chunk(2)
            return torch.complex(real, imaginary)

    def nudged(self, state: Node, summed: Tensor) -> Tensor:
        """Add what nudges the state that is updated."""
        if self.nudging == "cost":
            return self._nudged_by_cost(summed, self.state(state.name))
        if self.nudging == "force":
            return summed - self.recorder.argument("beta") * self.value("force", state.name)
        return summed

    def _nudged_by_cost(self, summed: Tensor, output: Tensor) -> Tensor:
        """Pull the output towards its target; ±β swaps the parts of a pair.

        As published, an explicit step: add −β ∂C/∂s^out at the present output. In closed form, for the squared
        error of a linear output: its fixed point (p + βy)/(1 + β).
        """
        cost, closed_form = self.context.cost, self.context.dynamics.output_step == "closed_form"
        target, beta = self.recorder.argument("y"), self.recorder.argument("beta")
        if closed_form and not self.pair:
            return (summed + beta * target) / (1.0 + beta)
        if not self.pair:
            gradient = cost.holomorphic_gradient if self.context.dtype.is_complex else cost.gradient
            return summed - beta * gradient(output, target)
        if closed_form:
            p, q = summed.chunk(2)
            pulled = torch.cat((p - beta * (q + beta * target), q + beta * (target - p)))
            return pulled / (1.0 - beta * beta)
        common, odd = output.chunk(2)
        force, odd_force = cost.gradient_pair(common, odd, target)
        return summed - beta * torch.cat((odd_force, force))

    def _force(self) -> Tensor:
        """−β ∂C/∂s at the output; ±β swaps the parts of a pair."""
        target, beta = self.recorder.argument("y"), self.recorder.argument("beta")
        name = self.graph.output.name
        # A sweep reads the output off before any state moves; error sweeps have done so at the end of the last one.
        output = self.bottom_up(name) if self.errors and not self.context.error_sweeps else self.state(name)
        if not self.pair:
            return -beta * self.context.cost.gradient(output, target)
        common, odd = output.chunk(2)
        force, odd_force = self.context.cost.gradient_pair(common, odd, target)
        return -beta * torch.cat((odd_force, force))

    def noisy(self, state: Node, summed: Tensor) -> Tensor:
        """Add noise, the same to both states of a pair."""
        deviation = self.context.dynamics.noise
        if not deviation or self.context.is_readout(state):
            return summed
        return self.recorder.call(runtime.noisy_pair_ if self.pair else runtime.noisy_, summed, deviation)

    def activated(self, state: Node, summed: Tensor, level: float | Tensor) -> Tensor:
        """σ of a sum, or of a pair."""
        activation = state.activation
        if not self.pair:
            if self.context.strict and not activation.smooth:
                summed = torch.where(activation.derivative(summed, level) == 0, summed.detach(), summed)
            return activation.apply_in_(self.context.dtype, summed, level)
        if activation.linear:
            return summed
        return self.recorder.call(runtime.in_pieces, self.context.paired(activation), summed, level, summed)

    def copy(self, t: Tensor) -> Tensor:
        """Copy of a value."""
        return t.clone()

    @property
    def nudges(self) -> bool:
        """Whether the phase has a nudge."""
        return self.phase != "free"

    def bottom_up(self, name: str) -> Tensor:
        """Carried sum of a state; computed anew in a function that runs alone."""
        if self.alone:
            return self.sum(name, "forward")
        return self.handed("sum", name)

    def sent(self, name: str) -> Tensor:
        """What a state sends back in this sweep."""
        return self.handed("sent", name)

    def carried_signal(self, state: Node) -> Tensor | None:
        """What a state has sent back in the last sweep."""
        return self.handed("sent", state.name) if self.from_errors and self.context.sends(state) else None

    def carried_error(self, name: str) -> Tensor | None:
        """Error of a state that error sweeps have returned."""
        return self.handed("error", name) if self.from_errors and self.context.error_sweeps else None

    def handed(self, what: str, name: str) -> Tensor:
        """A value that another function of the sweep has returned."""
        return self.recorder.argument(self.context.names("carried", what, name))

    def total(self, state: Node, start: Tensor | None, parts: Sequence[Tensor]) -> Tensor:
        """Start + Σ parts, in the memory of the first part."""
        if not parts:
            return torch.zeros_like(self.state(state.name)) if start is None else start.clone()
        summed = self.recorder.call(runtime.total, start, *parts)
        self.recorder.node(summed).meta |= {"state": self.context.names("state", state.name), "about": state.name}
        return summed

    def weighed(self, signal: Tensor) -> Tensor:
        """Multiply by the weights of the examples, where there are such."""
        if not self.weighted:
            return signal
        weights = self.recorder.argument("weights")
        return self.recorder.once(runtime.weighed, signal, weights)

    def contracted(self, edge: Link, source: Tensor, signal: Tensor) -> Tensor:
        """Weight gradient of an edge; of complex states its real part."""
        weight = self.weight(edge)
        assert weight is not None
        if self.context.dtype.is_complex:
            # The clamped input is real.
            held = self.graph.states[edge.source].clamped
            source = source if held else torch.cat((source.real, source.imag))
            signal = signal.real if held else torch.cat((signal.real, -signal.imag))
        return edge.kind.weight_gradient(weight, source, signal, self.shape(edge.source))

    def pointwise(self, name: str, state: Node, function: Callable[..., Tensor], *values: Tensor) -> Tensor:
        """Apply a function of single units."""
        activation, level = state.activation, self.level(state)
        if not self.pair:
            return function(Values(activation, self.projection, level, self.context.dtype), *values)
        made = self.context.pointwise(name, activation, function, len(values))
        return self.recorder.once(runtime.by_rows, made, level, None, *values)

    def inverse(self, state: Node, s: Tensor, level: float | Tensor) -> Tensor:
        """σ⁻¹ of a state, or of a pair."""
        if not self.pair:
            return state.activation.inverse(s, level)
        common, odd = s.chunk(2)
        return torch.cat(state.activation.inverse_pair(common, odd, level))

    def rounded(self, state: Node, s: Tensor, level: float | Tensor) -> Tensor:
        """Round a state to ``dynamics.state_bits`` on the range of σ."""
        bits, bounds = self.context.dynamics.state_bits, state.activation.bounds(level)
        if not bits or bounds is None:
            return s
        step = bounds[1] / levels(bits, signed=bounds[0] < 0)
        return self.recorder.call(runtime.quantize_pair_ if self.pair else runtime.quantize_, s, step)

    def step(self, state: Node) -> Tensor | None:
        """Part ω of the way that an update goes; None where it goes all the way."""
        return self.recorder.argument("omega") if self.relaxed and not self.context.is_readout(state) else None

    def damping(self, state: Node) -> Tensor | None:
        """min(1, c/(1 + mκ)); None where an update goes all the way."""
        edges = self.graph.damped(state.name)
        if not edges:
            return None
        shape, steepest, c = state.shape, state.activation.steepest, self.context.dynamics.damping
        kinds = [(edge.kind, self.value("weight", edge.owner)) for edge in edges]
        bounds = [kind.concavity(weight, shape) for kind, weight in kinds if isinstance(kind, Unary)]
        concavity = bounds[0]
        for bound in bounds[1:]:
            concavity = concavity + bound
        assert c is not None
        factor = (c / (1.0 + concavity * (1.0 if steepest is None else steepest))).clamp(max=1.0)
        converted = self.context.cast or self.context.dtype.is_complex
        return factor.to(self.context.dtype) if converted else factor

    def lerp(self, start: Tensor, end: Tensor, step: Tensor) -> Tensor:
        """Start + step · (end − start)."""
        return torch.lerp(start, end, step)

    def inner(self, a: Tensor, b: Tensor) -> Tensor:
        """⟨a, b⟩ per example."""
        return self.recorder.call(runtime.inner, a, b)

    def add(self, name: Literal["phi", "own"], value: Tensor) -> None:
        """Add to Φ or Σ G."""
        self.results[name] = self.recorder.result(self.results, name) + value


class Halves(Recording):
    """As ``Recording``, for one phase of a pair without odd parts: it reads the common parts."""

    def value(self, role: str, name: str) -> Tensor:
        """A value, or its common part; a force pulls both phases apart, and has an odd part alone."""
        value = super().value(role, name)
        if role == "force":
            return value.chunk(2)[1]
        return value.chunk(2)[0] if role == "state" else value

    def handed(self, what: str, name: str) -> Tensor:
        """A value of another function, or its common part; what is sent back has an odd part alone."""
        value = super().handed(what, name)
        return value.chunk(2)[1] if what == "sent" else value.chunk(2)[0]

    def total(self, state: Node, start: Tensor | None, parts: Sequence[Tensor]) -> Tensor:
        """Start + Σ parts, out of place: a sum that passes fuse has the rows of a whole pair."""
        added = [*([] if start is None else [start]), *parts]
        return sum(added[1:], added[0]) if added else super().total(state, start, parts)


def levels(bits: int, *, signed: bool) -> int:
    """Steps from 0 to the end of a range that so many bits tell apart; a signed one has as many below 0."""
    return (1 << (bits - signed)) - 1

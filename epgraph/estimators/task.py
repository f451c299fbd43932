"""What an estimator is given, and what it returns."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from epgraph.display import Shown
from epgraph.linearization.implicit import differentiate_implicitly, loss_force
from epgraph.linearization.linearize import Adjoint, Linearization
from epgraph.runtime.executor import Executor
from epgraph.runtime.gradients import Gradients, add_gradient
from epgraph.runtime.phases import Nudge, make_pair
from epgraph.runtime.relaxation import Clamped, Relaxation, States


@dataclass(frozen=True)
class GradientTask:
    """A batch (or a piece of one) whose gradient is wanted, and the steps that it may take.

    Attributes
    ----------
    clamped
        The clamped input, with all that is computed once for it.
    nudge
        Cost, target and β > 0; an estimator takes the signs that it needs.
    start
        States that the free phase starts from; ``free_phase`` may write into them.
    gradients
        What has been found of the gradient of the whole batch's mean loss; an estimator adds to it.
    retain_states
        Whether the free states are kept; where they are not, those of ``free`` may be dropped when used up.
    energy
        Whether F at the free equilibrium is wanted as well.
    options
        The estimator's own options, by name: ``points``, ``continual_rate``, … (``learning_rules``).
    drawn
        What an estimator has drawn at random for the whole batch: its pieces share it.
    last
        Whether no further piece of the batch follows, which would need the prepared weights again.
    """

    executor: Executor
    clamped: Clamped
    nudge: Nudge
    start: States
    free_steps: int
    nudged_steps: int
    tolerance: float
    gradients: Gradients
    retain_states: bool = True
    energy: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    drawn: dict[str, float] = field(default_factory=dict)
    last: bool = True

    def free_phase(self, *, local: bool = True) -> Relaxation:
        """Take the free phase, and let a readout learn from where it ended if ``local``; ``start`` is used up."""
        free = self.executor.run(self.clamped, self.start, self.free_steps, self.tolerance, donate=True)
        if local and self.executor.graph.readout:
            for name, gradient in self.executor.contrasts.local(self.clamped, free.states, self.nudge):
                add_gradient(self.gradients, name, gradient)
        return free

    def contrast(
        self,
        pairs: States,
        scale: float,
        *,
        x: Tensor | None = None,
        wanted: Collection[str] | None = None,
        carried: Mapping[str, Tensor] | None = None,
        single: bool = False,
    ) -> None:
        """Add what ``Contrasts.by_parameters`` finds, with ``x`` in place of the clamped input where it is given."""
        clamped = self.clamped if x is None else replace(self.clamped, x=x)
        found = self.executor.contrasts.by_parameters(clamped, pairs, scale, wanted, carried, single=single)
        for name, gradient in found:
            add_gradient(self.gradients, name, gradient)

    def add_difference(self, upper: Relaxation, lower: Relaxation, weight: float) -> None:
        """Add ``weight`` · [∂F/∂θ(lower) − ∂F/∂θ(upper)], summed over the examples."""
        pairs = {name: make_pair(s, lower.states[name]) for name, s in upper.states.items()}
        # A pair has half the difference of its states.
        self.contrast(pairs, 2 * weight)

    def nudged_phase(self, nudge: Nudge, free: Relaxation, *, keep: bool = True, pair: bool = False) -> Relaxation:
        """Take a nudged phase from the free state; ``keep``: the free states are left as they are."""
        return self.executor.run(
            self.clamped,
            free.states,
            self.nudged_steps,
            self.tolerance,
            nudge,
            pair=pair,
            donate=not keep,
            borrow=not keep,
            carried=free.carried,
            for_gradient=True,
        )

    def emit_pair(self) -> None:
        """Emit the programs of the free phase and of a nudged pair.

        Before the first sweep: emission takes memory that the weights, once prepared, leave no room for.
        """
        self.executor.program("free")
        self.executor.program("pair")

    def differentiate_implicitly(self, free: Relaxation, tolerance: float, steps: int) -> Adjoint:
        """Add the gradient of the loss at a free equilibrium by the implicit function theorem."""
        about = Linearization(self.executor, self.clamped.x, free.states, self.clamped.parameters)
        return differentiate_implicitly(self.gradients, about, loss_force(about, self.nudge), tolerance, steps)[0]

    def clamped_phase(self, output: Tensor, free: Relaxation) -> Relaxation:
        """Take a phase from the free state with the output clamped to a value, (batch, classes)."""
        name = self.executor.graph.output.name
        states = {**free.states, name: output}
        if len(states) == 1:
            return replace(free, states=states)  # nothing else moves
        return self.executor.run(self.clamped, states, self.nudged_steps, self.tolerance, clamp_output=True)

    def energies(self, free: Relaxation) -> Tensor | None:
        """F at the free equilibrium, (batch,), where it is wanted."""
        return self.executor.energy_of(self.clamped, free.states) if self.energy else None

    def estimate(self, free: Relaxation, *nudged: Relaxation, energies: Tensor | None = None) -> Estimate:
        """Put together what was seen."""
        output = free.states[self.executor.graph.output.name]
        return Estimate(self.nudge.cost.value(output, self.nudge.target), output, free, nudged, energies)


@dataclass(frozen=True)
class Estimate(Shown):
    """What an estimator saw on its way to the gradient.

    Attributes
    ----------
    losses
        Cost at the free equilibrium, (batch,).
    output
        Output state at the free equilibrium, (batch, *output shape).
    free
        The free relaxation.
    nudged
        The nudged or clamped relaxations, if any; that of +β is the first where there is one, and real. Sweeps that go
        back and forward end with the states that the last errors were computed from.
    energies
        F at the free equilibrium, (batch,), where it was asked for.
    adjoint
        How the linear system of implicit differentiation was solved, where there was one.
    """

    losses: Tensor
    output: Tensor
    free: Relaxation
    nudged: tuple[Relaxation, ...]
    energies: Tensor | None = None
    adjoint: Adjoint | None = None

    @property
    def loss(self) -> float:
        """Mean cost of the batch."""
        return float(self.losses.mean())

    def __repr__(self) -> str:
        phases = [("free", self.free), *(("nudged", one) for one in self.nudged)]
        ended = [f"{name} {one.status.name} after {one.steps}, residual {one.residual:.1e}" for name, one in phases]
        return f"Estimate(loss {self.loss:.4g} on {len(self.losses)} examples; {'; '.join(ended)})"

    @property
    def diverged(self) -> tuple[str, ...]:
        """Names of the states that diverged in any phase."""
        return tuple(dict.fromkeys(n for r in (self.free, *self.nudged) for n in r.diverged))

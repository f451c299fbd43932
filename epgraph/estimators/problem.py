"""What an estimator is given, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

from torch import Tensor

from epgraph.linearization.linearize import Adjoint
from epgraph.runtime.executor import Executor
from epgraph.runtime.gradients import Gradients, add_gradient
from epgraph.runtime.phases import Nudge
from epgraph.runtime.relaxation import Clamped, Relaxation, States


@dataclass(frozen=True)
class Problem:
    """A batch (or a piece of one) whose gradient is wanted, and the steps that it may take.

    Attributes
    ----------
    clamped
        The clamped input, with all that is computed once for it.
    nudge
        Cost, target and β > 0; an estimator takes the signs that it needs.
    start
        States that the free phase starts from; ``settle`` may write into them.
    gradients
        What has been found of the gradient of the whole batch's mean loss; an estimator adds to it.
    keep
        Whether the free states are kept; where they are not, those of ``free`` may be dropped when used up.
    energy
        Whether F at the free equilibrium is wanted as well.
    points
        Number N of points of holomorphic EP.
    rate
        Step of the parameters after every nudged sweep of continual EP.
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
    keep: bool = True
    energy: bool = False
    points: int = 4
    rate: float = 0.0
    drawn: dict[str, float] = field(default_factory=dict)
    last: bool = True

    def settle(self) -> Relaxation:
        """Take the free phase, and let a readout learn from where it ended; ``start`` is used up."""
        free = self.executor.run(self.clamped, self.start, self.free_steps, self.tolerance, donate=True)
        if self.executor.graph.readout:
            for name, gradient in self.executor.contrasts.local(self.clamped, free.states, self.nudge):
                add_gradient(self.gradients, name, gradient)
        return free

    def contrast(
        self, pairs: States, scale: float, *, x: Tensor | None = None, wanted: Collection[str] | None = None
    ) -> None:
        """Add what ``Contrasts.by_parameters`` finds, with ``x`` in place of the clamped input where it is given."""
        clamped = self.clamped if x is None else replace(self.clamped, x=x)
        for name, gradient in self.executor.contrasts.by_parameters(clamped, pairs, scale, wanted):
            add_gradient(self.gradients, name, gradient)

    def nudged(self, nudge: Nudge, free: Relaxation, *, keep: bool = True, pair: bool = False) -> Relaxation:
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
        )

    def held(self, output: Tensor, free: Relaxation) -> Relaxation:
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
class Estimate:
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
        The nudged or clamped relaxations, if any; that of +β is the first where there is one, and real.
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

    @property
    def diverged(self) -> tuple[str, ...]:
        """Names of the states that diverged in any phase."""
        return tuple(dict.fromkeys(n for r in (self.free, *self.nudged) for n in r.diverged))


Estimator = Callable[[Problem], Estimate]
"""Adds what it finds for the batch's *mean* loss to ``Problem.gradients``."""

"""What a relaxation returns: the states, and whether they have settled."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from torch import Tensor

from epgraph.compiler import ProgramCache
from epgraph.display import Shown
from epgraph.errors import EpgraphError, listed
from epgraph.runtime.parameters import Parameters

if TYPE_CHECKING:
    from matplotlib.figure import Figure

States = dict[str, Tensor]
"""States that move, by name; each (batch, *shape)."""


@dataclass(frozen=True)
class Clamped:
    """The clamped input x of a batch, and all that is computed once for it.

    ``values`` holds, by the names of emitted code, ``parameters``, and what input and biases contribute to every state;
    ``prepared`` weights that are packed, flipped or merged, to which each phase adds what it needs. ``machine`` holds
    the programs that these are for.
    """

    x: Tensor
    parameters: Parameters
    values: dict[str, Any]
    prepared: dict[str, Any]
    machine: ProgramCache


class Status(Enum):
    """How a relaxation ended; not settling is a result, not an exception."""

    CONVERGED = "the residual fell to the tolerance"
    FIXED_STEPS = "all steps were taken, and no tolerance was asked for"
    OUT_OF_STEPS = "the steps ran out before the residual fell to the tolerance; allow more, or lower the gains"
    DIVERGED = "states grew without bound or became NaN; lower the gains, β or the learning rate"


@dataclass(frozen=True)
class Sweep:
    """What ``relax(record=True)`` keeps of the network after each sweep.

    ``energy`` is F per example, NaN where there is none (untied feedback); ``residual`` the relative change by this
    sweep, the largest of the batch.
    """

    states: States
    energy: Tensor
    residual: float


Record = bool | Callable[[Sweep], object]
"""Whether a relaxation keeps what it sees after each sweep; or a function that is called with it."""


@dataclass(frozen=True)
class Relaxation(Shown):
    """Where a network came to rest.

    Attributes
    ----------
    states
        The states that moved, each (batch, *shape); an output that was clamped is among them.
    steps
        Sweeps taken.
    residuals
        Relative change ‖S(s) − s‖/‖S(s)‖ over the last sweep S, per example; (batch,). It is zero exactly at an
        equilibrium, whatever the schedule, and NaN where no sweep was taken.
    status
        How it ended.
    diverged
        Names of the states that are not finite, or grew beyond ``DIVERGENCE_LIMIT``.
    trajectory
        One entry a sweep, where recording was asked for.
    carried
        Bottom-up sums at ``states``, by the names of emitted code, of an energy that carries them; else empty.
    """

    states: States
    steps: int
    residuals: Tensor
    status: Status
    diverged: tuple[str, ...] = ()
    trajectory: list[Sweep] = field(default_factory=list)
    carried: dict[str, Tensor] = field(default_factory=dict, repr=False)

    @property
    def residual(self) -> float:
        """The largest residual of the batch."""
        return float(self.residuals.max())

    def __repr__(self) -> str:
        sweeps = f"{self.steps} sweep{'s' * (self.steps != 1)}"
        shapes = [f"{name} {tuple(s.shape)}" for name, s in self.states.items()]
        recorded = ", recorded" if self.trajectory else ""
        return (
            f"Relaxation({self.status.name} after {sweeps}, residual {self.residual:.1e}{recorded}; {listed(shapes)})"
        )

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw energy and residual against the sweeps of a relaxation that was recorded; with a path also write it.

        Raises
        ------
        EpgraphError
            If nothing was recorded, the suffix is none of .png, .svg and .pdf, or the file cannot be written.
        """
        if not self.trajectory:
            raise EpgraphError("the relaxation has no trajectory to draw", "relax with record=True")
        from epgraph.drawing.settling import draw_settling

        energies = [float(sweep.energy.double().mean()) for sweep in self.trajectory]
        residuals = [sweep.residual for sweep in self.trajectory]
        phase = {"sweeps": list(range(1, len(residuals) + 1)), "energy": energies, "residual": residuals}
        return draw_settling("relaxation", {"free": phase}, path)


def named(machine: ProgramCache, states: Mapping[str, Any]) -> dict[str, Any]:
    """States by the names of emitted code."""
    return {machine.tracer.names("state", name): value for name, value in states.items()}

"""Relaxations, estimates and convergence in a notebook: how each phase ended, the states there, and small curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from epgraph.kinds import shape_text
from epgraph.notebook.html import curve, curves, line, page, table

if TYPE_CHECKING:
    from epgraph.convergence import Convergence
    from epgraph.estimators import Estimate
    from epgraph.runtime.relaxation import Relaxation


def relaxation(found: Relaxation) -> dict[str, str]:
    """Show a relaxation: its status in words, its states, and energy and residual where they were recorded."""
    states = [
        (name, shape_text(tuple(s.shape[1:])), f"{float(s.abs().float().mean()):.4g}", f"{float(s.abs().max()):.4g}")
        for name, s in found.states.items()
        if s.numel()
    ]
    recorded = found.trajectory
    energy = curve("energy", [float(sweep.energy.double().mean()) for sweep in recorded])
    residual = curve("residual", [sweep.residual for sweep in recorded], log=True)
    return page(
        repr(found).splitlines()[0],
        line(found.status.value),
        table(("state", "shape", "mean |s|", "largest |s|"), states),
        curves(energy, residual),
    )


def estimate(found: Estimate) -> dict[str, str]:
    """Show an estimate: the loss, and how each phase ended."""
    phases = [("free", found.free), *(("nudged", one) for one in found.nudged)]
    rows = [(name, one.status.name, str(one.steps), f"{one.residual:.2e}") for name, one in phases]
    return page(repr(found).splitlines()[0], table(("phase", "status", "sweeps", "largest residual"), rows))


def convergence(found: Convergence) -> dict[str, str]:
    """Show how a network settles: where each phase ended, and the curves of energy and residual."""
    rows = [
        (name, phase.status, str(len(phase.sweeps)), f"{phase.residual[-1]:.2e}" if phase.residual else "–")
        for name, phase in found.phases.items()
    ]
    drawn = [
        row
        for name, phase in found.phases.items()
        for row in (
            curve(f"energy, {name}", phase.energy or ()),
            curve(f"residual, {name}", phase.residual, log=True),
        )
    ]
    return page(repr(found), table(("phase", "status", "sweeps", "largest residual"), rows), curves(*drawn))

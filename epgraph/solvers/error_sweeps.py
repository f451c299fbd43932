"""Error sweeps: errors from the output back, then states from the input on, for energies that read edges forward."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from epgraph.solvers.solver import Solver


class ErrorSweeps(Solver):
    """One round: the errors of all states in reverse order of the edges, then all states in their order.

    From the output back, ε = Σ A_jᵀ[σ′(a_j) ⊙ ε_j], and the output has its nudge; then forward, s = σ(a) + ε. With the
    energy ``predictive`` and smooth σ it has the equilibria of sweeps; with ReLUα a unit may leave its box by ε. It
    needs no schedule, and two rounds are enough where sweeps need five (``docs/language.md``). It relaxes errors
    instead of states, as Goemaere et al. 2025, arXiv 2505.20137, do. In hardware it is not local: errors travel through
    the whole network before a state moves. The last round of a gradient ends with its errors: it is that of these
    errors and of the states they were computed from.
    """

    name = "error_sweeps"
    errors = True
    defaults: ClassVar[Mapping[str, Any]] = {"nudged_steps": 2}

    @property
    def title(self) -> str:
        """Name of the method."""
        return "error sweeps"

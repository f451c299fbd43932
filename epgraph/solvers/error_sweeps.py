"""Error sweeps: what states feel is sent back from the output, then all states move in a forward pass."""

from __future__ import annotations

from epgraph.solvers.solver import Solver


class ErrorSweeps(Solver):
    """Relax errors instead of states, which converges far faster in deep networks (Goemaere et al. 2025).

    A sweep has two passes. From the output back, B = Σ Aᵀ(σ′ ⊙ ε) with the errors ε that the states would have if they
    felt their B. Then forward: every state takes the value that it has if it feels B. The fixed points are those of
    plain sweeps. The predictive energy alone has errors.
    """

    name = "error_sweeps"
    errors = True

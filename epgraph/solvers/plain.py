"""Plain sweeps: the paper's."""

from __future__ import annotations

from epgraph.solvers.solver import Solver


class Plain(Solver):
    """One sweep after the other."""

    name = "plain"

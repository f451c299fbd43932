"""Solvers: one file for each, all of them in ``SOLVERS``. Loads no torch at import.

A solver acts on whole sweeps. Parts of one update are separate keys of ``dynamics``, which combine with every solver
that they do not exclude: ``output_step``, ``damping``, ``flow``, ``noise``, ``state_bits``.
"""

from epgraph.discovery import classes_by_name
from epgraph.solvers.solver import Solver

SOLVERS: dict[str, type[Solver]] = classes_by_name(__name__, Solver)
"""Every solver by its key in YAML: the classes in the files of this package."""

__all__ = ["SOLVERS", "Solver"]

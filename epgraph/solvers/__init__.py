"""Solvers: one file for each, all of them in ``SOLVERS``. Loads no torch at import.

A solver acts on whole sweeps. Parts of one update are separate keys of ``dynamics``, which combine with every solver
that they do not exclude: ``output_step``, ``damping``, ``flow``, ``noise``, ``state_bits``.
"""

from importlib import import_module
from pkgutil import iter_modules

from epgraph.solvers.solver import Solver

SOLVERS: dict[str, type[Solver]] = {
    cls.name: cls
    for module in iter_modules(__path__, f"{__name__}.")
    for cls in vars(import_module(module.name)).values()
    if isinstance(cls, type) and issubclass(cls, Solver) and cls.__module__ == module.name and cls is not Solver
}
"""Every solver by its key in YAML: the classes in the files of this package."""

__all__ = ["SOLVERS", "Solver"]

"""Solvers: one file a solver, all of them in ``SOLVERS``. This package loads no torch.

What a solver does to a whole sweep is here. What is part of one update stays a key of ``dynamics`` of its own and goes
with every solver that it does not exclude: ``output_step``, ``damping``, ``flow``, ``noise``, ``state_bits``.
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
"""Every solver of the language by the key under which it is written: the classes of the files of this package."""

__all__ = ["SOLVERS", "Solver"]

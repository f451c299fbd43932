"""Emission: from a plan to torch.fx graphs, to fast ones, to Python text."""

from epgraph.compiler.backend import BACKENDS, PLAIN, Backend, choose, pass_names, refuse, register_backend
from epgraph.compiler.passes import PASSES, Pass
from epgraph.compiler.program import CompiledProgram
from epgraph.compiler.program_cache import ProgramCache

__all__ = [
    "BACKENDS",
    "PASSES",
    "PLAIN",
    "Backend",
    "CompiledProgram",
    "Pass",
    "ProgramCache",
    "choose",
    "pass_names",
    "refuse",
    "register_backend",
]

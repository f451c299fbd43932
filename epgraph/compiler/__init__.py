"""Emission: from a plan to torch.fx graphs, to fast ones, to Python text."""

from epgraph.compiler.backend import BACKENDS, Backend, choose, refuse
from epgraph.compiler.program import CompiledProgram
from epgraph.compiler.program_cache import ProgramCache

__all__ = ["BACKENDS", "Backend", "CompiledProgram", "ProgramCache", "choose", "refuse"]

"""Emission: from a plan to torch.fx graphs, to fast ones, to Python text."""

from epgraph.compiler.backend import BACKENDS, Backend, choose, refuse
from epgraph.compiler.machine import Loaded, Machine

__all__ = ["BACKENDS", "Backend", "Loaded", "Machine", "choose", "refuse"]

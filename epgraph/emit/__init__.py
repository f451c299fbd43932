"""Emission: from a plan to torch.fx graphs, to fast ones, to Python text."""

from epgraph.emit.backend import BACKENDS, Backend, choose, refuse
from epgraph.emit.machine import Loaded, Machine

__all__ = ["BACKENDS", "Backend", "Loaded", "Machine", "choose", "refuse"]

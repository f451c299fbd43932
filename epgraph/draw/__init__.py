"""Pictures: the network as a diagram, a training run as curves. Loads no torch, matplotlib or Graphviz."""

from epgraph.draw.curves import curves
from epgraph.draw.diagram import dot, render

__all__ = ["curves", "dot", "render"]

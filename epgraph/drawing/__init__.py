"""Pictures: the network as a diagram, a training run as curves. Loads no torch, matplotlib or Graphviz."""

from epgraph.drawing.curves import curves
from epgraph.drawing.diagram import dot, render

__all__ = ["curves", "dot", "render"]

"""Pictures: the network as a diagram, a training run as curves. Importing it loads no torch and no matplotlib."""

from epgraph.drawing.curves import curves
from epgraph.drawing.diagram import dot, render

__all__ = ["curves", "dot", "render"]

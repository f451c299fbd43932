"""Edge kinds: one file a kind, all of them in ``KINDS``.

This package loads no torch; the kernels import it when they run.
"""

from epgraph.edges.conv import Conv
from epgraph.edges.conv_transpose import ConvTranspose
from epgraph.edges.dense import Dense
from epgraph.edges.identity import Identity
from epgraph.edges.kind import EdgeKind, End, Shape, ShapeError, shape_text
from epgraph.edges.lateral import Lateral
from epgraph.edges.memory import Memory
from epgraph.edges.own import Self
from epgraph.edges.pool import Pool
from epgraph.edges.skip import Skip
from epgraph.edges.unary import Unary

KINDS: dict[str, type[EdgeKind]] = {
    kind.name: kind for kind in (Conv, Skip, Identity, Dense, ConvTranspose, Pool, Lateral, Self, Memory)
}
"""Every edge kind of the language by the key under which it is written."""

__all__ = [
    "KINDS",
    "Conv",
    "ConvTranspose",
    "Dense",
    "EdgeKind",
    "End",
    "Identity",
    "Lateral",
    "Memory",
    "Pool",
    "Self",
    "Shape",
    "ShapeError",
    "Skip",
    "Unary",
    "shape_text",
]

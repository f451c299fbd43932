"""Edge kinds: one file for each, all of them in ``KINDS``. The package loads no torch at import."""

from epgraph.kinds.conv import Conv
from epgraph.kinds.conv_transpose import ConvTranspose
from epgraph.kinds.dense import Dense
from epgraph.kinds.identity import Identity
from epgraph.kinds.kind import EdgeKind, End, Shape, ShapeError, shape_text
from epgraph.kinds.lateral import Lateral
from epgraph.kinds.memory import Memory
from epgraph.kinds.pool import Pool
from epgraph.kinds.self_interaction import Self
from epgraph.kinds.skip import Skip
from epgraph.kinds.unary import Unary

KINDS: dict[str, type[EdgeKind]] = {
    kind.name: kind for kind in (Conv, Skip, Identity, Dense, ConvTranspose, Pool, Lateral, Self, Memory)
}
"""Every edge kind by its key in YAML."""

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

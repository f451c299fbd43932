"""Edge kinds: one file a kind, all of them in ``KINDS``.

This package loads no torch; the kernels import it when they run.
"""

from epgraph.edges.conv import Conv
from epgraph.edges.dense import Dense
from epgraph.edges.identity import Identity
from epgraph.edges.kind import EdgeKind, Shape, ShapeError, shape_text
from epgraph.edges.skip import Skip

KINDS: dict[str, type[EdgeKind]] = {kind.name: kind for kind in (Conv, Skip, Identity, Dense)}
"""Every edge kind of the language by the key under which it is written."""

__all__ = ["KINDS", "Conv", "Dense", "EdgeKind", "Identity", "Shape", "ShapeError", "Skip", "shape_text"]

"""Rewrites of programs that make them fast. Each is a pure function; the engine's backends are lists of them."""

from __future__ import annotations

from collections.abc import Callable

from epgraph.emit.program import Program
from epgraph.emit.rewrite.buffers import plan_buffers
from epgraph.emit.rewrite.fuse import fuse_sums
from epgraph.emit.rewrite.layout import channels_last
from epgraph.emit.rewrite.merge import merge_sources, merge_targets
from epgraph.emit.rewrite.pack import pack_weights
from epgraph.emit.rewrite.prepare import hoist_prepared
from epgraph.emit.rewrite.reuse import reuse_argmax
from epgraph.emit.rewrite.transposed import flip_transposed, split_strided
from epgraph.emit.rewrite.updates import fuse_updates
from epgraph.emit.rewrite.winograd import winograd
from epgraph.emit.trace import Tracer

Rewrite = Callable[[Program, Tracer], Program]

REWRITES: dict[str, Rewrite] = {
    rewrite.__name__: rewrite
    for rewrite in (
        reuse_argmax,
        fuse_updates,
        flip_transposed,
        split_strided,
        merge_sources,
        merge_targets,
        winograd,
        channels_last,
        pack_weights,
        fuse_sums,
        plan_buffers,
        hoist_prepared,
    )
}
"""Every rewrite by name, in the order in which they run."""

__all__ = ["REWRITES", "Rewrite"]

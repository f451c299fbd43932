"""Rewrites of programs that make them fast. Each is a pure function; the engine's backends are lists of them."""

from __future__ import annotations

from collections.abc import Callable

from epgraph.compiler.passes.buffers import plan_buffers
from epgraph.compiler.passes.fuse import fuse_sums
from epgraph.compiler.passes.layout import channels_last
from epgraph.compiler.passes.merge import merge_sources, merge_targets
from epgraph.compiler.passes.pack import pack_weights
from epgraph.compiler.passes.prepare import hoist_prepared
from epgraph.compiler.passes.reuse import reuse_argmax
from epgraph.compiler.passes.transposed import flip_transposed, split_strided
from epgraph.compiler.passes.updates import fuse_updates
from epgraph.compiler.passes.winograd import winograd
from epgraph.compiler.program import Program
from epgraph.compiler.trace import Tracer

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

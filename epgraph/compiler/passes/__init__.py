"""Passes: what makes a traced program fast. A backend is a list of them."""

from __future__ import annotations

from epgraph.compiler.passes.buffers import plan_buffers
from epgraph.compiler.passes.declaration import Pass, check_order, stages
from epgraph.compiler.passes.fuse import fuse_sums
from epgraph.compiler.passes.layout import channels_last
from epgraph.compiler.passes.pack import onednn_unavailable, pack_weights
from epgraph.compiler.passes.prepare import hoist_prepared
from epgraph.compiler.passes.reuse import reuse_argmax
from epgraph.compiler.passes.transposed import flip_transposed, split_strided
from epgraph.compiler.passes.updates import fuse_updates
from epgraph.compiler.passes.widen import widen_sums
from epgraph.compiler.passes.winograd import winograd
from epgraph.compiler.triton_kernel import unavailable as triton_unavailable

# Passes that look for plain convolutions come before those that replace them.
_LAYOUT = ("channels_last", "pack_weights")
_SUMS = ("fuse_sums", "plan_buffers", "hoist_prepared")

PASSES: tuple[Pass, ...] = (
    Pass("reuse_argmax", reuse_argmax, before=("fuse_updates", *_SUMS), by_class=True),
    Pass(
        "fuse_updates",
        fuse_updates,
        before=("flip_transposed", "split_strided", "winograd", *_LAYOUT, *_SUMS),
        unusable=triton_unavailable,
        exportable=False,
    ),
    Pass("flip_transposed", flip_transposed, before=("winograd", *_LAYOUT, *_SUMS)),
    Pass("split_strided", split_strided, before=("winograd", *_LAYOUT, *_SUMS)),
    Pass("winograd", winograd, before=(*_LAYOUT, *_SUMS)),
    Pass("channels_last", channels_last, before=("pack_weights", *_SUMS)),
    Pass("pack_weights", pack_weights, before=_SUMS, unusable=onednn_unavailable),
    Pass("fuse_sums", fuse_sums, before=("plan_buffers", "hoist_prepared")),
    Pass("plan_buffers", plan_buffers, before=("hoist_prepared",)),
    Pass("widen_sums", widen_sums, before=("hoist_prepared",)),
    Pass("hoist_prepared", hoist_prepared, capturable=True),
)
"""Every built-in pass, in the order in which they run."""

__all__ = ["PASSES", "Pass", "check_order", "stages"]

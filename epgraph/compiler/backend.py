"""Backends: which rewrites make up a sweep on which device, and what each of them needs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from epgraph.compiler.passes import REWRITES
from epgraph.compiler.triton_kernel import unavailable
from epgraph.errors import EpgraphError, nearest
from epgraph.lowering import Plan


@dataclass(frozen=True)
class Backend:
    """A way to run a sweep.

    Attributes
    ----------
    rewrites
        Names of ``REWRITES``, applied in the order of that table.
    compiled
        Whether each function goes through ``torch.compile`` (needs a C++ compiler; the first sweep takes a while).
    """

    name: str
    rewrites: frozenset[str]
    compiled: bool = False

    def unusable(self, plan: Plan, device: torch.device, dtype: torch.dtype) -> str:
        """Return why this backend cannot run a network there; empty if it can."""
        if self.compiled and plan.graph.architecture.dynamics.noise:
            return "dynamics.noise: torch.compile draws other random numbers than the seed says"
        if "fuse_updates" in self.rewrites:
            return unavailable(device, dtype)
        if self.name != "onednn" and "pack_weights" not in self.rewrites:
            return ""
        if device.type != "cpu":
            return f"oneDNN runs on the CPU, not on {device.type}"
        if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            return "this torch was built without oneDNN"
        if dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            return "this processor has no bfloat16 instructions that oneDNN uses"
        if dtype not in (torch.float32, torch.bfloat16):
            return f"oneDNN packs float32, not {str(dtype).removeprefix('torch.')}"
        return ""


_ALL = frozenset(REWRITES)
_OFF = frozenset({"merge_sources", "merge_targets", "fuse_updates", "winograd"})
"""Not worth their copies on the examples (benchmarks/results; ``compile(also=…)`` adds them), or for one backend."""

BACKENDS: dict[str, Backend] = {
    backend.name: backend
    for backend in (
        Backend("eager", frozenset({"hoist_prepared"})),
        Backend("channels_last", _ALL - _OFF - {"pack_weights", "split_strided"}),
        Backend("triton", (_ALL - _OFF - {"pack_weights"}) | {"fuse_updates"}),
        Backend("onednn", (_ALL - _OFF) | {"winograd"}),
        Backend("inductor", _ALL - _OFF - {"fuse_sums", "plan_buffers"}, compiled=True),
    )
}
"""Every backend by name. ``eager`` is the plain form: right everywhere, and what the others are compared with."""

SMALL = 1_000_000
"""Multiply-accumulates in convolutions, one example and sweep, below which packing costs more than it saves."""


def choose(plan: Plan, device: torch.device, dtype: torch.dtype) -> str:
    """Backend for ``auto``: what measured fastest on each kind of device, where the network is large enough."""
    convolutions = sum(
        t.edge.macs for c in plan.classes for u in c for t in u.terms if len(t.edge.weight_shape or ()) == 4
    )
    if convolutions < SMALL:
        return "eager"
    if device.type == "cpu":
        return "eager" if BACKENDS["onednn"].unusable(plan, device, dtype) else "onednn"
    return "channels_last"


def refuse(
    name: str,
    plan: Plan,
    device: torch.device,
    dtype: torch.dtype,
    also: frozenset[str] = frozenset(),
    without: frozenset[str] = frozenset(),
) -> Backend:
    """Return the backend with its rewrites as asked for, or raise with the reason why it cannot be used."""
    if name not in BACKENDS:
        raise EpgraphError(f"unknown backend '{name}'", nearest(name, ["auto", *BACKENDS]))
    backend = replace(BACKENDS[name], rewrites=(BACKENDS[name].rewrites | also) - without)
    reason = backend.unusable(plan, device, dtype)
    if reason:
        added = f" with {', '.join(sorted(also))}" if also else ""
        raise EpgraphError(f"backend '{name}'{added} cannot be used: {reason}", "use 'auto' or 'eager'")
    return backend

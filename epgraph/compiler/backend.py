"""Backends: which passes make up a sweep on which device, and what each of them needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from epgraph.compiler.passes import PASSES, Pass, check_order
from epgraph.compiler.passes.declaration import anywhere
from epgraph.compiler.passes.pack import onednn_unavailable
from epgraph.errors import EpgraphError, nearest
from epgraph.lowering import Plan


@dataclass(frozen=True)
class Backend:
    """A way to run a sweep.

    Attributes
    ----------
    passes
        What changes the traced program, in order.
    compiled
        Whether each function goes through ``torch.compile`` (needs a C++ compiler; the first sweep takes a while).
    needs
        Returns why the backend cannot run on a device and in a precision, whatever its passes say; empty where it can.

    Raises
    ------
    EpgraphError
        If a pass does not stand where it and the others allow it.
    """

    name: str
    passes: tuple[Pass, ...]
    compiled: bool = False
    needs: Callable[[torch.device, torch.dtype], str] = anywhere

    def __post_init__(self) -> None:
        check_order(self.passes)

    @property
    def by_class(self) -> bool:
        """Whether tracing has to keep the updates of max-pooled edges in the function of their class."""
        return any(one.by_class for one in self.passes)

    @property
    def capturable(self) -> bool:
        """Whether sweeps can be captured as CUDA graphs."""
        return any(one.capturable for one in self.passes)

    @property
    def exportable(self) -> bool:
        """Whether an emitted module can hold the programs."""
        return all(one.exportable for one in self.passes)

    def unusable(self, plan: Plan, device: torch.device, dtype: torch.dtype) -> str:
        """Return why this backend cannot run a network there; empty if it can."""
        if self.compiled and plan.graph.architecture.dynamics.noise:
            return "dynamics.noise: torch.compile draws other random numbers than the seed says"
        reasons = (unusable(device, dtype) for unusable in (*(one.unusable for one in self.passes), self.needs))
        return next(filter(None, reasons), "")


def _passes(*left_out: str) -> tuple[Pass, ...]:
    # Where convolutions add themselves to a sum, it has the precision of the states.
    return tuple(one for one in PASSES if one.name not in ("widen_sums", *left_out))


PLAIN = Backend("plain", ())
"""What the tracer records, as it is: the form that autograd differentiates. Not among ``BACKENDS``."""

_BUILT_IN = (
    Backend("eager", tuple(one for one in PASSES if one.name in ("widen_sums", "hoist_prepared"))),
    Backend("channels_last", _passes("fuse_updates", "winograd", "pack_weights", "split_strided")),
    Backend("triton", _passes("winograd", "pack_weights")),
    Backend("onednn", _passes("fuse_updates"), needs=onednn_unavailable),
    Backend("inductor", _passes("fuse_updates", "winograd", "fuse_sums", "plan_buffers"), compiled=True),
)

BACKENDS: dict[str, Backend] = {backend.name: backend for backend in _BUILT_IN}
"""Every backend by name. ``eager`` is the plain form: right everywhere, and what the others are compared with."""


def register_backend(backend: Backend) -> None:
    """Let ``backend=name`` stand for a backend of your own, with passes of your own among its passes.

    A name registered before is replaced.

    Raises
    ------
    EpgraphError
        If it is no ``Backend``, or its name is built in.
    """
    given: object = backend
    if not isinstance(given, Backend):
        raise EpgraphError(f"expected a Backend, found {type(given).__name__}", rule="plugin")
    if backend.name in {"auto", PLAIN.name, *(one.name for one in _BUILT_IN)}:
        message = f"backend '{backend.name}' cannot be registered: it is built in"
        raise EpgraphError(message, "choose another name", "plugin")
    BACKENDS[backend.name] = backend


def pass_names() -> list[str]:
    """Names of all passes: the built-in ones in their order, then those of registered backends."""
    lists = (PASSES, *(backend.passes for backend in BACKENDS.values()))
    return list(dict.fromkeys(one.name for passes in lists for one in passes))


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
    name: str, plan: Plan, device: torch.device, dtype: torch.dtype, without: frozenset[str] = frozenset()
) -> Backend:
    """Return the backend without the passes named, or raise with the reason why it cannot be used."""
    if name not in BACKENDS:
        raise EpgraphError(f"unknown backend '{name}'", nearest(name, ["auto", *BACKENDS]))
    kept = tuple(one for one in BACKENDS[name].passes if one.name not in without)
    backend = replace(BACKENDS[name], passes=kept)
    reason = backend.unusable(plan, device, dtype)
    if reason:
        raise EpgraphError(f"backend '{name}' cannot be used: {reason}", "use 'auto' or 'eager'")
    return backend

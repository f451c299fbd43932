"""The programs of a plan on one device and in one precision, emitted when they are first needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch

from epgraph.compiler import BACKENDS, PLAIN, ProgramCache, choose, refuse
from epgraph.compiler.cuda_graphs import capture_for
from epgraph.compiler.record import recorded
from epgraph.compiler.trace import SHARE_ABOVE
from epgraph.errors import EpgraphError
from epgraph.lowering import Plan

COMPLEX = {torch.float32: torch.complex64, torch.float64: torch.complex128}
"""The complex precision with as many digits."""


@dataclass(frozen=True)
class Settings:
    """What the programs of a plan depend on; see ``epgraph.compile``.

    Attributes
    ----------
    dtype, kept
        Precision of the states, and of the parameters.
    batches
        Number of batches to come: ``auto`` spreads over them what a backend takes to start.
    """

    device: torch.device
    dtype: torch.dtype
    kept: torch.dtype
    backend: str
    without: frozenset[str]
    cuda_graphs: bool
    batches: float
    share_above: int = SHARE_ABOVE


class Programs:
    """Machines for the engine's own sweeps, for complex states, and for autograd."""

    def __init__(self, plan: Plan, settings: Settings) -> None:
        self.plan = plan
        self.settings = settings
        self._differentiable: dict[tuple[torch.dtype, bool], ProgramCache] = {}

    @cached_property
    def machine(self) -> ProgramCache:
        """What sweeps run on. ``auto`` takes the backend that was measured to be the fastest, else the usual one."""
        plan, chosen = self.plan, self.settings
        device, dtype, name = chosen.device, chosen.dtype, chosen.backend
        if name == "auto":
            name = recorded(plan, device, dtype, chosen.batches) or choose(plan, device, dtype)
        backend = refuse(name, plan, device, dtype, chosen.without)
        return ProgramCache(
            plan,
            dtype,
            cast=chosen.kept != dtype,
            backend=backend,
            share_above=chosen.share_above,
            capture=capture_for(device) if chosen.cuda_graphs else None,
        )

    @cached_property
    def complex(self) -> ProgramCache:
        """The same for complex states. Raises EpgraphError where the precision has no complex one."""
        dtype = COMPLEX.get(self.settings.dtype)
        if dtype is None:
            name = str(self.settings.dtype).removeprefix("torch.")
            raise EpgraphError(
                f"complex states need float32 or float64, found {name}",
                "use another dtype, or another estimator than holomorphic",
            )
        return ProgramCache(
            self.plan, dtype, cast=False, backend=BACKENDS["eager"], share_above=self.settings.share_above
        )

    def differentiable(self, dtype: torch.dtype, *, cast: bool) -> ProgramCache:
        """Programs without passes, which autograd differentiates; ``cast``: parameters have another dtype."""
        if (dtype, cast) not in self._differentiable:
            self._differentiable[dtype, cast] = ProgramCache(
                self.plan, dtype, cast=cast, backend=PLAIN, strict=True, share_above=self.settings.share_above
            )
        return self._differentiable[dtype, cast]

    @contextmanager
    def uncaptured(self) -> Iterator[None]:
        """Give back the memory of captured graphs, and capture none meanwhile."""
        machine = self.machine
        replay, machine.replay = machine.replay, None
        if replay is not None:
            replay.forget()
        try:
            yield
        finally:
            machine.replay = replay

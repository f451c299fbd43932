"""A training by several processes: the first one holds the run folder, and decides for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace

from epgraph.callbacks import Callback
from epgraph.data import Data
from epgraph.errors import Diagnostic
from epgraph.progress import Display, displayed
from epgraph.runs.launch import Launch
from epgraph.runs.start import Flags, Request, prepared
from epgraph.training.ranks import together
from epgraph.training.session import Session, TrainResult


def train_together(
    request: Request,
    data: Data | None,
    flags: Flags,
    callbacks: Sequence[Callback],
    warn: Callable[[Sequence[Diagnostic]], None],
    launch: Launch,
) -> TrainResult:
    """Train as one process of a launch; arguments as for ``Session``, the same on all processes."""
    with together(launch) as ranks, ExitStack() as held:
        start = ranks.once(lambda: held.enter_context(prepared(request)))
        if not ranks.first:
            flags, callbacks, warn = replace(flags, pictures=False), [], _quiet
            held.enter_context(displayed(Display(hidden=True)))  # the decoding of images too
        return Session(start, data, flags, [*callbacks], warn, ranks).train()


def _quiet(diagnostics: Sequence[Diagnostic]) -> None:
    """Leave it to the first process to say."""

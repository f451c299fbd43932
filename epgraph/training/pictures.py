"""The pictures of a run: drawn out of the way of the training, and never a reason to stop it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from epgraph.callbacks import Callback
from epgraph.data import Data
from epgraph.drawing import curves, render
from epgraph.engine import Engine
from epgraph.runs import RunFolder
from epgraph.training.metrics import Metrics

CURVES_SECONDS = 10.0
"""Least time between two drawings of the learning curves; the last one is always drawn."""

DRAWING_SECONDS = 15.0
"""How long a finished training waits for the drawing of its network."""


class Pictures(Callback):
    """Draws ``network.svg`` and ``curves.png`` into a run folder; ``warn`` is told where one cannot be drawn."""

    def __init__(self, folder: RunFolder, warn: Callable[[str], None]) -> None:
        self._folder, self._warn = folder, warn
        self._drawn_at = float("-inf")
        self._thread: threading.Thread | None = None

    def start(self, engine: Engine, data: Data) -> None:
        """Start drawing network.svg beside the training."""

        def draw() -> None:
            try:
                render(engine.architecture, self._folder / "network.svg", report=self._warn)
            except Exception as error:
                self._warn(f"network.svg is not drawn: {error}")

        self._thread = threading.Thread(target=draw, daemon=True)
        self._thread.start()

    def epoch(self, metrics: Metrics) -> None:
        """Draw curves.png, unless it was drawn a moment ago."""
        if time.monotonic() - self._drawn_at >= CURVES_SECONDS:
            self._curves()

    def end(self) -> None:
        """Draw the last curves, and wait a moment for the network."""
        self._curves()
        if self._thread is not None:
            self._thread.join(DRAWING_SECONDS)

    def _curves(self) -> None:
        log = self._folder / "metrics.jsonl"
        if not log.exists():
            return
        try:
            curves(log, self._folder / "curves.png")
        except Exception as error:
            self._warn(f"curves.png is not drawn: {error}")
        self._drawn_at = time.monotonic()

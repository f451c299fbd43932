"""What ``epgraph train`` prints as it goes, and at its end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from epgraph.callbacks import Callback
from epgraph.cli.console import Console
from epgraph.learning_rules import ESTIMATORS
from epgraph.progress import current

if TYPE_CHECKING:
    from epgraph.data import Data
    from epgraph.engine import Engine
    from epgraph.training import TrainResult


class EpochLines(Callback):
    """Prints a line an epoch: in words, or as JSON."""

    def __init__(self, console: Console, as_json: bool) -> None:
        self._console, self._as_json = console, as_json
        self._epochs = 0
        self._relaxes = True

    def measured(self, sentence: str) -> None:
        """Print what was chosen."""
        if not self._as_json:
            self._console.out(sentence)

    def start(self, engine: Engine, data: Data) -> None:
        """Print what is trained on."""
        self._epochs = engine.architecture.training.epochs
        self._relaxes = not ESTIMATORS[engine.architecture.learning.estimator].feedforward
        if not self._as_json:
            self._console.out(data.sentence())

    def epoch(self, metrics: Mapping[str, float]) -> None:
        """Print the metrics."""
        self._console.out(json.dumps(metrics) if self._as_json else _line(metrics, self._epochs, self._relaxes))
        current().said()


def result_lines(result: TrainResult) -> list[str]:
    """Write what a training came to."""
    options = result.options
    if not result.metrics:
        return [f"{result.folder} is trained to epoch {result.epoch} already; raise --epochs to go on"]
    error = result.metrics.get("test_error")
    what, value = ("loss", f"{result.metrics['test_loss']:.4g}") if error is None else ("accuracy", f"{1 - error:.2%}")
    architecture = result.engine.architecture
    published = architecture.published
    said = [] if published is None else [f"published accuracy: {published.accuracy:g} % ({published.source})"]
    return [
        f"{what} of the last epoch: {value} on {len(result.data.test)} test "
        f"examples of {result.data.name} (seed {architecture.training.seed}, {options['dtype']} on "
        f"{options['device']}, backend {options['backend']})",
        *said,
        f"run folder: {result.folder}",
    ]


def _line(metrics: Mapping[str, float], total: int, relaxes: bool) -> str:
    nudged = f" free {metrics['nudged_residual']:.1e} nudged" if "nudged_residual" in metrics else ""
    rest = f", gradient cosine {metrics['gradient_cosine']:.3f}" if "gradient_cosine" in metrics else ""
    parts = []
    for part in ("train", "validation", "test"):
        if f"{part}_loss" in metrics:
            error = f" error {metrics[f'{part}_error']:.2%}" if f"{part}_error" in metrics else ""
            parts.append(f"{part} loss {metrics[f'{part}_loss']:.4f}{error}, ")
    # Of a forward pass it is zero, always.
    residual = f"mean residual {metrics['train_residual']:.1e}{nudged}{rest}, " if relaxes else ""
    return f"epoch {metrics['epoch']:.0f}/{total}: {''.join(parts)}{residual}{metrics['seconds']:.1f} s"

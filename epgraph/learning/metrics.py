"""Where the numbers of a run go: JSON lines, one an epoch and one a batch, and TensorBoard."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

Metrics = dict[str, float]


class Log:
    """Appends one line an epoch to ``metrics.jsonl`` and the same numbers to TensorBoard."""

    def __init__(self, folder: Path, keep_epochs: int = 0) -> None:
        self.path = folder / "metrics.jsonl"
        _keep(self.path, keep_epochs)
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=keep_epochs + 1)

    def write(self, metrics: Metrics) -> None:
        """Append the metrics of one epoch; ``metrics['epoch']`` counts from 1."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(metrics) + "\n")
        for name, value in metrics.items():
            if name != "epoch":
                self._board.add_scalar(name.replace("_", "/", 1), value, int(metrics["epoch"]))
        self._board.flush()

    def close(self) -> None:
        """Close the TensorBoard file."""
        self._board.close()


class BatchLog:
    """Appends one line a batch to ``batches.jsonl``: what each relaxation did.

    Values stay on the device until ``HELD`` batches are together, so that a batch need not wait for the one before.
    """

    HELD = 50

    def __init__(self, folder: Path, keep_epochs: int = 0) -> None:
        self.path = folder / "batches.jsonl"
        self._held: list[dict[str, Any]] = []
        _keep(self.path, keep_epochs)

    def add(self, **values: float | str | Tensor) -> None:
        """Append the values of one batch: plain ones, or tensors of one number."""
        self._held.append(values)
        if len(self._held) >= self.HELD:
            self.flush()

    def flush(self) -> None:
        """Write what is held; waits for the device."""
        with self.path.open("a", encoding="utf-8") as file:
            for values in self._held:
                file.write(json.dumps({name: _plain(value) for name, value in values.items()}) + "\n")
        self._held.clear()


class Mean:
    """Running means over the examples of an epoch, kept on the device so that batches need not wait."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, **values: Tensor) -> None:
        """Add values, one per example."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, torch.zeros((), device=value.device)) + value.float().sum()
            self._counts[name] = self._counts.get(name, 0) + value.numel()

    def means(self) -> Metrics:
        """Mean of everything added; waits for the device."""
        return {name: float(total) / self._counts[name] for name, total in self._sums.items()}


def _plain(value: float | str | Tensor) -> float | str | None:
    """Ready for JSON, which has no NaN and no infinity."""
    plain: float | str = value.item() if isinstance(value, Tensor) else value
    return plain if isinstance(plain, str) or math.isfinite(plain) else None


def _keep(path: Path, epochs: int) -> None:
    """Drop the lines of later epochs: a resumed run repeats what came after its checkpoint."""
    if path.exists():
        lines = [line for line in path.read_text().splitlines() if _epoch(line) <= epochs]
        path.write_text("".join(f"{line}\n" for line in lines))


def _epoch(line: str) -> float:
    try:
        return float(json.loads(line)["epoch"])
    except (ValueError, KeyError, TypeError):
        return float("inf")

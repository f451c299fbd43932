"""Where the numbers of a run go: a JSON-lines file and TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

Metrics = dict[str, float]


class Log:
    """Appends one line an epoch to ``metrics.jsonl`` and the same numbers to TensorBoard."""

    def __init__(self, folder: Path, keep_epochs: int = 0) -> None:
        self.path = folder / "metrics.jsonl"
        if self.path.exists():
            # A resumed run repeats the epochs after its checkpoint; their old lines would stand twice.
            lines = [line for line in self.path.read_text().splitlines() if _epoch(line) <= keep_epochs]
            self.path.write_text("".join(f"{line}\n" for line in lines))
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


def _epoch(line: str) -> float:
    try:
        return float(json.loads(line)["epoch"])
    except (ValueError, KeyError, TypeError):
        return float("inf")

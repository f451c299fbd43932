"""Where the numbers of a run go: JSON lines, one an epoch and one a batch, and TensorBoard."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from epgraph.errors import EpgraphError
from epgraph.estimators import Estimate
from epgraph.files import read_bytes
from epgraph.runs.folder import WriteError, replace
from epgraph.runtime.relaxation import Status
from epgraph.training.histograms import BINS
from epgraph.training.ranks import ALONE, Ranks

Metrics = dict[str, float]

MEASURED = ("seconds", "images_per_second", "peak_memory_mib", "peak_device_memory_mib")
"""Metrics of an epoch that are measured on the machine: they differ between runs that are equal."""

MAX_BYTES = 1 << 30


class JsonLines:
    """A file of JSON objects, one a line, each with an ``epoch`` that counts from 1 and maybe a ``batch``.

    A run that goes on repeats what came after its checkpoint: ``keep`` drops those lines. Lines that hold no such
    object are not ours and stay.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append rows.

        Raises
        ------
        WriteError
            If the file cannot be written.
        """
        text = "".join(json.dumps(row) + "\n" for row in rows)
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise WriteError(self.path, error) from None

    def rows(self) -> list[dict[str, Any]]:
        """Return all rows; none where there is no file."""
        if not self.path.exists():
            return []
        lines = self._lines()
        rows = [self._row(line, number, len(lines)) for number, line in enumerate(lines, 1)]
        return [row for row in rows if row]

    def keep(self, epochs: int, batches: int = 0) -> None:
        """Drop the lines of later epochs than ``epochs``, save those of the first ``batches`` of the next.

        Raises
        ------
        EpgraphError
            If the file is no text, or one of our lines is damaged. It is left as it is then.
        """
        if not self.path.exists():
            return
        lines = self._lines()
        kept = []
        for number, line in enumerate(lines, 1):
            row = self._row(line, number, len(lines))
            # Of the next epoch, batches that the checkpoint has seen.
            place = (row["epoch"], row.get("batch", math.inf)) if row else (0, 0)
            if row is not None and (place <= (epochs, math.inf) or place <= (epochs + 1, batches)):
                kept.append(line)
        if kept and not kept[-1].endswith("\n"):
            kept[-1] += "\n"
        if kept != lines:
            replace(self.path, lambda partial: partial.write_text("".join(kept), encoding="utf-8", newline=""))

    def _lines(self) -> list[str]:
        content = read_bytes(self.path, MAX_BYTES, _HINT)
        return [self._text(line, number) for number, line in enumerate(content.splitlines(keepends=True), 1)]

    def _text(self, line: bytes, number: int) -> str:
        try:
            return line.decode()
        except UnicodeDecodeError:
            raise EpgraphError(f"{self.path}: line {number} is no UTF-8 text", _HINT) from None

    def _row(self, line: str, number: int, count: int) -> dict[str, Any] | None:
        """Row that a line holds; an empty one where it is not ours, None for the torn last line of a killed process."""
        if not line.startswith("{"):
            return {}
        try:
            row: dict[str, Any] = json.loads(line)
        except (ValueError, RecursionError):
            if number == count and not line.endswith("\n"):
                return None
            raise EpgraphError(f"{self.path}: line {number} is damaged", _HINT) from None
        if "epoch" not in row:
            return {}
        if not all(isinstance(row.get(key, 0), int | float) for key in ("epoch", "batch")):
            raise EpgraphError(f"{self.path}: line {number} is damaged: epoch and batch are numbers", _HINT)
        return row


_HINT = "fix or remove the line, or move the file away; nothing was changed"


class EpochLog:
    """Appends one line an epoch to ``metrics.jsonl``, and the same numbers to TensorBoard.

    TensorBoard is a convenience: where it cannot be written, ``warn`` is told once, and the training goes on.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None], keep_epochs: int = 0) -> None:
        self._lines = JsonLines(folder / "metrics.jsonl")
        self._lines.keep(keep_epochs)
        self._warn = warn
        self._board: Any = None
        self._guarded(lambda: self._open(folder / "tensorboard", keep_epochs + 1))

    def write(self, metrics: Metrics, histograms: Iterable[tuple[str, Any]] = ()) -> None:
        """Append the metrics of one epoch; ``metrics['epoch']`` counts from 1.

        ``histograms`` are names and values for TensorBoard, which are read only where it is written.
        """
        self._lines.append([metrics])
        if self._board is not None:
            self._guarded(lambda: self._to_board(metrics, histograms))

    def close(self) -> None:
        """Close the TensorBoard file."""
        if self._board is not None:
            self._guarded(self._board.close)

    def _open(self, folder: Path, first: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._board = SummaryWriter(str(folder), purge_step=first)

    def _to_board(self, metrics: Metrics, histograms: Iterable[tuple[str, Any]]) -> None:
        epoch = int(metrics["epoch"])
        for name, value in metrics.items():
            if name != "epoch":
                self._board.add_scalar(name.replace("_", "/", 1), value, epoch)
        for name, values in histograms:
            self._board.add_histogram(name, values, epoch, bins=BINS)
        self._board.flush()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # whatever it is, it must not end a training
            self._board = None
            self._warn(f"TensorBoard is not written any more: {error}")


class BatchLog:
    """Appends one line a batch to ``batches.jsonl``: what each relaxation did.

    Values stay on the device until ``HELD`` batches are together, so that a batch need not wait for the one before.
    Of several processes each gives the values of its share of a batch.
    """

    HELD = 50

    def __init__(self, folder: Path, keep_epochs: int = 0, keep_batches: int = 0, ranks: Ranks = ALONE) -> None:
        self._lines = JsonLines(folder / "batches.jsonl")
        self._held: list[tuple[int, dict[str, Any]]] = []
        self._ranks = ranks
        if ranks.first:
            self._lines.keep(keep_epochs, keep_batches)

    def add(self, examples: int, estimate: Estimate | None, epoch: int, batch: int) -> None:
        """Append what the relaxations of one batch of so many examples did; without an estimate there were none."""
        values = {} if estimate is None else {"epoch": epoch, "batch": batch, **_of_estimate(estimate)}
        self._held.append((examples, values))
        if len(self._held) >= self.HELD:
            self.flush()

    def flush(self) -> None:
        """Write what is held; waits for the device."""
        held = [(count, {name: _number(value) for name, value in values.items()}) for count, values in self._held]
        self._held.clear()
        rows = [_of_batch(shares) for shares in zip(*self._ranks.gather(held), strict=True)]
        if self._ranks.first:
            self._lines.append({name: _plain(value) for name, value in row.items()} for row in rows)


class Mean:
    """Running means over the examples of an epoch, kept on the device so that batches need not wait."""

    def __init__(self, sums: Mapping[str, Tensor] | None = None, counts: Mapping[str, int] | None = None) -> None:
        self.sums: dict[str, Tensor] = dict(sums or {})
        self.counts: dict[str, int] = dict(counts or {})

    def add(self, **values: Tensor) -> None:
        """Add values, one per example."""
        for name, value in values.items():
            before = self.sums.get(name)
            total = value.float().sum()
            self.sums[name] = total if before is None else before.to(total.device) + total
            self.counts[name] = self.counts.get(name, 0) + value.numel()

    def over(self, ranks: Ranks) -> Mean:
        """Return the means over the examples of all processes; waits for the device if there are several."""
        if ranks.size == 1:
            return self
        total = Mean()
        for sums, counts in ranks.gather(({name: float(s) for name, s in self.sums.items()}, self.counts)):
            for name, value in sums.items():
                total.sums[name] = total.sums.get(name, torch.zeros((), dtype=torch.float64)) + value
                total.counts[name] = total.counts.get(name, 0) + counts[name]
        return total

    def means(self) -> Metrics:
        """Mean of everything added; waits for the device."""
        return {name: float(total) / self.counts[name] for name, total in self.sums.items()}


def _of_estimate(estimate: Estimate) -> dict[str, float | str | Tensor]:
    """Plain values, and tensors of one number."""
    free, adjoint = estimate.free, estimate.adjoint
    found: dict[str, float | str | Tensor] = {
        "loss": estimate.losses.mean(),
        "energy": math.nan if estimate.energies is None else estimate.energies.mean(),  # untied feedback has none
        "free_steps": free.steps,
        "free_residual": free.residuals.max(),
        "free_status": free.status.name.lower(),
    }
    if estimate.nudged:
        nudged = estimate.nudged[0]
        found |= {
            "nudged_steps": nudged.steps,
            "nudged_residual": nudged.residuals.max(),
            "nudged_status": nudged.status.name.lower(),
        }
    if adjoint is not None:
        found |= {
            "adjoint_products": adjoint.products,
            "adjoint_residual": adjoint.residuals.max(),
            "indefinite": adjoint.indefinite.float().mean(),
        }
    return found


def _of_batch(shares: Sequence[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    """Join what the processes saw of a batch: means over its examples, and the worst of the rest."""
    seen = [(count, values) for count, values in shares if count]
    if len(seen) == 1:
        return seen[0][1]
    whole = sum(count for count, _ in seen)
    row: dict[str, Any] = {}
    for name in seen[0][1]:
        if name in MEANS:
            row[name] = sum(count * values[name] for count, values in seen) / whole
        elif name.endswith("_status"):
            row[name] = max((values[name] for _, values in seen), key=_STATUSES.index)
        else:
            row[name] = max(values[name] for _, values in seen)
    return row


MEANS = ("loss", "energy", "indefinite")
"""Values of a batch that are means over its examples."""

_STATUSES = [status.name.lower() for status in Status]


def _number(value: float | str | Tensor) -> float | str:
    plain: float | str = value.item() if isinstance(value, Tensor) else value
    return plain


def _plain(value: float | str) -> float | str | None:
    """Ready for JSON, which has no NaN and no infinity."""
    return value if isinstance(value, str) or math.isfinite(value) else None

"""A run folder in Python: the trained engine and what is known about the run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from epgraph.display import Shown
from epgraph.drawing.curves import draw_curves
from epgraph.engine import Engine
from epgraph.runs import Record
from epgraph.training.checkpoint import engine_from_checkpoint, load_checkpoint
from epgraph.training.metrics import JsonLines

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class LoadedRun(Shown):
    """What ``load_run`` returns.

    Attributes
    ----------
    engine
        The network with the parameters of the checkpoint.
    record
        The content of ``run.json``: settings, options, data, versions, and what changed at which resume.
    metrics
        The rows of ``metrics.jsonl``, one an epoch.
    epoch
        Finished epochs of the checkpoint that was read.
    """

    engine: Engine
    record: Record
    metrics: list[dict[str, Any]]
    epoch: int

    def __repr__(self) -> str:
        name, data = self.engine.architecture.name, self.engine.architecture.data.name
        return f"LoadedRun({name!r}, data={data!r}, epoch={self.epoch})"

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw loss, error, residual, speed and memory against epochs; with a path also write it.

        Raises
        ------
        EpgraphError
            If no epoch is finished, the suffix is none of .png, .svg and .pdf, or the file cannot be written.
        """
        return draw_curves({int(row["epoch"]): row for row in self.metrics}, path)


def load_run(
    path: str | os.PathLike[str],
    *,
    checkpoint: str = "last.pt",
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> LoadedRun:
    """Load a run folder that ``epgraph train`` left.

    Parameters
    ----------
    path
        The run folder.
    checkpoint
        ``last.pt``, or ``best.pt`` for the epoch with the lowest test error.
    device, dtype
        As for ``compile``; left out, the CPU and the precision of the run.

    Raises
    ------
    EpgraphError
        If it is no run folder, or a file in it is damaged.
    """
    folder = Path(path)
    record = Record.read(folder)
    content = load_checkpoint(folder / checkpoint)
    engine = engine_from_checkpoint(content, device=device, dtype=dtype)
    return LoadedRun(engine, record, JsonLines(folder / "metrics.jsonl").rows(), content["epoch"])

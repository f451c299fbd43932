"""Folders that a training left: the file that holds the network of a run, and what is no run."""

from __future__ import annotations

from pathlib import Path

from epgraph.errors import EpgraphError

RUN_FILE = "architecture.yaml"
"""File of a run folder that holds its network."""

SWEEP = "sweep.json"
"""File of a sweep folder, whose runs are in its subfolder ``trials``."""


def of_a_run(file: str | None) -> bool:
    """Whether a file holds the network of a run: a training wrote it, with every setting."""
    return file is not None and Path(file).name == RUN_FILE and (Path(file).parent / "run.json").is_file()


def refuse_sweep(path: Path) -> None:
    """Refuse a sweep folder where one run is expected.

    Raises
    ------
    EpgraphError
        If it is a sweep folder; the message names one of its runs that has a checkpoint.
    """
    if not (path / SWEEP).is_file():
        return
    runs = sorted(path.glob("trials/*/last.pt"))
    example = f", e.g. {runs[0].parent}" if runs else ", once one has begun"
    raise EpgraphError(f"{path} is a sweep folder: give one of its runs{example}")

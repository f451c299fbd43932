"""The runs of a report: read from run folders and sweep folders, finished or not, and named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epgraph.comparison.result import CompareResult, compare_runs
from epgraph.comparison.runs import Compared, Epochs, grouped, settings_of
from epgraph.drawing.curves import read_metrics
from epgraph.errors import EpgraphError
from epgraph.graph import build
from epgraph.graph.plugged import plugins_named
from epgraph.language import Architecture
from epgraph.language.sweep import METRICS
from epgraph.learning_rules import ESTIMATORS
from epgraph.runs.record import Record
from epgraph.runs.resume import architecture_of
from epgraph.sweeps.folder import is_sweep
from epgraph.sweeps.study import Choice, Trials

if TYPE_CHECKING:
    from epgraph.data import Data
    from epgraph.engine import Engine

MOST_SHOWN = 6
"""Runs that are shown one by one: more make the page too long, and too large."""


@dataclass
class ReportedRun:
    """A run of a report.

    Attributes
    ----------
    label
        Its setting in a comparison, or else the name of its network.
    epochs
        Metrics by epoch; none before the first one has finished.
    trial
        What the sweep says of it; None for a run by itself.
    """

    folder: Path
    record: Record
    epochs: Epochs
    label: str
    trial: Choice | None = None

    @property
    def seed(self) -> int:
        """Its seed."""
        return int(self.record.settings["training"]["seed"])

    @property
    def finished(self) -> bool:
        """Whether the last epoch was reached."""
        return self.record.finished

    @property
    def state(self) -> str:
        """How far it came, in words."""
        planned = self.record.settings["training"]["epochs"]
        if self.finished:
            return "finished"
        what = self.trial.state if self.trial is not None and self.trial.state != "open" else "not finished"
        return f"{what}: {max(self.epochs, default=0)} of {planned} epochs"

    @property
    def last(self) -> dict[str, Any]:
        """Metrics of the last epoch; none before the first one has finished."""
        return self.epochs[max(self.epochs)] if self.epochs else {}

    @cached_property
    def architecture(self) -> Architecture:
        """The network of the run."""
        with plugins_named(self.folder):
            return architecture_of(self.record.settings, str(self.folder / "run.json"))

    @property
    def by_backprop(self) -> bool:
        """Whether it was trained by backpropagation."""
        return bool(ESTIMATORS[self.architecture.learning.estimator].feedforward)


class Loaded:
    """Engines and data of the runs, each loaded once.

    Parameters
    ----------
    data, data_root, download, limit, device, threads
        As for ``ep.evaluate``.
    """

    def __init__(
        self,
        data: Data | str | None,
        *,
        data_root: Path | None,
        download: bool,
        limit: int | None,
        device: str | None,
        threads: int | None,
    ) -> None:
        self._own = data
        self._options: dict[str, Any] = {"root": data_root, "download": download, "limit": limit}
        self._device, self._threads = device, threads
        self._engines: dict[Path, Engine] = {}
        self._data: dict[str, Data] = {}

    def engine(self, run: ReportedRun, dtype: str | None = None) -> Engine:
        """Return the network with the weights of the last checkpoint; with a dtype a copy of its own.

        Raises
        ------
        EpgraphError
            If there is no checkpoint, or it is damaged.
        """
        import torch

        from epgraph.runtime.arguments import chosen_device
        from epgraph.runtime.memory import refuse_too_large
        from epgraph.training import load_run, set_threads

        engine = self._engines.get(run.folder) if dtype is None else None
        if engine is None:
            where, wanted = chosen_device(self._device), None if dtype is None else getattr(torch, dtype)
            refuse_too_large(build(run.architecture), where, wanted)
            engine = load_run(run.folder, device=where, dtype=wanted).engine
            if dtype is None:
                self._engines[run.folder] = engine
        set_threads(engine, self._threads)
        return engine

    def data(self, run: ReportedRun) -> Data:
        """Return the examples that the run was trained and tested on.

        Raises
        ------
        EpgraphError
            If they are not there.
        """
        if self._own is not None and not isinstance(self._own, str):
            return self._own
        from epgraph.training.data import data_for

        network = run.architecture
        key = f"{network.data.model_dump_json()} {network.input.shape} {network.output.classes} {network.output.shape}"
        if key not in self._data:
            self._data[key] = data_for(network, self._own, augment=False, check=False, **self._options)
        return self._data[key]


def read_all(paths: Sequence[Path], metric: str) -> tuple[list[ReportedRun], CompareResult | None, list[str]]:
    """Read the runs of run folders and sweep folders.

    Returns
    -------
    tuple
        The runs that have a folder, each once; the comparison of those that have finished; and sentences about what
        is not in it.

    Raises
    ------
    EpgraphError
        If a path is neither a run nor a sweep, or no training was ever begun.
    """
    runs: dict[Path, ReportedRun] = {}
    notes: list[str] = []
    for path in paths:
        for trial in Trials(path).all() if is_sweep(path) else [None]:
            folder = path if trial is None else trial.folder
            # Of a sweep the trials that cannot be read do not keep the others from being shown.
            if trial is not None and not (folder / "run.json").is_file():
                continue
            try:
                runs.setdefault(folder.resolve(), _read(folder, trial))
            except EpgraphError as error:
                if trial is None:
                    raise
                notes.append(f"left out: {error}")
    if not runs:
        raise EpgraphError("no training of this sweep can be read", "let one run: the same 'epgraph sweep' again")
    found = list(runs.values())
    comparison, more = _compared(paths, found, metric)
    _name(found, comparison)
    return found, comparison, [*notes, *more]


def _read(folder: Path, trial: Choice | None) -> ReportedRun:
    record, log = Record.read(folder), folder / "metrics.jsonl"
    name = str(record.settings.get("name")) if trial is None else trial.label
    return ReportedRun(folder, record, read_metrics(log) if log.exists() else {}, name, trial)


def _compared(
    paths: Sequence[Path], runs: Sequence[ReportedRun], metric: str
) -> tuple[CompareResult | None, list[str]]:
    """Compare the finished runs by the metric, or by the first other one that all of them have."""
    if not any(run.finished for run in runs):
        return None, ["No run has finished, so there is nothing to compare yet."]
    problem = ""
    for name in dict.fromkeys((metric, *METRICS)):
        try:
            return compare_runs(list(dict.fromkeys(paths)), name), []
        except EpgraphError as error:
            problem = problem or str(error)
    return None, [f"The runs cannot be compared: {problem}"]


def _name(runs: Sequence[ReportedRun], comparison: CompareResult | None) -> None:
    """Name runs as the comparison does; those that are not in it by how they would be named there, or their folders."""
    labels = (
        {folder.resolve(): group.label for group in comparison.groups for folder in group.folders} if comparison else {}
    )
    every = [Compared(run.folder, run.seed, settings_of(run.record), {}) for run in runs]
    for name, members in grouped(every, []).items():
        # Finished or not, runs of one setting have one name.
        known = next((labels[one.folder.resolve()] for one in members if one.folder.resolve() in labels), None)
        own = str(members[0].folder) if name in labels.values() else name
        for one in members:
            labels.setdefault(one.folder.resolve(), known or own)
    for run in runs:
        if run.folder.resolve() in labels and run.trial is None:
            run.label = labels[run.folder.resolve()]


def representatives(runs: Sequence[ReportedRun]) -> list[ReportedRun]:
    """Return one run of each setting: the first seed that has finished, or else the first one."""
    chosen: dict[str, ReportedRun] = {}
    for run in sorted(runs, key=lambda one: (not one.finished, one.seed)):
        chosen.setdefault(run.label, run)
    return [run for run in runs if chosen[run.label] is run]

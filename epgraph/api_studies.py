"""Many runs: ``ep.sweep`` trains them, ``ep.compare`` says what they show. The command line calls these functions."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epgraph.api import load_data, train
from epgraph.api_arguments import (
    Paths,
    Source,
    Warn,
    all_overrides,
    as_source,
    data_overrides,
    run_options,
    telling,
)
from epgraph.arguments import choice, flag, several, text
from epgraph.arguments import path as file_path
from epgraph.callbacks import Callback
from epgraph.errors import Diagnostic, EpgraphError
from epgraph.language import Architecture
from epgraph.language.sweep import METRICS
from epgraph.runs.folder import slug
from epgraph.runs.launch import launch
from epgraph.runs.start import DEFAULTS
from epgraph.runs.stop import Stopped

if TYPE_CHECKING:
    from epgraph.comparison.result import CompareResult
    from epgraph.sweeps.definition import Definition
    from epgraph.sweeps.study import Choice

__all__ = ["compare", "sweep"]

Report = Callable[[str], None]


@dataclass(frozen=True)
class SweepResult:
    """What ``ep.sweep`` returns.

    Attributes
    ----------
    folder
        The sweep folder: run folders in ``trials/``, ``comparison.md``, ``runs.csv``, ``curves.png``.
    trials
        Every trial: its choice, seed, run folder, state and objective.
    comparison
        The finished runs compared; None where none has finished.
    """

    folder: Path
    trials: tuple[Choice, ...]
    comparison: CompareResult | None

    def lines(self) -> list[str]:
        """Return the text that ``epgraph sweep`` prints in the end."""
        table = self.comparison.lines() if self.comparison else ["no trial has finished"]
        best = min(
            (one for one in self.trials if one.value is not None), key=lambda one: one.value or 0.0, default=None
        )
        found = [] if best is None else [f"best trial: {best.label}, seed {best.seed}: {best.folder}"]
        return ["", *table, "", *found, f"sweep folder: {self.folder}"]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        trials = [{**vars(one), "folder": str(one.folder)} for one in self.trials]
        comparison = None if self.comparison is None else self.comparison.to_dict()
        return {"folder": str(self.folder), "trials": trials, "comparison": comparison}


def sweep(
    sources: Source | Sequence[Source],
    data: str | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    grid: Mapping[str, Sequence[Any]] | None = None,
    ranges: Mapping[str, str] | None = None,
    without: Sequence[str] = (),
    seeds: str | int | Sequence[int] | None = None,
    sampler: str | None = None,
    trials: int | None = None,
    pruner: str | None = None,
    objective: str | None = None,
    overrides: Sequence[str] = (),
    allow_include: Paths = (),
    schedule: str | None = None,
    epochs: int | None = None,
    data_root: str | os.PathLike[str] | None = None,
    download: bool = False,
    limit: int | None = None,
    augment: bool | None = None,
    device: str | None = None,
    dtype: str | None = None,
    backend: str | None = None,
    threads: int | None = None,
    workers: int | None = None,
    progress: bool = False,
    report: Report | None = None,
    warn: Warn | None = None,
) -> SweepResult:
    """Train many variations of a network, or several networks, each with several seeds, and compare them.

    ``docs/sweeps.md`` describes sweeps. The same call goes on where one was stopped or killed, and equal calls at one
    time share the trials. More seeds, values or trials extend a sweep.

    Parameters
    ----------
    sources
        A network as for ``train``, several of them to compare, or a sweep folder to go on with, alone.
    data
        Name of a data set; left out, that of the section ``data``.
    out
        The sweep folder; left out, ``runs/NAME-sweep``.
    grid, ranges, seeds, sampler, trials, pruner, objective
        As in the section ``sweep`` of a file, which they override.
    without
        Selections of edges; for each, the network is also trained without them.
    overrides, allow_include, schedule, epochs
        As for ``train``.
    data_root, download, limit, augment, device, dtype, backend, threads, workers, progress, warn
        As for ``train``.
    report
        Called with a line about each trial.

    Raises
    ------
    EpgraphError
        If a network, the section or an option has a mistake, or the folder holds another sweep.
    Stopped
        If a signal ended the training, after a checkpoint, or came between two trainings.

    Example
    -------
    >>> import epgraph as ep
    >>> result = ep.sweep("examples/digits.yaml", "digits", out="runs/sweep", limit=64, epochs=1, seeds=[0, 1],
    ...     grid={"learning.beta": [0.1, 0.2]})
    >>> [trial.state for trial in result.trials], len(result.comparison.tests)
    (['complete', 'complete', 'complete', 'complete'], 1)
    """
    given = dict(locals())
    from epgraph.sweeps.definition import Definition, arguments_of, flags_of
    from epgraph.sweeps.folder import is_sweep, read_arguments

    one_alone = isinstance(sources, str | os.PathLike | Architecture)
    networks: list[Source] = [sources] if one_alone else several("sources", sources)  # type: ignore[list-item]
    if len(networks) == 1 and (folder := _as_path(networks[0])) is not None and is_sweep(folder):
        _refuse_options(folder, given)
        kept = read_arguments(folder)
        return sweep(**kept, out=folder, download=download, progress=progress, report=report, warn=warn)
    section = {"grid": grid, "range": ranges, "seeds": seeds, "sampler": sampler, "trials": trials, "pruner": pruner}
    section["objective"] = objective
    selections = [text("an entry of without", one, "e.g. 'skip'") for one in several("without", without)]
    options = run_options(device=device, dtype=dtype, backend=backend, threads=threads, workers=workers)
    _refuse_auto(options)
    assignments = all_overrides(overrides, schedule, epochs) + data_overrides(data, data_root, limit, augment)
    folders = [file_path("allow_include", one) for one in several("allow_include", allow_include)]
    flags = flags_of(section)
    definition = Definition([as_source(one) for one in networks], assignments, folders, flags, selections)
    _check(definition, flag("download", download), telling(warn))
    again = {
        "sources": [as_source(one) if (path := _as_path(one)) is None else str(path.absolute()) for one in networks],
        **arguments_of(flags),
        "without": selections,
        "overrides": assignments,
        "allow_include": [str(one.absolute()) for one in folders],
        **options,
    }
    out = Path("runs") / f"{slug(definition.networks[0].name)}-sweep" if out is None else file_path("out", out)
    return _run(out, definition, options, again, flag("progress", progress), report, telling(warn))


def _refuse_options(folder: Path, arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that a sweep which goes on as it was started would not follow."""
    followed = ("sources", "download", "progress", "report", "warn")
    options = {"overrides": "set", "ranges": "range"}
    found = [
        f"--{options.get(name, name).replace('_', '-')}"
        for name, value in arguments.items()
        if name not in followed and value is not None and not (isinstance(value, Sized) and not len(value))
    ]
    if found:
        message = f"{folder} is a sweep folder, and goes on as it was started, without {', '.join(found)}"
        raise EpgraphError(message, f"to extend the sweep, name its network file, and the folder with --out {folder}")


def _check(definition: Definition, download: bool, warn: Warn) -> None:
    """Refuse, before anything is trained, networks with mistakes, and data that are not there or do not fit them."""
    warn(definition.check())
    for network in definition.distinct():
        load_data(network, download=download)


def _run(
    folder: Path,
    definition: Definition,
    options: Mapping[str, Any],
    again: Mapping[str, Any],
    progress: bool,
    report: Report | None,
    warn: Warn,
) -> SweepResult:
    from epgraph.sweeps.run import AGAIN, Sweep

    if launch().size > 1:
        hint = "start 'epgraph sweep' itself several times: the processes share the trials"
        raise EpgraphError("a sweep does not run as one of several processes of torchrun", hint)

    def train_one(network: Architecture, run: Path, callbacks: Sequence[Callback]) -> object:
        leave_out = {"pictures": False, "histograms": False}
        fixed: dict[str, Any] = {"resume": True, "progress": progress, "callbacks": callbacks, **leave_out}
        return train(network, out=run, warn=new, **fixed, **options)

    def new(diagnostics: Sequence[Diagnostic]) -> None:
        # What is doubtful about a network was said with its place in the user's file; here it has one in the text.
        warn([one for one in diagnostics if one.file is None])

    identity = {"dtype": options.get("dtype", DEFAULTS["dtype"])}
    found = Sweep(folder, definition, train_one, again, identity, report or (lambda line: None)).run()
    try:
        comparison = _compared(folder, definition, found, progress)
    except KeyboardInterrupt:
        raise Stopped(signal.SIGINT, "the comparison", f"{folder} holds the results of all trials", AGAIN) from None
    return SweepResult(folder, tuple(found), comparison)


def _compared(folder: Path, definition: Definition, found: Sequence[Choice], progress: bool) -> CompareResult | None:
    """Compare the runs that have finished, and write the tables and curves; None without one."""
    if not any(one.state == "complete" for one in found):
        return None
    comparison = compare(folder, metric=definition.spec.objective, progress=progress)
    for name in ("comparison.md", "runs.csv", "curves.png"):
        comparison.write(folder / name)
    return comparison


def _refuse_auto(options: Mapping[str, Any]) -> None:
    for name in ("dtype", "threads"):
        if options.get(name) == "auto":
            hint = f"name it; 'epgraph train --{name} auto' says what one run takes"
            raise EpgraphError(f"{name}: a sweep cannot take 'auto', because each trial would choose for itself", hint)


def compare(
    runs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    metric: str = "test_error",
    progress: bool = False,
) -> CompareResult:
    """Compare finished runs: what differs, mean ± sample deviation over seeds, paired tests, and learning curves.

    Runs with equal settings but for the seed are one group. Each further group is tested against the first.

    Parameters
    ----------
    runs
        Run folders and sweep folders; one alone need not be in a list.
    metric
        What is tested, at the last epoch.
    progress
        As for ``train``.

    Raises
    ------
    EpgraphError
        If a path is no run or sweep, no run has finished, or the metric is unknown.

    Example
    -------
    >>> import epgraph as ep
    >>> for seed in (0, 1):
    ...     run = ep.train("examples/digits.yaml", "digits", out=f"runs/{seed}", seed=seed, limit=64, epochs=1,
    ...         pictures=False)
    >>> [group.label for group in ep.compare(["runs/0", "runs/1"]).groups]
    ['digits']
    """
    from epgraph.comparison.result import compare_runs

    paths = [runs] if isinstance(runs, str | os.PathLike) else several("runs", runs)
    if not paths:
        raise EpgraphError("no run is named", "e.g. epgraph compare runs/a runs/b")
    folders = [file_path("runs", one) for one in paths]
    return compare_runs(folders, choice("metric", metric, METRICS), flag("progress", progress))


def _as_path(source: Source) -> Path | None:
    """Return the path that a source is; None for YAML text and an architecture."""
    if isinstance(source, Architecture) or (isinstance(source, str) and ("\n" in source or source.lstrip()[:1] == "{")):
        return None
    return Path(source)

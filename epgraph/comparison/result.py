"""A comparison as tables: for the terminal, as Markdown, CSV and JSON, and as a figure."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from epgraph.comparison.runs import Compared, Epochs, differences, grouped, read_runs
from epgraph.comparison.statistics import PairedTest, holm, paired
from epgraph.comparison.verdict import ONE_SEED, few, quantity, untrained, verdict
from epgraph.drawing.comparison import Band, learning_curves
from epgraph.errors import EpgraphError
from epgraph.files import write_bytes

MOST_SHOWN = 12
"""Groups and keys that are printed; files have all of them."""

METRICS = ("test_error", "test_loss", "train_error", "train_loss")
"""Metrics of the table, beside the one that is tested."""


@dataclass(frozen=True)
class Group:
    """The runs of one setting.

    Attributes
    ----------
    values
        The metric that is tested at the last epoch, by seed.
    means, deviations
        Of each metric at the last epoch over the seeds; a deviation is None with one seed.
    seconds
        Mean time of a training.
    untrained
        Seeds whose last test error is that of guessing.
    """

    label: str
    values: dict[int, float]
    means: dict[str, float]
    deviations: dict[str, float | None]
    epochs: int
    seconds: float
    folders: tuple[Path, ...]
    untrained: tuple[int, ...] = ()


@dataclass(frozen=True, repr=False)
class CompareResult:
    """What ``ep.compare`` returns.

    Attributes
    ----------
    metric
        The metric that is tested, at the last epoch of each run.
    groups
        Settings; the first is the baseline of the tests.
    differing
        What differs: key → value of each group.
    tests
        Each further group against the first.
    notes
        Runs that were left out, and what cannot be said.
    """

    metric: str
    groups: tuple[Group, ...]
    differing: dict[str, list[str]]
    tests: tuple[PairedTest, ...]
    notes: tuple[str, ...]
    curves: tuple[Band, ...]

    def __repr__(self) -> str:
        return f"CompareResult({self.metric}, groups={[group.label for group in self.groups]})"

    @property
    def columns(self) -> list[str]:
        """Metrics of the table, the tested one first."""
        return list(dict.fromkeys(name for name in (self.metric, *METRICS) if name in self.groups[0].means))

    def rows(self) -> list[list[str]]:
        """Return the table of means ± sample deviations, its head first."""
        head = ["", "seeds", *(name.replace("_", " ") for name in self.columns), "epochs", "seconds"]
        rows = [
            [
                group.label,
                str(len(group.values)),
                *(_spread(name, group.means[name], group.deviations[name]) for name in self.columns),
                str(group.epochs),
                f"{group.seconds:.0f}",
            ]
            for group in self.groups
        ]
        return [head, *rows]

    def sentences(self, most: int | None = None) -> list[str]:
        """Return which settings did not train, the verdict of each test, and what so few seeds allow to say."""
        idle = [one for one in self.groups if one.untrained]
        found = [untrained(one.label, one.untrained, len(one.values), bool(self.tests)) for one in idle[:most]]
        if len(idle) > len(found):
            found.append(f"… and {len(idle) - len(found)} more settings are at chance.")
        if self.tests and all(len(test.seeds) == 1 for test in self.tests):
            return [*found, ONE_SEED, *self.notes]
        found += [verdict(self.metric, test) for test in self.tests[:most]]
        return [*found, *few(self.tests), *self.notes]

    def lines(self) -> list[str]:
        """Return the text that ``epgraph compare`` prints."""
        head, *rows = self.rows()
        if len(rows) > MOST_SHOWN:
            order = sorted(range(len(rows)), key=lambda index: self.groups[index].means[self.metric])
            left = f"… and {len(rows) - MOST_SHOWN} more settings with a larger {self.metric.replace('_', ' ')}"
            rows = [rows[index] for index in order[:MOST_SHOWN]] + [[left, *("" for _ in head[1:])]]
        parts = [_aligned([head, *rows])]
        if self.differing and len(self.groups) <= MOST_SHOWN:
            parts.append(_aligned(self._differing_rows(MOST_SHOWN)))
        return [line for part in [*parts, self.sentences(MOST_SHOWN)] if part for line in (*part, "")][:-1]

    def markdown(self) -> str:
        """Return tables and verdicts as Markdown."""
        parts = [_markdown(self.rows())]
        if self.differing:
            parts.append(_markdown(self._differing_rows(len(self.differing))))
        parts += self.sentences()
        return "\n\n".join(parts) + "\n"

    def csv(self) -> str:
        """Return one row a run: its setting, seed, folder, and the tested metric."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["setting", "seed", self.metric])
        for group in self.groups:
            writer.writerows([group.label, seed, repr(value)] for seed, value in group.values.items())
        return text.getvalue()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values = asdict(self)
        values.pop("curves")
        for group in values["groups"]:
            group["folders"] = [str(folder) for folder in group["folders"]]
        return values | {"verdicts": self.sentences()}

    def write(self, path: Path) -> Path:
        """Write a file: Markdown or CSV, or curves as a picture, by its suffix.

        Raises
        ------
        EpgraphError
            If the suffix is another, or the file cannot be written.
        """
        texts = {".md": self.markdown, ".csv": self.csv}
        if path.suffix.lower() in texts:
            return write_bytes(path, texts[path.suffix.lower()]().encode())
        check_suffix(path)
        return learning_curves(self.curves, path)

    def _differing_rows(self, most: int) -> list[list[str]]:
        rows = [["differs", *(group.label for group in self.groups)]]
        rows += [[key, *values] for key, values in list(self.differing.items())[:most]]
        more = len(self.differing) - most
        return [*rows, [f"… and {more} more keys", *("" for _ in self.groups)]] if more > 0 else rows


SUFFIXES = (".md", ".csv", ".png", ".svg", ".pdf")


def check_suffix(path: Path) -> None:
    """Refuse a file whose suffix names no format."""
    if path.suffix.lower() not in SUFFIXES:
        raise EpgraphError(f"{path}: unknown suffix '{path.suffix}'", f"known: {', '.join(SUFFIXES)}")


def compare_runs(paths: Sequence[Path], metric: str, progress: bool = False) -> CompareResult:
    """Compare the runs of run folders and sweep folders; ``progress``: show how many have been read.

    Raises
    ------
    EpgraphError
        If a path is neither, no run has finished, or a run does not have the metric.
    """
    runs, notes = read_runs(paths, progress)
    groups = grouped(runs, notes)
    found = tuple(_group(label, members, metric) for label, members in groups.items())
    tests = [_test(found[0], other) for other in found[1:]]
    known = [index for index, test in enumerate(tests) if test.t_p is not None]
    corrected = dict(zip(known, holm([tests[index].t_p or 0.0 for index in known]), strict=True))
    tests = [PairedTest(**{**vars(test), "holm_p": corrected.get(index)}) for index, test in enumerate(tests)]
    bands = tuple(band(label, members) for label, members in groups.items())
    differing = differences([members[0].settings for members in groups.values()])
    return CompareResult(metric, found, differing, tuple(tests), tuple(notes), bands)


def _group(label: str, members: list[Compared], metric: str) -> Group:
    for run in members:
        if not run.epochs:
            raise EpgraphError(f"{run.folder / 'metrics.jsonl'}: holds no epoch", "train the run anew, or leave it out")
    last = [run.epochs[max(run.epochs)] for run in members]
    for run, row in zip(members, last, strict=True):
        if not isinstance(row.get(metric), int | float):
            raise EpgraphError(f"{run.folder} has no {metric}", f"choose another metric: {', '.join(row)}")
    names = [name for name in last[0] if all(isinstance(row.get(name), int | float) for row in last)]
    columns = {name: [float(row[name]) for row in last] for name in names}
    means = {name: math.fsum(column) / len(column) for name, column in columns.items()}
    return Group(
        label=label,
        values=dict(sorted((run.seed, float(row[metric])) for run, row in zip(members, last, strict=True))),
        means=means,
        deviations={name: _deviation(column, means[name]) for name, column in columns.items()},
        epochs=max(max(run.epochs) for run in members),
        seconds=math.fsum(row.get("seconds", 0.0) for run in members for row in run.epochs.values()) / len(members),
        folders=tuple(run.folder for run in members),
        untrained=tuple(sorted(run.seed for run in members if run.untrained)),
    )


def _deviation(values: Sequence[float], mean: float) -> float | None:
    n = len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1)) if n > 1 else None


def _test(baseline: Group, other: Group) -> PairedTest:
    seeds = [seed for seed in baseline.values if seed in other.values]
    a, b = ([group.values[seed] for seed in seeds] for group in (baseline, other))
    return paired(baseline.label, other.label, seeds, a, b)


class HasEpochs(Protocol):
    """A run, whose metrics are known by epoch."""

    @property
    def epochs(self) -> Epochs:
        """Metrics by epoch."""


def band(label: str, members: Sequence[HasEpochs], names: Sequence[str] = METRICS) -> Band:
    """Return the curves of one setting, of all its runs; a metric that some epoch has not is left out."""
    epochs = sorted(set[int]().union(*(run.epochs for run in members)))
    values: dict[str, list[list[float]]] = {}
    for name in names:
        columns = [
            [
                float(run.epochs[epoch][name])
                for run in members
                if isinstance(run.epochs.get(epoch, {}).get(name), int | float)
            ]
            for epoch in epochs
        ]
        if all(columns):
            values[name] = columns
    return Band(label, epochs, values)


def _spread(name: str, mean: float, deviation: float | None) -> str:
    return quantity(name, mean) if deviation is None else f"{quantity(name, mean, False)} ± {quantity(name, deviation)}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    head, *body = (f"| {' | '.join(row)} |" for row in escaped)
    return "\n".join([head, f"|{' --- |' * len(rows[0])}", *body])

"""Groups of options that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from epgraph.cli.options import Options
from epgraph.cli.shared import shared
from epgraph.graph import load
from epgraph.language import Architecture


@dataclass(frozen=True)
class File(Options):
    """A network file, and what overrides its values."""

    file: Path = shared("file")  # noqa: RUF009 - a dataclass field
    allow_include: tuple[Path, ...] = shared("allow_include", ())
    overrides: tuple[str, ...] = shared("overrides", ())


@dataclass(frozen=True)
class Network(File):
    """A network file, and what overrides its values and its schedule."""

    schedule: str | None = shared("schedule")

    def load(self) -> Architecture:
        """Load the network with all that overrides it."""
        schedule = [f"dynamics.schedule={self.schedule}"] if self.schedule else []
        return load(self.file, [*self.overrides, *schedule], self.allow_include)


@dataclass(frozen=True)
class Changes(Options):
    """What overrides the values of several network files."""

    allow_include: tuple[Path, ...] = shared("allow_include", ())
    overrides: tuple[str, ...] = shared("overrides", ())
    schedule: str | None = shared("schedule")


@dataclass(frozen=True)
class Machine(Options):
    """Where to run."""

    device: str | None = shared("device")
    threads: int | None = shared("threads")


@dataclass(frozen=True)
class Target(Options):
    """What a network is compiled for."""

    device: str | None = shared("device")
    dtype: str | None = shared("dtype")
    backend: str | None = shared("backend")


@dataclass(frozen=True)
class Training(Machine):
    """Where and how to train."""

    dtype: str | None = shared("dtype")
    backend: str | None = shared("backend")


@dataclass(frozen=True)
class MeasuredMachine(Options):
    """Where to compute, where the number of threads may be left to a measurement."""

    device: str | None = shared("device")
    threads: int | str | None = shared("measured_threads")


@dataclass(frozen=True)
class MeasuredTraining(MeasuredMachine):
    """Where and how to train, where the precision may be left to a measurement too."""

    dtype: str | None = shared("measured_dtype")
    backend: str | None = shared("backend")


@dataclass(frozen=True)
class Tuning(MeasuredMachine):
    """Where and in what precision to measure."""

    dtype: str | None = shared("dtype")


@dataclass(frozen=True)
class DataFiles(Options):
    """Where the files of a data set are."""

    data_root: Path | None = shared("data_root")  # noqa: RUF009
    download: bool = shared("download", False)


@dataclass(frozen=True)
class DataLimit(DataFiles):
    """Where the files of a data set are, and how much of them is used."""

    limit: int | None = shared("limit")


@dataclass(frozen=True)
class TrainingData(DataLimit):
    """The data of a training: where they are, how much of them is used, and how they are loaded and changed."""

    workers: int | None = shared("workers")
    augment: bool | None = shared("augment")

"""Groups of options that several commands share: a dataclass declares them, and a command receives its instance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from epgraph.cli.shared import Command, shared
from epgraph.graph import load
from epgraph.language import Architecture


def options(**groups: type[Any]) -> Callable[[Command], Command]:
    """Return a decorator that adds the options of dataclasses, and passes an instance of each by its name here.

    A field whose option is not on the command line has the default of the dataclass.
    """

    def add(command: Command) -> Command:
        @wraps(command)
        def collected(**values: Any) -> Any:
            context = click.get_current_context()
            instances = {}
            for name, cls in groups.items():
                own = {field.name: values.pop(field.name) for field in fields(cls)}
                given = {n for n in own if context.get_parameter_source(n) == ParameterSource.COMMANDLINE}
                instances[name] = cls(**{n: own[n] for n in own if n in given})
            return command(**instances, **values)

        for cls in reversed(groups.values()):
            for field in reversed(fields(cls)):
                collected = field.metadata["option"](collected)
        return collected

    return add


class _Options:
    def given(self) -> dict[str, Any]:
        """Return the options that are on the command line, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class File(_Options):
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
class Machine(_Options):
    """Where to run."""

    device: str | None = shared("device")
    threads: int | None = shared("threads")


@dataclass(frozen=True)
class Target(_Options):
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
class Tuning(Machine):
    """Where and in what precision to measure."""

    dtype: str | None = shared("dtype")


@dataclass(frozen=True)
class DataFiles(_Options):
    """Where the files of a data set are."""

    data_root: Path | None = shared("data_root")  # noqa: RUF009
    download: bool = shared("download", False)


@dataclass(frozen=True)
class DataLimit(DataFiles):
    """Where the files of a data set are, and how much of them is used."""

    limit: int | None = shared("limit")

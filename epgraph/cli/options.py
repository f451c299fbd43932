"""Options: how a dataclass declares a group of them for several commands, and those that need code of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from epgraph.plugins import run_plugin

Command = Callable[..., Any]


class Options:
    """A group of options; the class of each is a dataclass of fields that are ``shared``."""

    def chosen(self) -> dict[str, Any]:
        """Return the options that are on the command line, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


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


def _run_plugins(context: click.Context, option: click.Parameter, paths: tuple[Path, ...]) -> None:
    for path in paths:
        run_plugin(path)


plugin_option = click.option(
    "--plugin",
    "plugins",
    type=click.Path(path_type=Path),
    multiple=True,
    expose_value=False,
    is_eager=True,
    metavar="FILE",
    callback=_run_plugins,
    help="Python file that registers edge kinds, activations, costs, energies, solvers, estimators, rules of "
    "initial weights, optimizers, schedules, data sets and backends of your own; may be repeated.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")

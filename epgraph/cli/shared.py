"""Options that several commands share, each once."""

from __future__ import annotations

import re
from dataclasses import field
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from epgraph.cli.types import Named, Whole
from epgraph.graph import SCHEDULES
from epgraph.language import Assignment

DTYPES = click.Choice(["float32", "float64", "bfloat16", "float16"])
_WIDTH = "epgraph.width"


class _Threads(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A number of threads, or ``auto``."""

    name = "threads"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return what the help shows."""
        return "[N|auto]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Return the value of a text."""
        if value == "auto":
            return "auto"
        if not str(value).isdecimal():
            self.fail(f"'{str(value)[:40]}' is no number of threads, nor auto", param, ctx)
        return click.IntRange(1, 256).convert(value, param, ctx)


def _keep_width(context: click.Context, option: click.Parameter, value: str | None) -> None:
    if value is not None and not re.fullmatch(r"[0-9]{1,6}([./][0-9]{1,6})?", value):
        raise click.BadParameter(f"'{value[:40]}' is no fraction; write e.g. 1/8 or 0.125")
    context.meta[_WIDTH] = value


def _with_width(context: click.Context, option: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """Put --width before what is set, as if it were written so."""
    width = context.meta.get(_WIDTH)
    if width is None:
        return value
    context.set_parameter_source("overrides", ParameterSource.COMMANDLINE)
    return (Assignment(f"parameters.width=$({width})", f"--width {width}"), *value)


_width = click.option(
    "--width",
    metavar="FRACTION",
    is_eager=True,
    expose_value=False,
    callback=_keep_width,
    help="Set parameters.width, by which a recipe (a file of examples/recipes) scales its channels, e.g. 1/8.",
)
_set = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    callback=_with_width,
    help="Override a value, e.g. --set learning.beta=0.2; may be repeated.",
)
SHARED: dict[str, Any] = {
    "file": click.argument("file", type=click.Path(path_type=Path)),
    "overrides": lambda command: _width(_set(command)),
    "allow_include": click.option(
        "--allow-include",
        multiple=True,
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        metavar="DIR",
        help="Let FILE include files of this folder too, besides those of its own folder; may be repeated.",
    ),
    "schedule": click.option(
        "--schedule",
        type=Named(SCHEDULES, "SCHEDULE"),
        help=f"Override dynamics.schedule, the order in which states move: {', '.join(SCHEDULES)}.",
    ),
    "device": click.option("--device", help="Device: cpu, cuda, cuda:1, …; left out, a GPU if there is one."),
    "dtype": click.option(
        "--dtype", type=DTYPES, default="float32", show_default=True, help="Precision of states and parameters."
    ),
    "measured_dtype": click.option(
        "--dtype",
        type=click.Choice(["auto", *DTYPES.choices]),
        default="float32",
        show_default=True,
        help="Precision of states and parameters; auto: the fastest one that keeps the gradient, as measured.",
    ),
    "backend": click.option(
        "--backend",
        default="auto",
        show_default=True,
        metavar="NAME",
        help="How sweeps run: eager, channels_last, triton, onednn or inductor; "
        "auto: as 'epgraph tune' found, or by size.",
    ),
    "threads": click.option(
        "--threads", type=Whole(1, 256), help="CPU threads; left out, one for a small network, else all."
    ),
    "measured_threads": click.option(
        "--threads",
        type=_Threads(),
        help="CPU threads; auto: as measured; left out, one for a small network, else all.",
    ),
    "data_root": click.option(
        "--data-root",
        type=click.Path(path_type=Path),
        help="Override data.root, the folder that holds, or receives, the files of named data sets.",
    ),
    "download": click.option("--download", is_flag=True, help="Download the data set if it is not there."),
    "limit": click.option(
        "--limit",
        type=Whole(1),
        help="Override data.limit: use at most this many examples of the training, validation and test set each.",
    ),
    "workers": click.option("--workers", type=Whole(0, 64), help="Processes that load data; left out, chosen by size."),
    "augment": click.option(
        "--augment/--no-augment",
        default=None,
        help="Override data.augment: published (the random changes of images that are usual for the data set), or "
        "none.",
    ),
}
"""Options and arguments by the name of their value."""


def shared(name: str, default: Any = None) -> Any:
    """Return the field of a dataclass of options that stands for one of ``SHARED``."""
    return field(default=default, metadata={"option": SHARED[name]})

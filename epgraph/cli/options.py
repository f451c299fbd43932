"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from epgraph.cli.say import say
from epgraph.errors import Diagnostic, EpgraphError
from epgraph.graph import SCHEDULES
from epgraph.language import Architecture
from epgraph.registry import run_plugin

if TYPE_CHECKING:
    from epgraph.data import Data

F = TypeVar("F", bound=Callable[..., Any])

file_argument = click.argument("file", type=click.Path(path_type=Path))
set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a value, e.g. --set learning.beta=0.2.",
)
allow_include_option = click.option(
    "--allow-include",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Let FILE include files of this folder too, besides those of its own folder; may be repeated.",
)
schedule_option = click.option("--schedule", type=click.Choice(list(SCHEDULES)), help="Override dynamics.schedule.")


def settings(overrides: Sequence[str], schedule: str | None) -> list[str]:
    """Overrides of ``--set`` and ``--schedule``."""
    return [*overrides, *([f"dynamics.schedule={schedule}"] if schedule else [])]


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
    help="Python file that registers edge kinds, activations, costs, optimizers and data sets of your own; "
    "may be repeated.",
)
device_option = click.option("--device", help="Device: cpu, cuda, cuda:1, …; left out, a GPU if there is one.")
dtype_option = click.option(
    "--dtype",
    type=click.Choice(["float32", "float64", "bfloat16", "float16"]),
    default="float32",
    show_default=True,
    help="Precision of states and parameters.",
)
backend_option = click.option(
    "--backend",
    default="auto",
    show_default=True,
    metavar="NAME",
    help="How sweeps run: eager, channels_last, triton, onednn or inductor; auto: as 'epgraph tune' found, or by size.",
)
threads_option = click.option(
    "--threads", type=click.IntRange(1, 256), help="CPU threads; left out, one for a small network, else all."
)


class _DataOption(click.Option):
    """An option whose help lists the data sets, those of plugins included."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the option, and its help."""
        from epgraph.data import data_set_names

        *names, folder = data_set_names()
        record = super().get_help_record(ctx)
        assert record is not None
        return record[0], f"{', '.join(names)}, or {folder} {record[1]}"


def data_option(*, required: bool, more: str = "") -> Callable[[F], F]:
    """Option that names a data set."""
    return click.option(
        "--data",
        cls=_DataOption,
        required=required,
        metavar="NAME",
        help=f"(a directory or .zip with train/CLASS/… and test/CLASS/… images){more}.",
    )


data_root_option = click.option(
    "--data-root",
    type=click.Path(path_type=Path),
    default=Path("data"),
    show_default=True,
    help="Folder that holds, or receives, the torchvision data sets.",
)
download_option = click.option("--download", is_flag=True, help="Download the data set if it is not there.")
limit_option = click.option(
    "--limit",
    type=click.IntRange(min=1),
    help="Use at most this many training examples, and at most this many test examples.",
)


def data_options(*, required: bool = True) -> Callable[[F], F]:
    """Options that say which data to use."""

    def add(command: F) -> F:
        for option in (limit_option, download_option, data_root_option, data_option(required=required)):
            command = option(command)
        return command

    return add


def load_for(
    architecture: Architecture,
    name: str,
    root: Path,
    download: bool,
    limit: int | None,
    augment: bool = True,
    check: bool = True,
) -> Data:
    """Load a data set for an architecture, augmented as that says; print what is doubtful in it.

    Where the two do not fit, the message names the line of the file. ``augment`` and ``check`` switch off the
    augmentation and the check of the test images.
    """
    from epgraph.data import load_data

    classes = architecture.output.classes
    if classes is None:
        misfit = Diagnostic(
            f"{name} has labels, but the network's output has a shape in place of classes",
            "write output: {classes: …}, or train on targets of your own from Python",
            at=("output", "shape"),
            rule="data",
        )
        raise EpgraphError(architecture.locate(misfit))
    wanted = architecture.training.augment if augment else "none"
    try:
        data = load_data(
            name,
            shape=architecture.input.shape,
            classes=classes,
            root=root,
            download=download,
            augment=wanted == "published" if isinstance(wanted, str) else wanted,
            limit=limit,
            check=check,
        )
    except EpgraphError as error:
        raise EpgraphError(architecture.locate(d) if d.at else d for d in error.diagnostics) from None
    say(data.warnings)
    return data


def pick_device(device: str | None) -> str:
    """Return the device asked for, which is there, else a GPU if there is one, else the CPU."""
    import torch

    from epgraph.runtime.arguments import place

    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        known = torch.device(device).type in ("cpu", "cuda", "mps", "xpu")
    except (RuntimeError, ValueError):  # ValueError: half of a character
        known = False
    if not known:
        raise EpgraphError(f"unknown device '{device[:64]}'", "e.g. cpu, cuda or cuda:1")
    place(device)
    return device

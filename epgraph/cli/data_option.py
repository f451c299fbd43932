"""``--data``: the option that names a data set."""

from __future__ import annotations

from collections.abc import Callable

import click

from epgraph.cli.options import Command


class _DataOption(click.Option):
    """An option whose help lists the data sets, those of plugins included."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the option, and its help."""
        from epgraph.data import data_set_names

        *names, folder, tensors = data_set_names()
        record = super().get_help_record(ctx)
        assert record is not None
        return record[0], f"{', '.join(names)}, {tensors} (a .npz or .pt), or {folder} {record[1]}"


def data_option(more: str) -> Callable[[Command], Command]:
    """Return the option that names a data set."""
    images = "(a directory or .zip with train/CLASS/… and test/CLASS/… images)"
    return click.option("--data", cls=_DataOption, metavar="NAME", help=f"{images}{more}.")

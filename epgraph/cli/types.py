"""Types of options, and words on them: names with a hint where one is misspelt, whole numbers from a least one on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from epgraph.errors import nearest
from epgraph.language.sweep import METRICS

METRIC = f"Metric that is compared (and minimized by a sampler): {', '.join(METRICS)}."
"""Help of every option that names a metric."""


class Named(click.Choice):  # type: ignore[type-arg, unused-ignore]
    """One of several names. The help shows one word for it, and the text of the option lists the names."""

    def __init__(self, names: Iterable[str], metavar: str = "NAME") -> None:
        super().__init__(list(names))
        self._metavar = metavar

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return what the help shows."""
        return self._metavar

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name; a misspelt one gets a hint."""
        if value not in self.choices:
            self.fail(f"unknown name '{str(value)[:64]}'; {nearest(str(value), list(self.choices))}", param, ctx)
        return str(value)


class Whole(click.IntRange):
    """A whole number; messages and the help say from which one on."""

    def __init__(self, least: int, most: int | None = None) -> None:
        super().__init__(least, most)
        self.name = f"integer ≥ {least}"

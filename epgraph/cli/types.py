"""Types of options, and words on them: names with a hint where one is misspelled, whole numbers from a least one on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click

from epgraph.errors import EpgraphError, nearest
from epgraph.language import parse
from epgraph.language.sweep import METRICS

METRIC = f"Metric that is compared: {', '.join(METRICS)}."
OBJECTIVE = f"Metric that is compared, and that a sampler minimizes: {', '.join(METRICS)}; left out, test_error."
"""Help of the options that name a metric."""


class Named(click.Choice):  # type: ignore[type-arg, unused-ignore]
    """One of several names. The help shows one word for it, and the text of the option lists the names."""

    def __init__(self, names: Iterable[str], metavar: str = "NAME") -> None:
        super().__init__(list(names))
        self._metavar = metavar

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return what the help shows."""
        return self._metavar

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name; a misspelled one gets a hint."""
        if value not in self.choices:
            self.fail(f"unknown name '{str(value)[:64]}'; {nearest(str(value), list(self.choices))}", param, ctx)
        return str(value)


class Whole(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A whole number; messages and the help say from which one on.

    It has a range and is none: the help of one would have the range a second time.
    """

    def __init__(self, least: int, most: int | None = None) -> None:
        self._range = click.IntRange(least, most)
        self._range.name = self.name = f"integer ≥ {least}"
        self._metavar = f"INTEGER ≥ {least}" if most is None else f"INTEGER {least}..{most}"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return what the help shows."""
        return self._metavar

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number; another one is refused with the range."""
        return int(self._range.convert(value, param, ctx))


def values_option(*names: str, metavar: str, help: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return an option KEY=VALUES that may be repeated; its value is a dictionary."""
    return click.option(*names, multiple=True, metavar=metavar, callback=_values_by_key, help=help)


def _values_by_key(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> dict[str, Any]:
    """Read KEY=VALUES: a list for ``--grid``, a text for ``--range``."""
    found = dict[str, Any]()
    for given in texts:
        key, equals, text = given.partition("=")
        if not equals or not key or not text.strip():
            raise EpgraphError(f"{option.opts[0]} {given}: expected KEY=VALUES", "e.g. --grid learning.beta=0.1,0.2")
        found[key] = text if option.name == "ranges" else parse(f"[{text}]", f"--grid {given}").data
    return found

"""The templates of ``epgraph new`` and their parameters: shown in its help, and read from its arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from epgraph.errors import EpgraphError
from epgraph.language import parse

if TYPE_CHECKING:
    from epgraph.topologies import Template


def describe(formatter: click.HelpFormatter) -> None:
    """Write every template and its parameters."""
    from epgraph.topologies import TEMPLATES

    for template in TEMPLATES.values():
        with formatter.section(f"Template {template.name}"):
            formatter.write_text(template.description)
            formatter.write_dl(_parameters(template))


def _parameters(template: Template[Any]) -> list[tuple[str, str]]:
    return [
        (
            f"--{parameter.name.replace('_', '-')}",
            f"{parameter.description.rstrip('.')} ({_shown(parameter.default)}).",
        )
        for parameter in template.parameters.values()
    ]


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{','.join(map(str, value))}]"
    return "none" if value is None else str(value)


def read_parameters(parts: tuple[str, ...]) -> dict[str, Any]:
    """Values of ``--name value`` and ``--name=value``, read as YAML."""
    values: dict[str, Any] = {}
    rest = list(parts)
    while rest:
        part = rest.pop(0)
        name, equals, text = part.partition("=")
        if not name.startswith("--") or len(name) < 3:
            raise EpgraphError(f"'{part[:64]}' is no parameter", "write --NAME VALUE, e.g. --width 16")
        if not equals:
            if not rest:
                raise EpgraphError(f"{part[:64]} has no value", "write --NAME VALUE, e.g. --width 16")
            text = rest.pop(0)
        key = name[2:].replace("-", "_")
        if key in values:
            raise EpgraphError(f"{name} is given twice", "keep one of them")
        values[key] = parse(text, name).data if text.strip() else None
    return values

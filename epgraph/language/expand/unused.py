"""Warnings about unused parameters: often a misspelled name, or one from an older version."""

from __future__ import annotations

from typing import Any

from epgraph.errors import Diagnostic, Location
from epgraph.language.expand.context import ExpansionContext
from epgraph.language.expand.expression import names_in
from epgraph.language.expand.instances import Blocks


def unused_parameters(context: ExpansionContext, blocks: Blocks) -> None:
    """Warn about parameters of the file and of blocks that no expression mentions."""
    data = context.data
    used: set[str] = set()
    for key, section in data.items():
        if key != "blocks":
            used |= _mentioned(section)
    given = data.get("blocks")
    for name, spec in blocks.known.items():
        block = given[name] if isinstance(given, dict) else {}
        inside = _mentioned({key: value for key, value in block.items() if key != "parameters"})
        own: set[str] = set()
        for parameter, value in spec.parameters.items():
            # A default may use the block's parameters before it, and all parameters of the file.
            mentioned = _mentioned(value)
            used |= mentioned - own
            inside |= mentioned & own
            own.add(parameter)
        used |= inside - own
        for parameter in spec.parameters:
            if parameter not in inside:
                _warn(context, parameter, ("blocks", name, "parameters", parameter), f"block '{name}'")
    declared = data.get("parameters")
    for parameter in declared if isinstance(declared, dict) else ():
        if parameter not in used:
            _warn(context, parameter, ("parameters", parameter), "the file")


def _warn(context: ExpansionContext, name: str, at: Location, whose: str) -> None:
    if context.source.included(at):
        return  # a library is made for more than one network
    found = f"parameter '{name[:64]}' of {whose} is not used"
    hint = f"write ${name[:64]} where its value belongs, or remove it"
    context.report(Diagnostic(found, hint, at, True, severity="warning", rule="unused-parameter"))


def _mentioned(value: Any) -> set[str]:
    """Names in all expressions at and below a value."""
    found: set[str] = set()
    level = [value]
    while level:
        part = level.pop()
        if isinstance(part, str):
            if "$" in part:
                found |= names_in(part)
        elif isinstance(part, dict):
            level += part.values()
        elif isinstance(part, list):
            level += part
    return found

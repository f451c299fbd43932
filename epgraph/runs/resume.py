"""Resume a run: a setting that is not given again comes from the run; one that differs is applied or refused."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from epgraph.errors import Diagnostic, EpgraphError, Location, path_text
from epgraph.language import Architecture
from epgraph.language.validate import explain
from epgraph.runs.record import Record

APPLIED = re.compile(
    r"training\.(?!seed$|optimizer$)\w+"
    r"|data\.root"
    r"|dynamics\.(free_steps|nudged_steps|tolerance)"
    r"|learning\.(beta|continual_rate|solver_tolerance|solver_steps)"
    r"|(states\.\w+|edges\[\d+\]|output)\.(learning_rate|weight_decay)"
    r"|published\.\w+"
    r"|name|epgraph"
)
"""Settings that may change when a run is resumed; any other change makes it another run."""

APPLIED_OPTIONS = frozenset({"device", "backend", "threads", "workers"})
"""Options of the command line that may change when a run is resumed."""

_WHOLE = (("training", "optimizer"), ("training", "schedule"))
"""Settings that are a name with options: they change as a whole."""

Changes = dict[str, tuple[Any, Any]]
"""Name → value in the run and value now."""


@dataclass(frozen=True)
class Resumed:
    """The settings of a resumed run, and those that changed."""

    architecture: Architecture
    options: dict[str, Any]
    changed: Changes


def resume(
    record: Record,
    folder: Path,
    file: dict[str, Any],
    now: dict[str, Any],
    assigned: Collection[str],
    options: Mapping[str, Any],
) -> Resumed:
    """Merge the settings of a run with those of the present call.

    A setting counts as given if it was edited in the network file since the run started, or if the command line
    overrides it. All others come from the run, so an override need not be repeated.

    Parameters
    ----------
    folder
        The run folder, for messages.
    file, now
        All settings of the network file, without and with the overrides of the command line.
    assigned
        Keys that the command line assigns, e.g. ``training.epochs``.
    options
        Options of the command line, by name.

    Raises
    ------
    EpgraphError
        If a setting changed that must not change within a run; the message has both values.
    """
    source = str(folder / "run.json")
    # A key that the language did not have then has its default.
    settings = architecture_of(record.settings, source).to_dict(complete=True)
    run, base = flat(settings), flat(_complete(record.given.settings))
    file_values, now_values = flat(file), flat(now)
    changed: Changes = {}
    refused: Changes = {}
    for at in {**run, **now_values}:
        name = path_text(at)
        before, after = run.get(at), now_values.get(at)
        is_given = after != file_values.get(at) or file_values.get(at) != base.get(at) or name in assigned
        if is_given and after != before:
            if APPLIED.fullmatch(name):
                changed[name] = (before, after)
                _put(settings, at, after)
            else:
                refused[name] = (before, after)
    merged = record.options.model_dump()
    for name, value in options.items():
        if value != merged.get(name):
            (changed if name in APPLIED_OPTIONS else refused)[name] = (merged.get(name), value)
            merged[name] = value
    if refused:
        raise EpgraphError(refusals(folder, refused))
    return Resumed(architecture_of(settings, source), merged, changed)


def _complete(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a network file, and the defaults of the keys that have come into the language since."""
    try:
        return Architecture.model_validate(settings).to_dict(complete=True)
    except ValidationError:  # it is a network only with what was overridden
        return settings


def same_network(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether all settings that differ may change within a run."""
    a, b = flat(_complete(one)), flat(_complete(other))
    return all(a.get(at) == b.get(at) or APPLIED.fullmatch(path_text(at)) for at in {**a, **b})


def refusals(folder: Path, refused: Changes, most: int = 10) -> list[Diagnostic]:
    """Return messages with both values for the first ``most`` settings that must not change within a run."""
    hint = "leave it as it is in the run, or start another run with --out or --overwrite"
    messages = [
        Diagnostic(
            f"{folder} cannot be resumed: {name} is {_text(before, after)} in the run and {_text(after, before)} now",
            hint,
        )
        for name, (before, after) in list(refused.items())[:most]
    ]
    more = len(refused) - most
    return (
        [*messages, Diagnostic(f"{folder} cannot be resumed: {more} more settings differ", hint)]
        if more > 0
        else messages
    )


def architecture_of(settings: dict[str, Any], where: str) -> Architecture:
    """Return the architecture of settings that a run or a checkpoint holds.

    Raises
    ------
    EpgraphError
        If they use a name that is not registered, e.g. an activation of a plugin.
    """
    try:
        return Architecture.model_validate(settings)
    except ValidationError as error:
        problems = [explain(details) for details in error.errors(include_url=False)]
        hint = "give the plugin that it was trained with"
        raise EpgraphError(Diagnostic(f"{where}: {d.message}", hint, d.at) for d in problems) from None


def flat(value: Any, at: Location = ()) -> dict[Location, Any]:
    """Flatten nested mappings and lists of mappings: location → value."""
    if isinstance(value, dict) and value and at not in _WHOLE:
        entries: Any = value.items()
    elif isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value):
        entries = enumerate(value)
    else:
        return {at: value}
    return {place: leaf for key, inner in entries for place, leaf in flat(inner, (*at, key)).items()}


def _put(settings: Any, at: Location, value: Any) -> None:
    """Set the value at a location, which may be new; None removes it."""
    for key in at[:-1]:
        settings = settings[key] if isinstance(key, int) else settings.setdefault(key, {})
    if value is None:
        settings.pop(at[-1], None)
    else:
        settings[at[-1]] = value


def _text(value: Any, other: Any) -> str:
    if isinstance(value, dict) and not (isinstance(other, dict) and value.keys() == other.keys()):
        return ", ".join(value)  # an optimizer, without its options
    return "not given" if value is None else str(value)[:100]

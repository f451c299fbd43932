"""Cascade of defaults: the file's, then the block's, the instance's, and the keys of the state or edge."""

from __future__ import annotations

from typing import Any

from epgraph.errors import Diagnostic, Location
from epgraph.kinds import KINDS
from epgraph.language.document import Origin, Values
from epgraph.language.expand.context import ExpansionContext
from epgraph.language.expand.expression import UNKNOWN
from epgraph.language.expand.frames import Cascade, Frame
from epgraph.language.model import DefaultsSpec, EdgeBase, StateSpec
from epgraph.language.validate import describe


def read_defaults(
    context: ExpansionContext,
    given: Any,
    at: Location,
    scope: dict[str, Any],
    frame: Frame | None,
    trail: tuple[str, ...] = (),
) -> Cascade:
    """Read a section ``defaults``: keys of states and edges, and options of a kind under its name."""
    cascade = Cascade()
    if not isinstance(given, dict):
        return cascade
    known = [*DefaultsSpec.model_fields, *KINDS]
    for key, value in given.items():
        here = (*at, key)
        if key not in known:
            context.report(
                Diagnostic(
                    f"unknown key '{key[:64]}'",
                    context.budget.nearest(key, known, "defaults"),
                    here,
                    True,
                    rule="unknown-key",
                ),
                frame,
            )
            continue
        value = context.resolve(value, here, scope, frame)
        if value is UNKNOWN:
            cascade.broken.add(key)
        elif key in KINDS:
            options = {} if value is None else value
            cascade.kinds[key] = _options(context, key, options, here, frame, trail)
            if not isinstance(options, dict) or len(cascade.kinds[key]) != len(options):
                cascade.broken.add(key)
        else:
            cascade.keys[key] = (value, Origin(context.source, here, trail, _given(context, frame)))
    return cascade


def _given(context: ExpansionContext, frame: Frame | None) -> Values | None:
    return frame.parameter_origins if frame else context.origins[()].parameters


def _options(
    context: ExpansionContext, kind: str, options: Any, at: Location, frame: Frame | None, trail: tuple[str, ...]
) -> dict[str, tuple[Any, Origin]]:
    if not isinstance(options, dict):
        found = f"'{kind}' expects a mapping of keys to values, found {describe(options)}"
        context.report(Diagnostic(found, f"its options, e.g. {kind}: {{…}}", at, rule="wrong-type"), frame)
        return {}
    known = [f.alias or name for name, f in KINDS[kind].model_fields.items()]
    good = {}
    for option, value in options.items():
        here = (*at, option)
        if option in known:
            good[option] = (value, Origin(context.source, here, trail, _given(context, frame)))
        else:
            wrong = Diagnostic(
                f"unknown key '{option[:64]}'",
                context.budget.nearest(option, known, kind),
                here,
                True,
                rule="unknown-key",
            )
            context.report(wrong, frame)
    return good


def add_defaults(context: ExpansionContext, entry: dict[str, Any], flat: Location, frame: Frame) -> None:
    """Fill in the defaults of the frame for keys that a state or an edge does not have."""
    fields = StateSpec.model_fields if flat[0] == "states" else EdgeBase.model_fields
    for key, (value, origin) in frame.cascade.keys.items():
        if key in fields and entry.get(key) is None:
            entry[key] = value
            context.origins[(*flat, key)] = origin
    for kind, options in frame.cascade.kinds.items():
        given = entry.get(kind, False)
        if flat[0] != "edges" or not (given is None or isinstance(given, dict)):
            continue
        entry[kind] = dict(given or {})
        for option, (value, origin) in options.items():
            if option not in entry[kind]:
                entry[kind][option] = value
                context.origins[(*flat, kind, option)] = origin

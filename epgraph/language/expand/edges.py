"""Edges of the file and of instances → the flat form: resolve names, expand patterns."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any

from epgraph.errors import Diagnostic, Location
from epgraph.kinds import KINDS
from epgraph.language.document import Origin
from epgraph.language.expand.context import ExpansionContext
from epgraph.language.expand.defaults import add_defaults
from epgraph.language.expand.expression import UNKNOWN
from epgraph.language.expand.frames import BROKEN, Broken, Frame, MadeEdge
from epgraph.language.expand.instances import IN, NUMBERS, find
from epgraph.language.expand.limits import TooMuchError
from epgraph.language.sugar import PatternSpec
from epgraph.language.validate import describe

PATTERN_KEYS = ("among", "apart", "except")
"""Keys that only a pattern has."""

_ENDS = ("from", "to", "at")
_GLOB = re.compile(r"[*?\[]")
_FORBIDDEN = "an edge of a block joins its own states and ports; reach out of it through a port: ports: [other]"


class Selected(list[str]):
    """Flat names of the selected states.

    Attributes
    ----------
    plain
        Whether the selection is a single name, not a list, a group or a pattern.
    said
        Flat name → name as written in the frame.
    """

    plain = False

    def __init__(self, names: Iterable[str] = (), said: dict[str, str] | None = None) -> None:
        super().__init__(names)
        self.said = said or {}


@dataclass(frozen=True)
class _Pairs:
    """Flat names of the ends of an entry's edges; ``said`` maps them, for each end, to names in the frame."""

    ends: list[dict[str, str]]
    said: dict[str, dict[str, str]]


def connect(context: ExpansionContext, groups: dict[str, Any], frame: Frame) -> None:
    """Add the edges of the instances in a frame, in order, and then its own edges."""
    for child in frame.children:
        _bind(context, child)
        connect(context, groups, child)
    edges = frame.spec.edges if frame.spec is not None else context.data.get("edges")
    for index, entry in enumerate(edges if isinstance(edges, list) else ()):
        at = (*frame.at, "edges", index)
        try:
            _edge(context, groups, frame, entry, at)
        except TooMuchError as error:
            raise TooMuchError(str(error), error.at or at) from None


def _bind(context: ExpansionContext, frame: Frame) -> None:
    """Resolve the ports of an instance to states."""
    parent = frame.parent
    assert parent is not None
    bound = {IN: (frame.bindings["from"], (*frame.instance, "from"))} if frame.before is None else {}
    for name, value in frame.bindings["ports"].items():
        bound[name] = (value, (*frame.instance, "ports", name))
    if frame.before is not None:
        frame.ports[IN] = frame.before.out
    numbers: dict[str, Any] = {name: frame.scope[name] for name in NUMBERS if name in frame.scope}
    for name, (value, at) in bound.items():
        if value is None:
            continue
        value = context.resolve(value, at, {**parent.scope, **numbers}, parent)
        frame.ports[name] = BROKEN
        if value is UNKNOWN:
            continue
        if not isinstance(value, str):
            found = f"'{name}' expects the name of a state, found {describe(value)}"
            context.report(Diagnostic(found, "", at, rule="wrong-type"), parent)
            continue
        frame.ports[name] = _meant(context, parent, value, at, "from" if name == IN else name) or BROKEN


def _meant(context: ExpansionContext, frame: Frame, name: str, at: Location, key: str) -> str | Broken | None:
    """Return the flat name of the state behind a name; report an unknown name and return None."""
    if name in frame.ports:
        port = frame.ports[name]
        if port is None:
            how = "from: …" if name == IN else f"ports: {{{name}: …}}"
            found = f"the port '{name}' of block '{frame.block}' is bound to no state"
            context.report(
                Diagnostic(found, f"write {how} at the instance", frame.instance, True, rule="block"), frame.parent
            )
            frame.ports[name] = port = BROKEN
        return port
    found_state = find(frame, name)
    if isinstance(found_state, Frame):
        if found_state.spec is not None and not found_state.spec.states:
            found = f"'{key}' names no state: block '{found_state.block}' of '{name[:64]}' has none"
            context.report(Diagnostic(found, "name a state", at, rule="unknown-state"), frame)
            return None
        return found_state.out
    if found_state is not None:
        assert isinstance(found_state, str | Broken)
        return found_state
    if frame.spec is None and name in context.ends:
        return name
    if any(
        member is BROKEN and re.match(rf"{re.escape(part)}\d*([._]|$)", name) for part, member in frame.members.items()
    ):
        return BROKEN
    known = chain(frame.ports, frame.members, frame.reach, context.ends if frame.spec is None else ())
    hint = context.budget.nearest(name, known, frame.at)
    if name.partition(".")[0] in frame.empty:
        hint = f"the row '{name.partition('.')[0][:64]}' has no instances: repeat: 0"
    elif frame.spec is not None and not hint.startswith("did you mean"):
        hint = f"{hint}; {_FORBIDDEN}"
    context.report(Diagnostic(f"'{key}' names no state: '{name[:64]}'", hint, at, rule="unknown-state"), frame)
    return None


def read_groups(context: ExpansionContext, frame: Frame) -> dict[str, Any]:
    """Return the states of every group; None for one that is broken."""
    given = context.data.get("groups")
    if given is None:
        return {}
    if not isinstance(given, dict):
        found = f"'groups' expects a mapping of names to states, found {describe(given)}"
        context.report(Diagnostic(found, "e.g. groups: {late: [h3, h4]}", ("groups",), rule="wrong-type"))
        return {}
    groups: dict[str, Any] = {}
    open_groups: list[str] = []

    def read(name: str) -> None:
        at: Location = ("groups", name)
        if name in open_groups:
            circle = " → ".join([*open_groups[open_groups.index(name) :], name])
            message = f"group '{name}' contains itself: {circle}"
            context.report(Diagnostic(message, "leave it out", at, rule="recursion"))
            groups[name] = None
            return
        open_groups.append(name)
        if name in frame or name in context.ends:
            found = f"duplicate name '{name[:64]}': a state has it"
            context.report(Diagnostic(found, "choose another name for the group", at, True, rule="duplicate-name"))
        value = context.resolve(given[name], at, frame.scope, frame)
        good = _is_selection(value)
        if not good and value is not UNKNOWN:
            message = f"'{name[:64]}' expects names of states, found {describe(value)}"
            context.report(Diagnostic(message, "e.g. [h1, h2] or h*.b", at, rule="wrong-type"))
        if good:
            for part in [value] if isinstance(value, str) else value:
                if part in given and part not in groups:
                    if len(open_groups) > 100:
                        raise TooMuchError("groups inside one another, deeper than 100 levels", at)
                    read(part)
        if name not in groups:
            groups[name] = _select(context, groups, frame, value, at, name) if good else None
        open_groups.pop()

    for name in given:
        if name not in groups:
            read(name)
    return groups


def _is_selection(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(part, str) for part in value))


def _select(
    context: ExpansionContext, groups: dict[str, Any], frame: Frame, value: str | list[str], at: Location, key: str
) -> Selected | None:
    """Return the flat names of a selection, in order and without repetition; None if one is wrong or broken."""
    found: dict[str, str] = {}
    good, plain = True, isinstance(value, str)
    for index, text in enumerate([value] if isinstance(value, str) else value):
        here = at if isinstance(value, str) else (*at, index)
        if frame.spec is None and text in groups:
            plain = False
            good = good and groups[text] is not None
            members = groups[text].said if groups[text] else {}
            found |= {flat: said for flat, said in members.items() if flat not in found}
        elif _GLOB.search(text):
            plain = False
            context.budget.step(len(frame.reach))
            match = re.compile(fnmatch.translate(text)).match
            outputs = {flat for dotted, flat in frame.outputs().items() if match(dotted)}
            matched = [
                flat
                for dotted, flat in frame.reach.items()
                if match(dotted) or match(flat[len(frame.prefix) :]) or flat in outputs
            ]
            if not matched and good and not _any_broken(frame):
                hint = f"states are called e.g. {', '.join(list(frame.reach)[:4])}" if frame.reach else ""
                context.report(Diagnostic(f"'{text[:64]}' matches no state", hint, here, rule="pattern"), frame)
            good = good and bool(matched)
            found |= {flat: frame.reach_flat[flat] for flat in matched if flat not in found}
        else:
            state = _meant(context, frame, text, here, key)
            if isinstance(state, str):
                found.setdefault(state, text)
            else:
                good = False
    if good and not found:
        context.report(Diagnostic(f"'{key}' names no state", "name one, or a list of them", at, rule="pattern"), frame)
        return None
    selected = Selected(found, found)
    selected.plain = plain
    return selected if good else None


def _any_broken(frame: Frame) -> bool:
    return any(m is BROKEN or (isinstance(m, Frame) and _any_broken(m)) for m in frame.members.values())


def _edge(context: ExpansionContext, groups: dict[str, Any], frame: Frame, raw: Any, at: Location) -> None:
    if not isinstance(raw, dict):
        # The checks of the flat form report this.
        _put(context, frame, raw, at)
        return
    entry = context.resolve(raw, at, frame.scope, frame)
    if entry is UNKNOWN or frame.cascade.broken & set(entry):
        return
    keys = {key: entry[key] for key in (*_ENDS, *PATTERN_KEYS) if entry.get(key) is not None}
    texts = all(_is_selection(value) for key, value in keys.items() if key != "apart")
    wanted = any(key in entry for key in PATTERN_KEYS) or not texts
    if wanted and context.check(PatternSpec, keys, at, frame) is None:
        return
    if "among" in keys:
        made = _among(context, groups, frame, keys, at)
    else:
        if "apart" in keys:
            found = "'apart' is a key of patterns with 'among'"
            hint = "write among: [h1, h2, h3] in place of from and to"
            context.report(Diagnostic(found, hint, (*at, "apart"), True, rule="pattern"), frame)
            return
        made = _products(context, groups, frame, keys, at)
    if made is None:
        return
    pairs = made.ends
    rest = {key: value for key, value in entry.items() if key not in (*_ENDS, *PATTERN_KEYS)}
    if len(pairs) > 1 and rest.get("name") is not None:
        found = f"one name for {len(pairs)} edges: '{str(rest['name'])[:64]}'"
        hint = "leave it out: each is called '<from>_<to>'"
        context.report(Diagnostic(found, hint, (*at, "name"), rule="pattern"), frame)
        return
    if frame.spec is not None or len(pairs) > 1:
        context.budget.make(len(pairs))
    for pair in pairs:
        more = (f"{' → '.join(pair.values())}, one of {len(pairs)} edges of a pattern",) if len(pairs) > 1 else ()
        _put(context, frame, {**pair, **rest}, at, more, {key: made.said[key][name] for key, name in pair.items()})


def _products(
    context: ExpansionContext, groups: dict[str, Any], frame: Frame, keys: dict[str, Any], at: Location
) -> _Pairs | None:
    """Pair every 'from' with every 'to', or take every 'at'; checks of the flat form report wrong combinations."""
    chosen: dict[str, Selected] = {}
    failed = False
    for key in _ENDS:
        if key in keys:
            found = _select(context, groups, frame, keys[key], (*at, key), key)
            failed = failed or found is None
            chosen[key] = found or Selected()
    left_out = _left_out(context, groups, frame, keys, at)
    if failed or left_out is None:
        return None
    plain = all(found.plain for found in chosen.values())
    pairs: list[dict[str, str]] = [{}]
    for key, names in chosen.items():
        kept = [name for name in names if name not in left_out]
        if len(pairs) * len(kept) > context.budget.left:
            context.budget.make(len(pairs) * len(kept))
        pairs = [{**pair, key: name} for pair in pairs for name in kept]
    if not plain:
        pairs = [pair for pair in pairs if len(pair) == 1 or len(set(pair.values())) > 1]
    if not pairs:
        found_none = "the pattern makes no edge: no states remain without equal ends and exceptions"
        context.report(Diagnostic(found_none, "name other states", at, rule="pattern"), frame)
        return None
    return _Pairs(pairs, {key: names.said for key, names in chosen.items()})


def _left_out(
    context: ExpansionContext, groups: dict[str, Any], frame: Frame, keys: dict[str, Any], at: Location
) -> Selected | None:
    if "except" not in keys:
        return Selected()
    return _select(context, groups, frame, keys["except"], (*at, "except"), "except")


def _among(
    context: ExpansionContext, groups: dict[str, Any], frame: Frame, keys: dict[str, Any], at: Location
) -> _Pairs | None:
    """All pairs of states, from the earlier to the later in the order of declaration."""
    wrong = [key for key in _ENDS if key in keys]
    if wrong:
        found = f"an edge has 'among', or 'from' and 'to', found 'among' and '{wrong[0]}'"
        context.report(Diagnostic(found, "keep one of them", (*at, wrong[0]), True, rule="conflicting-keys"), frame)
        return None
    names = _select(context, groups, frame, keys["among"], (*at, "among"), "among")
    left_out = _left_out(context, groups, frame, keys, at)
    if names is None or left_out is None:
        return None
    # States outside the block come first, as the input does; the output comes last.
    order = {name: i for i, name in enumerate((*frame.reach_flat, context.ends[1]))}
    ordered = sorted((name for name in names if name not in left_out), key=lambda name: order.get(name, -1))
    apart = keys.get("apart")
    steps = sorted({apart} if isinstance(apart, int) else set(apart)) if apart else range(1, len(ordered))
    number = sum(max(0, len(ordered) - step) for step in steps)
    if number > context.budget.left:
        context.budget.make(number)
    pairs = [
        {"from": ordered[i], "to": ordered[i + step]}
        for i in range(len(ordered))
        for step in steps
        if i + step < len(ordered)
    ]
    if not pairs:
        many = f"{len(ordered)} state{'s' * (len(ordered) != 1)}"
        far = f" that are {listed_numbers(steps)} apart" if apart else ""
        context.report(
            Diagnostic(f"the pattern makes no edge: no two of {many}{far}", "name more states", at, rule="pattern"),
            frame,
        )
        return None
    return _Pairs(pairs, {"from": names.said, "to": names.said})


def listed_numbers(numbers: Any) -> str:
    """Write numbers as ``2 or 3``."""
    return " or ".join(str(number) for number in list(numbers)[:4])


def _put(
    context: ExpansionContext,
    frame: Frame,
    entry: Any,
    at: Location,
    trail: tuple[str, ...] = (),
    said: dict[str, str] | None = None,
) -> None:
    """Add an edge to the flat form; ``said`` has the names of its ends in the frame."""
    flat: Location = ("edges", len(context.edges))
    context.origins[flat] = Origin(context.source, at, (*trail, *frame.trail), frame.parameter_origins)
    context.edges.append(entry)
    if not isinstance(entry, dict):
        return
    add_defaults(context, entry, flat, frame)
    name = entry.get("name") if isinstance(entry.get("name"), str) else None
    frame.edges.append(MadeEdge(len(context.edges) - 1, name, _unnamed(entry, said or {})))
    if name is not None:
        entry["name"] = frame.prefix + name


def _unnamed(entry: dict[str, Any], ends: dict[str, str]) -> str:
    """Default name of an edge, from the names of its ends in the frame."""
    kind = next((kind for kind in KINDS if kind in entry), "")
    return f"{ends['at']}_{kind}" if "at" in ends else f"{ends.get('from')}_{ends.get('to')}"

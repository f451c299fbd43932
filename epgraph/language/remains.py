"""What is left of a network without its faulty parts, so that the rest is checked at the same time.

Only mistakes that no correction of the faulty parts can remove may be found in it. So an edge with a faulty kind or end
is left out, and where the shape of a state is at fault, nothing about shapes follows from that state. A value whose
correction is certain, such as a number in quotes, is taken as corrected.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from epgraph.errors import Location
from epgraph.language.model import Architecture
from epgraph.language.reader import plain_scalar

TAGS = ("<flag>", "<options>", "<number>", "<pair>", "<word>")
"""Parts of pydantic's locations that are no keys of the file."""

_NAMES = (("states",), ("input", "name"), ("output", "name"))

_SHAPELESS: dict[str, tuple[str, dict[str, Any]]] = {
    "input": ("x", {"shape": [1]}),
    "output": ("y", {"classes": 1}),
}
"""Section → default name, and settings in place of a faulty shape."""

_SHAPES = ("shape", "channels", "classes")
_APART = ("gain", "learning_rate", "weight_decay", "frozen", "tie")
"""Keys of an edge on which neither names nor shapes depend."""

_BOOLEANS = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}


def place(error: ErrorDetails) -> Location:
    """Return the location in the file of a pydantic error."""
    return tuple(part for part in error["loc"] if part not in TAGS)


def meant(kind: str, value: object) -> bool | int | float | None:
    """Return the number or boolean that a value certainly means, where ``kind`` is the type of pydantic's error."""
    if kind in ("int_type", "int_from_float") and isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, str):
        return None
    if kind == "bool_type":
        return _BOOLEANS.get(value.lower())
    if kind not in ("int_type", "float_type", "finite_number"):
        return None
    try:
        read = plain_scalar(value.strip())
    except ValueError:
        return None
    numbers = (int,) if kind == "int_type" else (int, float)
    return read if isinstance(read, numbers) and not isinstance(read, bool) else None


def remains(data: dict[str, Any], details: Sequence[ErrorDetails]) -> Architecture | None:
    """Return the network without its faulty parts; None if too little remains."""
    corrected = {place(d): value for d in details if (value := meant(d["type"], d["input"])) is not None}
    rest = [d for d in details if place(d) not in corrected]
    return _left(data, rest, corrected) or (_left(data, details, {}) if corrected else None)


def _left(data: dict[str, Any], details: Sequence[ErrorDetails], corrected: dict[Location, Any]) -> Architecture | None:
    # Without the names of states, the ends of edges cannot be checked.
    places = {place(d) for d in details}
    if any(at in places for at in _NAMES) or any((end,) in places and not _has_keys(data, end) for end in _SHAPELESS):
        return None
    left = copy.deepcopy(data)
    for at, value in corrected.items():
        parent = _parent(left, at)
        if parent is not None:
            parent[at[-1]] = value
    shapeless: set[str] = set()
    edges: set[int] = set()
    for error in details:
        at = place(error)
        if at[:1] == ("edges",) and len(at) >= 2 and not _is_apart(error, at):
            edges.add(int(at[1]))
            continue
        if at[0] in _SHAPELESS and (len(at) == 1 or at[1] in _SHAPES):
            name, shape = _SHAPELESS[at[0]]
            left[at[0]] = {key: value for key, value in left[at[0]].items() if key not in _SHAPES} | shape
            shapeless.add(left[at[0]].get("name", name))
            continue
        if at[:1] == ("states",) and (len(at) == 2 or at[2] in _SHAPES):
            left["states"][at[1]] = {}
            shapeless.add(str(at[1]))
            continue
        parent = _parent(left, at)
        if isinstance(parent, dict):
            parent.pop(at[-1], None)
    left["edges"] = [edge for i, edge in enumerate(left["edges"]) if i not in edges] if edges else left.get("edges")
    try:
        architecture = Architecture.model_validate(left)
    except ValidationError as error:
        # Some mistakes show only once others are gone: an output with an unknown key may lack its classes, too.
        more = [d for d in error.errors(include_url=False) if place(d) not in places]
        if not more or any(d["loc"][:1] == ("edges",) for d in more):
            return None
        return _left(data, [*details, *more], corrected)
    architecture._dropped_edges, architecture._shapeless, architecture._partial = edges, frozenset(shapeless), True
    return architecture


def _is_apart(error: ErrorDetails, at: Location) -> bool:
    """Whether an edge without the faulty key has the same ends and the same effect on shapes."""
    # With a misspelled option of its kind, the effect is unknown.
    unknown = error["type"] == "extra_forbidden" and len(at) == 3
    return unknown or (len(at) > 2 and at[2] in _APART)


def _has_keys(data: dict[str, Any], section: str) -> bool:
    return isinstance(data.get(section), dict)


def _parent(data: Any, at: Location) -> Any:
    """Return the mapping or list that holds the value at a location; None where there is none."""
    for part in at[:-1]:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data if at and isinstance(data, dict | list) else None

"""Origins of parameter values, so that an error in a value names the line that gives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from epgraph.errors import Diagnostic, Location
from epgraph.language.document import Document
from epgraph.language.expand.expression import arithmetic_in, names_in

_OF_VALUES = ("wrong-type", "out-of-range", "unknown-value", "wrong-length", "not-a-name", "activation")
_MOST = 4


@dataclass(frozen=True)
class ParameterOrigins:
    """Places of the values that the parameters of a frame have.

    Attributes
    ----------
    places
        Name of a parameter → the location of its value, the origins for parameters in that value, and whether all
        instances of a row share the value.
    outer
        The origins of the file's parameters, if these are a block's.
    """

    places: Mapping[str, tuple[Location, ParameterOrigins | None, bool]] = field(default_factory=dict)
    outer: ParameterOrigins | None = None

    def find(self, name: str) -> tuple[Location, ParameterOrigins | None, bool] | None:
        """Return the origin of a parameter, or None."""
        return self.places.get(name) or (self.outer.find(name) if self.outer else None)

    def explain(self, document: Document, diagnostic: Diagnostic) -> Diagnostic:
        """Add to a diagnostic the origins of the parameters in the offending value, or a hint for ``$`` expressions."""
        if diagnostic.rule not in _OF_VALUES:
            return diagnostic
        text = _written(document.data, diagnostic.at)
        if not isinstance(text, str):
            return diagnostic
        if "$" not in text:
            named = self.find(text) is not None and f"text '{text}'" in diagnostic.message
            return replace(diagnostic, hint=f"write ${text} for the parameter") if named else diagnostic
        meant = arithmetic_in(text)
        if meant is not None and "found text" in diagnostic.message:
            diagnostic = replace(diagnostic, hint=f"write {meant}")
        trail: list[str] = []
        level: list[tuple[ParameterOrigins | None, str]] = [(self, text)]
        while level and len(trail) < _MOST:
            scope, text = level.pop()
            for name in sorted(names_in(text)):
                found = scope.find(name) if scope else None
                if found is None:
                    continue
                at, inside, row = found
                place = document.locate(Diagnostic("", at=at))
                where = ":".join(str(part) for part in (place.file, place.line, place.column) if part is not None)
                trail.append(f"${name} is given at {where}")
                value = _written(document.data, at)
                if row and "found a list" in diagnostic.message:
                    each = value if isinstance(value, str) else "[…]"
                    hint = f"to give one value to each instance write {name}: {{each: {each}}}"
                    diagnostic = replace(diagnostic, hint=hint)
                if isinstance(value, str) and "$" in value:
                    level.append((inside, value))
        return replace(diagnostic, trail=(*diagnostic.trail, *trail))


def _written(data: Any, at: Location) -> Any:
    """Return the value at a location, or the expression around it."""
    for part in at:
        inside = isinstance(data, dict) and part in data
        if not inside and not (isinstance(data, list) and isinstance(part, int) and part < len(data)):
            break
        data = data[part]
    return data

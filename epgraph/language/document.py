"""The values of a YAML file, and where each of them comes from: a position, or a place in another document."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from epgraph.errors import Diagnostic, Location
from epgraph.source import Mark, Source


class Values(Protocol):
    """Knows where the values of parameters stand."""

    def explain(self, document: Document, diagnostic: Diagnostic) -> Diagnostic:
        """Add to a diagnostic at a place of a document where the values in what stands there come from."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value of an expanded or merged document comes from: a place in another one, and how it got there."""

    document: Document
    at: Location
    trail: tuple[str, ...] = ()
    parameters: Values | None = None
    """Where the values of the parameters that count there stand."""


@dataclass
class Document:
    """Plain values of a YAML file with the positions they came from.

    Attributes
    ----------
    data
        The value: dicts, lists, text, numbers, booleans, None.
    values, keys
        Position of the value, and of the key, at each location.
    problems
        Mistakes that did not stop the parse (duplicate keys).
    assigned
        Locations whose value was set from outside (``--set``), and what to call that place.
    ends
        Where the text that begins at a position ends: that of a key where a block mapping begins with it.
    source
        The text itself.
    origins
        What other documents the values at and below a location come from, where this one was made of others.
    partial
        Whether parts at fault were left out, so that nothing follows from what is missing.
    headless
        Whether the input or the output is among them, so that nothing can be said about ends and shapes.
    """

    name: str
    data: Any
    values: dict[Location, Mark] = field(default_factory=dict)
    keys: dict[Location, Mark] = field(default_factory=dict)
    problems: list[Diagnostic] = field(default_factory=list)
    assigned: dict[Location, str] = field(default_factory=dict)
    ends: dict[Mark, Mark] = field(default_factory=dict)
    source: Source | None = None
    origins: dict[Location, Origin] = field(default_factory=dict)
    partial: bool = False
    headless: bool = False

    def locate(self, diagnostic: Diagnostic) -> Diagnostic:
        """Give a diagnostic the position of its location, or of the nearest enclosing one."""
        if diagnostic.file is not None:
            return diagnostic
        at = diagnostic.at
        for depth in range(len(at), 0, -1):
            if at[:depth] in self.assigned:
                return diagnostic.located(self.assigned[at[:depth]], None, None)
        for assigned, place in self.assigned.items():
            # A name that an assignment brought into being stands nowhere in the file.
            if at and assigned[: len(at)] == at and not self._stands(at):
                return diagnostic.located(place, None, None)
        nearest = self._origin(at)
        if nearest is not None:
            origin, depth = nearest
            moved = replace(diagnostic, at=(*origin.at, *at[depth:]))
            if origin.parameters is not None:
                moved = origin.parameters.explain(origin.document, moved)
            return origin.document.locate(replace(moved, trail=(*moved.trail, *origin.trail)))
        if diagnostic.on_key and at in self.keys:
            return self.point(diagnostic, self.keys[at])
        while at not in self.values and at:
            at = at[:-1]
        if not at:
            # The whole file: there is nothing to underline.
            return diagnostic.located(self.name, *self.values.get((), (1, 1)), source=self.source)
        return self.point(diagnostic, self.values[at])

    def _stands(self, at: Location) -> bool:
        """Whether a location stands in this file, or in one that this was made of."""
        if at in self.values:
            return True
        nearest = self._origin(at)
        return nearest is not None and nearest[0].document._stands((*nearest[0].at, *at[nearest[1] :]))

    def _origin(self, at: Location) -> tuple[Origin, int] | None:
        """Return the origin of a location or of the nearest enclosing one that has one, and how deep that is."""
        for depth in range(len(at), -1 if self.origins else len(at), -1):
            if at[:depth] in self.origins:
                return self.origins[at[:depth]], depth
        return None

    def place(self, at: Location) -> tuple[str, Location]:
        """Return the file and the location there of what stands at a location: one for all instances of a block."""
        nearest = self._origin(at)
        return (self.name, at) if nearest is None else nearest[0].document.place((*nearest[0].at, *at[nearest[1] :]))

    def included(self, at: Location) -> bool:
        """Whether what stands at a location comes from a file that this one includes."""
        return self.place(at)[0] != self.name

    def point(self, diagnostic: Diagnostic, mark: Mark) -> Diagnostic:
        """Give a diagnostic a position in this file, with the end of the text that begins there."""
        return diagnostic.located(self.name, *mark, self.ends.get(mark), self.source)

    def written(self, at: Location) -> Any:
        """Return the value at a location as it stands where it comes from; None where nothing does."""
        for depth in range(len(at), -1, -1):
            origin = self.origins.get(at[:depth])
            if origin is not None:
                return origin.document.written((*origin.at, *at[depth:]))
        value = self.data
        for part in at:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return None
        return value

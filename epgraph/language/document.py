"""Values of a YAML file with their origins: the nodes of its text, or locations in other documents."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from epgraph.errors import Diagnostic, Location
from epgraph.source import Mark, Source


@dataclass(slots=True)
class Node:
    """A value, or a key, as it stands in a file; aliases share the content of their anchor.

    Attributes
    ----------
    mark, end
        Where it begins, and where it ends if that is known: a mapping without braces ends after its first key. An end
        at the beginning, as of an empty value, is none.
    scalar, items, entries
        Its content: one of the three. ``entries`` has the nodes of each key and its value.
    repeated
        Keys that were there already; their values are not read.
    size, height
        Number of values and of levels, with aliases expanded.
    key
        Key of an open mapping whose value comes next.
    """

    mark: Mark
    end: Mark | None = None
    scalar: Any = None
    items: list[Node] | None = None
    entries: dict[str, tuple[Node, Node]] | None = None
    repeated: list[Node] | None = None
    size: int = 1
    height: int = 1
    key: Node | None = None

    def __post_init__(self) -> None:
        if self.end == self.mark:
            self.end = None


class Values(Protocol):
    """Knows the origins of parameter values."""

    def explain(self, document: Document, diagnostic: Diagnostic) -> Diagnostic:
        """Add to a diagnostic the origins of the parameters in the offending value."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Origin of a value of an expanded or merged document: its location in another document, and the trail to it."""

    document: Document
    at: Location
    trail: tuple[str, ...] = ()
    parameters: Values | None = None
    """Origins of the parameters in scope there."""
    instance: str = ""
    """Dotted name of the instance of a block that it is a part of; empty for a part of the file."""


@dataclass
class Document:
    """Plain values of a YAML file with their positions.

    Attributes
    ----------
    data
        The value: dicts, lists, text, numbers, booleans, None.
    root
        The node of the value; None in a document that was made from others.
    problems
        Mistakes that did not stop the parse (duplicate keys).
    assigned
        Locations with a value from outside (``--set``), and the name of that source.
    source
        The text itself.
    origins
        Location → origin of the value there and below, in a document that was made from others.
    partial
        Whether faulty parts were left out, so that missing parts are not reported.
    headless
        Whether the input or the output was left out, so that ends and shapes are not checked.
    """

    name: str
    data: Any
    root: Node | None = None
    problems: list[Diagnostic] = field(default_factory=list)
    assigned: dict[Location, str] = field(default_factory=dict)
    source: Source | None = None
    origins: dict[Location, Origin] = field(default_factory=dict)
    partial: bool = False
    headless: bool = False

    def locate(self, diagnostic: Diagnostic) -> Diagnostic:
        """Add to a diagnostic, and to its related ones, the position of its location.

        Where the location has none, the position is that of the nearest enclosing one.
        """
        if diagnostic.file is not None:
            return diagnostic
        if diagnostic.related:
            diagnostic = replace(diagnostic, related=tuple(self.locate(other) for other in diagnostic.related))
        at = diagnostic.at
        for depth in range(len(at), 0, -1):
            if at[:depth] in self.assigned:
                return diagnostic.located(self.assigned[at[:depth]], None, None)
        for assigned, place in self.assigned.items():
            # A name from an assignment has no position in the file.
            if at and assigned[: len(at)] == at and not self._stands(at):
                return diagnostic.located(place, None, None)
        nearest = self._origin(at)
        if nearest is not None:
            origin, depth = nearest
            moved = replace(diagnostic, at=(*origin.at, *at[depth:]))
            if origin.parameters is not None:
                moved = origin.parameters.explain(origin.document, moved)
            return origin.document.locate(replace(moved, trail=(*moved.trail, *origin.trail)))
        key, node, depth = self.find(at)
        if node is None or depth == 0:
            # The whole file is meant: nothing to underline.
            return diagnostic.located(self.name, *(node.mark if node else (1, 1)), source=self.source)
        return self.point(diagnostic, key if key and diagnostic.on_key and depth == len(at) else node)

    def find(self, at: Location) -> tuple[Node | None, Node | None, int]:
        """Return the nodes of the key and the value at a location, or at the nearest enclosing one, and its depth."""
        key, node = None, self.root
        for depth, part in enumerate(at):
            if node is not None and node.entries is not None and part in node.entries:
                key, node = node.entries[str(part)]
            elif node is not None and node.items is not None and isinstance(part, int) and part < len(node.items):
                key, node = None, node.items[part]
            else:
                return key, node, depth
        return key, node, len(at)

    def _stands(self, at: Location) -> bool:
        """Whether a location is in this file, or in one from which this document was made."""
        if self.root is not None:
            return self.find(at)[2] == len(at)
        nearest = self._origin(at)
        return nearest is not None and nearest[0].document._stands((*nearest[0].at, *at[nearest[1] :]))

    def _origin(self, at: Location) -> tuple[Origin, int] | None:
        """Return the origin of a location, or of the nearest enclosing one that has an origin, and its depth."""
        for depth in range(len(at), -1 if self.origins else len(at), -1):
            if at[:depth] in self.origins:
                return self.origins[at[:depth]], depth
        return None

    def place(self, at: Location) -> tuple[str, Location]:
        """Return the file and the location there of a value; it is the same for all instances of a block."""
        nearest = self._origin(at)
        return (self.name, at) if nearest is None else nearest[0].document.place((*nearest[0].at, *at[nearest[1] :]))

    def included(self, at: Location) -> bool:
        """Whether the value at a location comes from an included file."""
        return self.place(at)[0] != self.name

    def point(self, diagnostic: Diagnostic, node: Node) -> Diagnostic:
        """Add to a diagnostic the position and the end of a node of this file."""
        return diagnostic.located(self.name, *node.mark, node.end, self.source)

    def written(self, at: Location) -> Any:
        """Return the value at the origin of a location, or None."""
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

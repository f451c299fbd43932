"""Resolve the names of edges in ``tie``, through instances, as names of states are resolved."""

from __future__ import annotations

from epgraph.errors import Diagnostic
from epgraph.kinds import KINDS
from epgraph.language.expand.context import ExpansionContext
from epgraph.language.expand.frames import Frame
from epgraph.language.names import numbered


def tie_edges(context: ExpansionContext, root: Frame) -> None:
    """Replace the names in ties by those of the flat form; a tie may name an edge that is declared later."""
    if not any(isinstance(entry, dict) and isinstance(entry.get("tie"), str) for entry in context.edges):
        return
    flat = numbered((_text(entry, "name"), _unnamed(entry)) for entry in context.edges)
    _Ties(context, flat).frame(root)


class _Ties:
    def __init__(self, context: ExpansionContext, flat: list[str]) -> None:
        self.context = context
        self.flat = flat
        self.known = set(flat)
        self.complete = not context.failures
        self.local: dict[int, dict[str, str]] = {}

    def frame(self, frame: Frame) -> None:
        """Resolve the ties of a frame and of the instances in it."""
        for edge in frame.edges:
            entry = self.context.edges[edge.index]
            if isinstance(entry.get("tie"), str):
                wanted = entry["tie"]
                found = self.find(frame, wanted)
                if found is None and frame.spec is not None:
                    self.unknown(frame, edge.index, wanted)
                entry["tie"] = found or wanted.replace(".", "_")
        for child in frame.children:
            self.frame(child)

    def find(self, frame: Frame, wanted: str) -> str | None:
        """Return the flat name of the edge that a name means in a frame."""
        plain = wanted.replace(".", "_")
        if frame.spec is None and plain in self.known:
            return plain
        within: Frame | None = frame
        *way, last = wanted.split(".")
        # 'h1.a_b' is edge 'a_b' of h1, or the edge from h1.a to b.
        found = self.names(frame).get(plain)
        for part in way:
            member = within.members.get(part) if within is not None else None
            within = member if isinstance(member, Frame) else None
        if found is None and within is not None:
            found = self.names(within).get(last)
        if found is None:
            # The name in the flat form, within the frame or in the whole network.
            found = next((name for name in (frame.prefix + plain, plain) if name in self.known), None)
        return found

    def names(self, frame: Frame) -> dict[str, str]:
        """Return the names of the edges of a frame: name in the frame → name in the flat form."""
        if id(frame) not in self.local:
            names = numbered((edge.name, edge.unnamed) for edge in frame.edges)
            pairs = zip(names, frame.edges, strict=True)
            self.local[id(frame)] = {name.replace(".", "_"): self.flat[edge.index] for name, edge in pairs}
        return self.local[id(frame)]

    def unknown(self, frame: Frame, index: int, wanted: str) -> None:
        """Report a name of no edge, unless an earlier mistake may have removed the edge."""
        if not self.complete:
            return
        origin = self.context.origins[("edges", index)]
        inner = [f"{name}.…" for name, member in frame.members.items() if isinstance(member, Frame)]
        known = [*self.names(frame), *inner]
        hint = self.context.budget.nearest(wanted, known)
        found = f"'tie' names no edge: '{wanted[:64]}'"
        self.context.report(Diagnostic(found, hint, (*origin.at, "tie"), rule="tie"), frame)


def _unnamed(entry: object) -> str:
    kind = next((kind for kind in KINDS if isinstance(entry, dict) and kind in entry), "")
    at = _text(entry, "at")
    return f"{_text(entry, 'from')}_{_text(entry, 'to')}" if at is None else f"{at}_{kind}"


def _text(entry: object, key: str) -> str | None:
    value = entry.get(key) if isinstance(entry, dict) else None
    return value if isinstance(value, str) else None

"""Names of edges: those that ``tie`` says, resolved through instances as the names of states are."""

from __future__ import annotations

from epgraph.errors import Diagnostic
from epgraph.kinds import KINDS
from epgraph.language.expand.context import ExpansionContext
from epgraph.language.expand.frames import Frame
from epgraph.language.names import numbered


def tie_edges(context: ExpansionContext, root: Frame) -> None:
    """Turn the names that ties use into those of the flat form; an edge that one names may stand below it."""
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
        # What is called 'h1.a_b' is edge 'a_b' of h1, or the edge from h1.a to b.
        found = self.names(frame).get(plain)
        for part in way:
            member = within.members.get(part) if within is not None else None
            within = member if isinstance(member, Frame) else None
        if found is None and within is not None:
            found = self.names(within).get(last)
        if found is None:
            # As the flat form has it, within the frame or in all.
            found = next((name for name in (frame.prefix + plain, plain) if name in self.known), None)
        return found

    def names(self, frame: Frame) -> dict[str, str]:
        """Return the names of the edges of a frame, as it says them and in the flat form."""
        if id(frame) not in self.local:
            names = numbered((edge.name, edge.unnamed) for edge in frame.edges)
            pairs = zip(names, frame.edges, strict=True)
            self.local[id(frame)] = {name.replace(".", "_"): self.flat[edge.index] for name, edge in pairs}
        return self.local[id(frame)]

    def unknown(self, frame: Frame, index: int, wanted: str) -> None:
        """Report a name that means no edge, unless that one may have been left out."""
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

"""Origins of the states and edges of an architecture, as text."""

from __future__ import annotations

from epgraph.errors import Diagnostic, Location, visible
from epgraph.language.model import Architecture


def origins(architecture: Architecture) -> dict[Location, str]:
    """Return the origin of every state and edge: its declaration, and the instances that contain it.

    Empty for an architecture that was not read from a file.
    """
    places: list[Location] = [("states", name) for name in architecture.states]
    places += [("edges", index) for index in range(len(architecture.edges))]
    notes = {}
    for at in places:
        found = architecture.locate(Diagnostic("", at=at, on_key=at[0] == "states"))
        if found.file is not None:
            line = f":{found.line}" if found.line else ""
            notes[at] = visible(", ".join((f"{found.file}{line}", *found.trail)))
    return notes

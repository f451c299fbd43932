"""Where the states and edges of an architecture come from, for a person to read."""

from __future__ import annotations

from epgraph.errors import Diagnostic, Location, visible
from epgraph.language.model import Architecture


def origins(architecture: Architecture) -> dict[Location, str]:
    """Return, for the location of every state and edge, the place that declares it and the instances that led there.

    Empty for an architecture that came from no file.
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

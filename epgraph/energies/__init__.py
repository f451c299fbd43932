"""Energies: what a network minimises, and so how its states move and what its weights learn. No torch at import.

To add one: a class in a file beside this one and its name in ``ENERGIES``, or a class of the user's own, given to
``epgraph.register_energy``.
"""

from __future__ import annotations

from epgraph.energies.energy import Energy
from epgraph.energies.hopfield import Hopfield
from epgraph.energies.symbols import Direction, Link, Node, Symbols, Wiring

ENERGIES: dict[str, Energy] = {"hopfield": Hopfield()}
"""Every energy by its name, ``energy: NAME``."""

__all__ = ["ENERGIES", "Direction", "Energy", "Hopfield", "Link", "Node", "Symbols", "Wiring"]

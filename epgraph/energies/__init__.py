"""Energies: the function that a network minimizes, which gives the updates of states and the gradients of weights.

To add one, write a class in a file beside this one and add it to ``ENERGIES``, or pass a class of your own to
``epgraph.register_energy``. Loads no torch at import.
"""

from __future__ import annotations

from epgraph.energies.energy import Energy
from epgraph.energies.hopfield import Hopfield
from epgraph.energies.predictive import Predictive
from epgraph.energies.symbols import Direction, Link, Node, Symbols, Wiring

ENERGIES: dict[str, Energy] = {"hopfield": Hopfield(), "predictive": Predictive()}
"""Every energy by its name, ``energy: NAME``."""

__all__ = ["ENERGIES", "Direction", "Energy", "Hopfield", "Link", "Node", "Predictive", "Symbols", "Wiring"]

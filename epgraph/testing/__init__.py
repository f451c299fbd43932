"""Checks that an activation, a cost or an edge kind is what it says; the built-in ones are held to the same."""

from epgraph.testing.functions import verify_activation, verify_cost
from epgraph.testing.kinds import verify_kind

__all__ = ["verify_activation", "verify_cost", "verify_kind"]

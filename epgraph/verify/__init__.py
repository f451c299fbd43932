"""Checks that an activation, a cost or an edge kind is what it says; the built-in ones are held to the same."""

from epgraph.verify.functions import verify_activation, verify_cost
from epgraph.verify.kinds import smaller, verify_kind

__all__ = ["smaller", "verify_activation", "verify_cost", "verify_kind"]

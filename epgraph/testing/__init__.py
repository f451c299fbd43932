"""Checks that an activation, a cost or an edge kind is what it says; the built-in ones are held to the same."""

from epgraph.testing.functions import activation_shapes, cost_shapes, verify_activation, verify_cost
from epgraph.testing.kinds import shape_problems, smaller, verify_kind

__all__ = [
    "activation_shapes",
    "cost_shapes",
    "shape_problems",
    "smaller",
    "verify_activation",
    "verify_cost",
    "verify_kind",
]

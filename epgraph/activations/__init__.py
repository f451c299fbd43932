"""Activations σ, each with its self-energy G (G′ = σ⁻¹) and its action on a pair of nudged states; a family a file."""

from epgraph.activations.activation import Activation
from epgraph.activations.language import NAMED, activation_schema, activation_to_yaml, parse_activation

__all__ = ["NAMED", "Activation", "activation_schema", "activation_to_yaml", "parse_activation"]

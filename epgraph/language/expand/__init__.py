"""Expansion: sugar (includes, parameters, blocks, groups, patterns) → the flat form, which is then checked."""

from epgraph.language.expand.flatten import expand, without_repetitions
from epgraph.language.expand.include import include
from epgraph.language.expand.notes import origins

__all__ = ["expand", "include", "origins", "without_repetitions"]

"""What the language writes out before a network is checked: includes, parameters, blocks, groups and patterns."""

from epgraph.language.expand.flatten import expand, without_repetitions
from epgraph.language.expand.include import include
from epgraph.language.expand.notes import origins

__all__ = ["expand", "include", "origins", "without_repetitions"]

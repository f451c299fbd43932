"""What the language writes out before a network is checked: includes, parameters, blocks, groups and patterns."""

from epgraph.spec.expand.flatten import expand, without_repetitions
from epgraph.spec.expand.include import include
from epgraph.spec.expand.notes import origins
from epgraph.spec.expand.version import upgrade

__all__ = ["expand", "include", "origins", "upgrade", "without_repetitions"]

"""Initial parameters, one file a rule, all of them in ``INITIAL``."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from epgraph.graph import NetworkGraph
from epgraph.initialization.draw import Parameters
from epgraph.initialization.graph_aware import graph_aware
from epgraph.initialization.published import levels, published

INITIAL: dict[str, Callable[[NetworkGraph, int, Tensor | None], Parameters]] = {
    rule.__name__: rule for rule in (published, graph_aware)
}
"""Every rule by the name under which it is written in YAML: from graph, seed and a probe batch to parameters."""

__all__ = ["INITIAL", "Parameters", "levels"]

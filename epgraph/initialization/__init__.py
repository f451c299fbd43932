"""Initial parameters, one file a rule; ``epgraph.init_rules`` has the table and what each declares."""

from __future__ import annotations

from torch import Tensor

from epgraph.arguments import shown
from epgraph.errors import EpgraphError, nearest
from epgraph.graph import NetworkGraph
from epgraph.init_rules import INITIAL
from epgraph.initialization.draw import Parameters
from epgraph.initialization.published import published

__all__ = ["INITIAL", "Parameters", "initial_parameters"]


def initial_parameters(rule: str, graph: NetworkGraph, seed: int, x: Tensor | None = None) -> Parameters:
    """Draw all parameters by a rule of ``init``; those that it leaves out are drawn as published.

    Raises
    ------
    EpgraphError
        Where a registered rule draws what the network does not have, or in another shape.
    """
    drawn = INITIAL[rule](graph, seed, x)
    parameters = published(graph, seed)
    for name, value in drawn.items():
        if name not in parameters:
            raise EpgraphError(
                f"init.rule '{rule}' draws '{name}', which the network does not have",
                nearest(str(name), list(parameters)),
                "plugin",
            )
        shape = tuple(parameters[name].shape)
        if not isinstance(value, Tensor) or value.shape != shape:
            what = f"the shape {tuple(value.shape)}" if isinstance(value, Tensor) else shown(value)
            raise EpgraphError(
                f"init.rule '{rule}' draws {what} for '{name}': expected the shape {shape}", "", "plugin"
            )
    return {**parameters, **drawn}

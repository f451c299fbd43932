"""Initial parameters as published: uniform, with a gain for every edge that somebody has set."""

from __future__ import annotations

import torch
from torch import Tensor

from epgraph.graph import NetworkGraph
from epgraph.initialization.draw import Parameters, uniform


def published(graph: NetworkGraph, seed: int, x: Tensor | None = None) -> Parameters:
    """Weights in ±gain/√fan_in, biases in ±gain/√fan_in of the widest edge into the state; ``x`` is not looked at."""
    found = levels(graph, seed)
    for state in graph.states.values():
        if state.bias_shape is not None and state.bias_scale is not None:
            name = f"states.{state.name}.bias"
            found[name] = uniform(state.bias_shape, state.bias_scale, seed, name)
        if state.norm is not None:
            start = {"norm_weight": 1.0, "norm_bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
            for part, value in start.items():
                found[f"states.{state.name}.{part}"] = torch.full(state.shape[:1], value, dtype=torch.float64)
    for edge in graph.edges.values():
        if edge.weight_shape is not None and not edge.tied:
            for part in ("weight", "feedback")[: 2 if edge.untied else 1]:
                name = f"edges.{edge.name}.{part}"
                found[name] = uniform(edge.weight_shape, edge.weight_scale, seed, name)
    return found


def levels(graph: NetworkGraph, seed: int) -> Parameters:
    """Clipping levels α that are drawn, uniformly in their bounds, or learnt."""
    found = {}
    for state in graph.states.values():
        if state.activation.stored:
            low, high = state.activation.alpha_range
            name = f"states.{state.name}.alpha"
            found[name] = low + (high - low) * 0.5 * (uniform((), 1.0, seed, name) + 1)
    return found

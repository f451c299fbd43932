"""Modules that hold the parameters of edges and states, under the names of the user's choice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from epgraph.errors import EpgraphError, nearest
from epgraph.graph import NetworkGraph

NORM = {"norm_weight": True, "norm_bias": True, "running_mean": False, "running_var": False}
"""What a state with ``norm: batch`` holds, (channels,) each, and whether it is a parameter or a buffer."""


class Holder(nn.Module):
    """Holds the parameters of one edge or of one state: weight and feedback, or bias and alpha.

    Called, it returns them by name, because hooks of the module may compute one of them anew: pruning and the old
    ``torch.nn.utils.weight_norm`` do.
    """

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.shapes = {name: value.shape for name, value in values.items()}
        for name, value in values.items():
            if isinstance(value, nn.Parameter):
                self.register_parameter(name, value)
            else:
                self.register_buffer(name, value)

    def forward(self) -> dict[str, Any]:
        """Return what stands under each name: a parameter, what something else has put there, or None if it is gone."""
        return {name: getattr(self, name, None) for name in self.shapes}

    def held(self, name: str) -> Tensor | None:
        """Return one of them as it is now; None for what the edge or the state does not have."""
        value: Tensor | None = self().get(name)
        return value

    def read(self, path: str, like: Tensor) -> dict[str, Tensor]:
        """Return the parameters by their full names, ``path.weight`` …, attached to what autograd knows of them.

        Raises
        ------
        EpgraphError
            Where one has another shape than the network's, or another dtype or device than ``like``.
        """
        values = {}
        for name, value in self().items():
            shape = self.shapes[name]
            fits = isinstance(value, Tensor) and value.shape == shape
            if not fits or value.dtype != like.dtype or value.device != like.device:
                expected = _described(shape, like)
                instead = _described(value.shape, value) if isinstance(value, Tensor) else repr(value)
                raise EpgraphError(
                    f"parameter '{path}.{name}' must have {expected}; found {instead}",
                    "convert a tensor before you put it in place of a parameter",
                )
            values[f"{path}.{name}"] = value
        return values


class Holders(nn.Module):
    """Holders by names of the user's own choice: ``ModuleDict`` refuses 'values', 'type' and many more."""

    def put(self, name: str, module: nn.Module) -> None:
        """Add a module under a name, which may be any."""
        self._modules[name] = module

    def __setattr__(self, name: str, value: Any) -> None:
        # torch sets ``training``, which may be the name of a state: attributes are no modules here.
        object.__setattr__(self, name, value)

    def __getitem__(self, name: str) -> Holder:
        module = self._modules.get(name)
        if module is None:
            raise EpgraphError(f"there is no '{name}' here", nearest(str(name), list(self._modules)))
        assert isinstance(module, Holder)
        return module

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)


def hold_states(graph: NetworkGraph, initial: Mapping[str, Tensor], like: Tensor) -> Holders:
    """Biases, clipping levels and normalizations of all states, on the device and in the precision of ``like``."""
    holders = Holders()
    for state in graph.states.values():
        values: dict[str, Tensor] = {}
        if state.bias_shape is not None:
            values["bias"] = nn.Parameter(initial[f"states.{state.name}.bias"].to(like))
        if state.activation.stored:
            alpha = initial[f"states.{state.name}.alpha"].to(like)
            values["alpha"] = nn.Parameter(alpha) if state.activation.learnt else alpha
        if state.norm is not None:
            for part, learnt in NORM.items():
                value = initial[f"states.{state.name}.{part}"].to(like)
                values[part] = nn.Parameter(value) if learnt else value
        holders.put(state.name, Holder(values))
    return holders


def hold_edges(graph: NetworkGraph, initial: Mapping[str, Tensor], like: Tensor) -> Holders:
    """Weights of all edges, and feedback weights where they are untied; those of frozen edges are not trained."""
    holders = Holders()
    for edge in graph.edges.values():
        values: dict[str, Tensor] = {}
        if edge.weight_shape is not None and not edge.tied:
            for part in ("weight", "feedback")[: 1 + edge.untied]:
                value = initial[f"edges.{edge.name}.{part}"].to(like)
                values[part] = nn.Parameter(value, requires_grad=not edge.frozen)
        holders.put(edge.name, Holder(values))
    return holders


def read_all(graph: NetworkGraph, edges: Holders, states: Holders, like: Tensor) -> dict[str, Tensor]:
    """Return what stands for every parameter now, attached to what autograd knows of it.

    A parametrized or pruned one is computed here, with autocast off: once for all that is done with the values.

    Raises
    ------
    EpgraphError
        Where one does not fit ``like`` or its shape, or asks for a gradient that nobody computes.
    """
    values: dict[str, Tensor] = {}
    with torch.autocast(like.device.type, enabled=False):
        for part, holders in (("edges", edges), ("states", states)):
            for name in holders:
                values |= holders[name].read(f"{part}.{name}", like)
    for state in graph.states.values():
        level = values.get(f"states.{state.name}.alpha")
        if level is None or not level.requires_grad:
            continue
        if not state.activation.learnt:
            raise EpgraphError(
                f"the level of state '{state.name}' requires a gradient, but it is not learnt",
                "detach it, or declare the activation as {relu: …, learn: true}",
            )
        if not level.is_leaf:
            raise EpgraphError(
                f"the learnt level of state '{state.name}' is computed from other tensors; only a plain parameter "
                "can be kept positive",
                "remove the parametrization of 'alpha', or pass functional_call a leaf tensor",
            )
    return values


def _described(shape: torch.Size, like: Tensor) -> str:
    return f"shape {tuple(shape)}, dtype {str(like.dtype).removeprefix('torch.')} and device {like.device}"

"""Histograms of parameters and states for TensorBoard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from epgraph.engine import Engine

VALUES = 100_000
"""Of a larger tensor so many values are drawn, so that a histogram takes milliseconds."""

BINS = 64
"""Bins of a histogram."""


def histograms(engine: Engine, states: Mapping[str, Tensor]) -> Iterator[tuple[str, Any]]:
    """Yield the name and the values of every parameter of edges and states, and of every state.

    Names are those of ``state_dict``, as ``parameters/edges.h1->h2.weight``, and ``states/h1``. Values that are not
    finite are left out.
    """
    for name, parameter in engine.named_parameters():
        yield from _values(f"parameters/{name}", parameter)
    for name, state in states.items():
        yield from _values(f"states/{name}", state)


def _values(name: str, tensor: Tensor) -> Iterator[tuple[str, Any]]:
    flat = tensor.detach().flatten()
    if len(flat) > VALUES:
        # Drawn, because evenly spaced values of a kernel may all be of one tap. A generator of its own: the global one
        # belongs to the training.
        chosen = torch.randint(len(flat), (VALUES,), generator=torch.Generator().manual_seed(0))
        flat = flat[chosen.to(flat.device)]
    values = flat.float().cpu()
    values = values[values.isfinite()]
    if len(values):
        yield name, values.numpy()

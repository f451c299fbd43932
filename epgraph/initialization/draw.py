"""Random numbers for initial parameters: a stream for every parameter, the same on every device."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from epgraph.kinds import Shape

Parameters = dict[str, Tensor]
"""Weights, biases and levels by their names in ``state_dict``, on the CPU."""


def stream(seed: int, name: str) -> torch.Generator:
    """Return the generator of a name, so that adding an edge does not change what others draw."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))


def uniform(shape: Shape, scale: float, seed: int, name: str) -> Tensor:
    """Uniform in ±scale, in float64 on the CPU whatever the engine runs on: every device starts from the same net."""
    return (torch.rand(shape, dtype=torch.float64, generator=stream(seed, name)) * 2 - 1) * scale

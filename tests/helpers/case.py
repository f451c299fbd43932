"""A random architecture in the engine and in the oracle, and how far two tensors are apart."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import HealthCheck, settings
from torch import Tensor

import epgraph as ep
from epgraph.testing.oracle import Reference
from tests.helpers.topologies import random_batch, random_parameters

ORACLE = settings(
    deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


SWEEPS = 10


class Case:
    """An architecture with random parameters in the engine and in the oracle."""

    def __init__(self, data: dict[str, Any], seed: int = 0) -> None:
        self.architecture = ep.Architecture.model_validate(data)
        self.graph = ep.build(self.architecture)
        self.generator = torch.Generator().manual_seed(seed)
        self.x, self.y = random_batch(self.graph, self.generator)
        self.parameters = random_parameters(self.graph, self.generator)

    def engine(self, schedule: str, **options: Any) -> ep.Engine:
        engine = ep.compile(self.architecture, dtype=torch.float64, schedule=schedule, **options)
        state = engine.state_dict()
        engine.load_state_dict({**state, **self.parameters})
        return engine

    def oracle(self, engine: ep.Engine) -> Reference:
        return Reference(self.graph, engine.state_dict())


def apart(a: Tensor, b: Tensor) -> float:
    """Relative difference."""
    return float((a - b).norm() / b.norm().clamp_min(1e-300)) if b.any() else float(a.norm())

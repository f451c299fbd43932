"""Examples that a gradient is checked on."""

from __future__ import annotations

import torch
from torch import Tensor

from epgraph.data import Data
from epgraph.engine import Engine


def draw_examples(engine: Engine, data: Data | None, count: int) -> tuple[Tensor, Tensor]:
    """Draw inputs (count, *input shape) and targets by ``training.seed``.

    They are taken from the training set; without data they are noise in [0, 1], and random labels (count,) or targets
    (count, *output shape).
    """
    architecture = engine.architecture
    generator = torch.Generator().manual_seed(architecture.training.seed)
    if data is None:
        x = torch.rand((count, *engine.graph.input.shape), generator=generator)
        if architecture.output.classes is None:
            return x, torch.rand((count, *engine.graph.output.shape), generator=generator)
        return x, torch.randint(engine.graph.output.units, (count,), generator=generator)
    order = torch.randperm(len(data.train), generator=generator)[:count].tolist()
    chosen = [data.train[i] for i in order]
    return torch.stack([x for x, _ in chosen]), torch.stack([torch.as_tensor(y) for _, y in chosen])

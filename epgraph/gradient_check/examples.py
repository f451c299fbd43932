"""Examples that a gradient is checked on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from epgraph.engine import Engine


def draw_examples(engine: Engine, dataset: Any, count: int) -> tuple[Tensor, Tensor]:
    """Draw inputs (count, *input shape) and targets by ``training.seed``.

    They are taken from a data set, pairs of an input and a label or target; all of it where it has fewer. Without one
    (None) they are noise in [0, 1], and random labels (count,) or targets (count, *output shape).
    """
    architecture = engine.architecture
    generator = torch.Generator().manual_seed(architecture.training.seed)
    if dataset is None:
        x = torch.rand((count, *engine.graph.input.shape), generator=generator)
        if architecture.output.classes is None:
            return x, torch.rand((count, *engine.graph.output.shape), generator=generator)
        return x, torch.randint(engine.graph.output.units, (count,), generator=generator)
    order = torch.randperm(len(dataset), generator=generator)[:count].tolist()
    chosen = [dataset[i] for i in order]
    return torch.stack([x for x, _ in chosen]), torch.stack([torch.as_tensor(y) for _, y in chosen])

"""SGD with Nesterov momentum, a learning rate for every edge, and a cosine schedule, as published."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from epgraph.engine import Engine
from epgraph.errors import EpgraphError


def make_optimizer(engine: Engine) -> tuple[torch.optim.SGD, CosineAnnealingLR]:
    """Build the optimiser and the per-epoch schedule that ``training`` describes.

    A learning rate of 0 freezes the parameter (``requires_grad`` becomes False), as ``frozen`` does, so that neither
    weight decay nor the schedule's floor moves it. A learnt level α has the learning rate of its state's bias, and no
    weight decay: it is the end of a range, and nothing speaks for a range of zero.
    """
    training = engine.architecture.training
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter, own in _parameters(engine):
        rate = training.learning_rate if own is None else own
        if 0 < rate < training.min_learning_rate:
            raise EpgraphError(
                f"the learning rate {rate:g} of '{name}' is below training.min_learning_rate "
                f"{training.min_learning_rate:g}, where the cosine schedule ends",
                "lower training.min_learning_rate, or freeze the parameter with learning_rate: 0",
            )
        parameter.requires_grad_(rate > 0)
        if rate > 0:
            decay = 0.0 if name.endswith(".alpha") else training.weight_decay
            groups.setdefault((rate, decay), []).append(parameter)
    if not groups:
        raise EpgraphError("nothing to train: no parameter has a learning rate above 0")
    optimizer = torch.optim.SGD(
        [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()],
        momentum=training.momentum,
        nesterov=training.nesterov,
        weight_decay=training.weight_decay,
    )
    return optimizer, CosineAnnealingLR(optimizer, training.epochs, training.min_learning_rate)


def _parameters(engine: Engine) -> list[tuple[str, nn.Parameter, float | None]]:
    """Every parameter once, with its name and the learning rate that the file gives its state or edge.

    Those of parametrizations and pruned weights too; what is frozen has the rate 0.
    """
    graph = engine.graph
    holders = [(f"states.{s.name}", engine.states[s.name], s.learning_rate) for s in graph.states.values()]
    for edge in graph.edges.values():
        holders.append((f"edges.{edge.name}", engine.edges[edge.name], 0.0 if edge.frozen else edge.learning_rate))
    found: dict[nn.Parameter, tuple[str, float | None]] = {}
    for path, holder, rate in holders:
        for name, parameter in holder.named_parameters(path):
            found.setdefault(parameter, (name, rate))
    return [(name, parameter, rate) for parameter, (name, rate) in found.items()]

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
    graph = engine.graph
    found: list[tuple[str, nn.Parameter, float | None]] = []
    for state in graph.states.values():
        bias = engine.bias(state)
        if isinstance(bias, nn.Parameter):
            found.append((f"states.{state.name}.bias", bias, state.learning_rate))
        level = getattr(engine.states[state.name], "alpha", None)
        if isinstance(level, nn.Parameter):
            found.append((f"states.{state.name}.alpha", level, state.learning_rate))
    for edge in (e for e in graph.edges.values() if not e.frozen and not e.tied):
        weight = engine.weight(edge)
        if isinstance(weight, nn.Parameter):
            found.append((f"edges.{edge.name}.weight", weight, edge.learning_rate))
        feedback = engine.feedback(edge)
        if isinstance(feedback, nn.Parameter):
            found.append((f"edges.{edge.name}.feedback", feedback, edge.learning_rate))
    return found

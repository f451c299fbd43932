"""SGD with Nesterov momentum and a learning rate for every edge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from epgraph.engine import Engine
from epgraph.errors import EpgraphError
from epgraph.learning.schedule import learning_rate


def make_optimizer(engine: Engine) -> torch.optim.SGD:
    """Build the optimizer that ``training`` describes; ``set_learning_rates`` sets its rates for an epoch.

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
    return torch.optim.SGD(
        [
            {"params": params, "lr": rate, "base_rate": rate, "weight_decay": decay}
            for (rate, decay), params in groups.items()
        ],
        momentum=training.momentum,
        nesterov=training.nesterov,
        weight_decay=training.weight_decay,
    )


def set_learning_rates(optimizer: torch.optim.Optimizer, engine: Engine, epoch: int) -> float:
    """Set every group's learning rate for an epoch, counted from 0, and return the largest."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(group["base_rate"], epoch, engine.architecture.training)
    return max(float(group["lr"]) for group in optimizer.param_groups)


def optimizer_state(optimizer: torch.optim.Optimizer, engine: Engine) -> dict[str, dict[str, Any]]:
    """State of every parameter by its name: of SGD, its ``momentum_buffer``. Rates and decay are no part of it."""
    return {name: dict(optimizer.state[p]) for name, p in engine.named_parameters() if p in optimizer.state}


def load_optimizer_state(
    optimizer: torch.optim.Optimizer, engine: Engine, state: Mapping[str, Mapping[str, Any]]
) -> None:
    """Put back what ``optimizer_state`` returned; parameters that are not trained any more have none.

    Raises
    ------
    EpgraphError
        If it names an unknown parameter, or a value has another shape than its parameter.
    """
    parameters = dict(engine.named_parameters())
    for name, values in state.items():
        parameter = parameters.get(name)
        if parameter is None:
            raise EpgraphError(f"the checkpoint's optimizer knows a parameter '{name}', which the network has not")
        for key, value in values.items():
            if key != "momentum_buffer" or not (
                value is None or (isinstance(value, Tensor) and value.shape == parameter.shape)
            ):
                raise EpgraphError(f"the checkpoint's optimizer has a '{key}' for '{name}' that is none of SGD's")
        if parameter.requires_grad:
            optimizer.state[parameter] = {
                key: value.to(parameter) if isinstance(value, Tensor) else value for key, value in values.items()
            }


def _parameters(engine: Engine) -> list[tuple[str, nn.Parameter, float | None]]:
    graph = engine.graph
    found: list[tuple[str, nn.Parameter, float | None]] = []
    for state in graph.states.values():
        bias = engine.bias(state)
        if isinstance(bias, nn.Parameter):
            found.append((f"states.{state.name}.bias", bias, state.learning_rate))
        if state.activation.learnt:
            level = engine.get_parameter(f"states.{state.name}.alpha")
            found.append((f"states.{state.name}.alpha", level, state.learning_rate))
    for edge in (e for e in graph.edges.values() if not e.frozen and not e.tied):
        weight = engine.weight(edge)
        if isinstance(weight, nn.Parameter):
            found.append((f"edges.{edge.name}.weight", weight, edge.learning_rate))
        feedback = engine.feedback(edge)
        if isinstance(feedback, nn.Parameter):
            found.append((f"edges.{edge.name}.feedback", feedback, edge.learning_rate))
    return found

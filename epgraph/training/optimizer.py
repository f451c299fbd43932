"""The optimizer that ``training`` describes, with a learning rate for every edge."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from epgraph.engine import Engine
from epgraph.errors import EpgraphError
from epgraph.language.model import TrainingSpec
from epgraph.optimizers import KEYS, NUMBERS, rate_schedule


def make_optimizer(engine: Engine) -> torch.optim.Optimizer:
    """Build the optimizer that ``training`` describes; ``set_learning_rates`` sets its rates for an epoch.

    A learning rate of 0 freezes the parameter (``requires_grad`` becomes False), as ``frozen`` does, so that neither
    weight decay nor the schedule's floor moves it. A learnt level α has the learning rate of its state's bias, and no
    weight decay: it is the end of a range, and nothing speaks for a range of zero.

    Raises
    ------
    EpgraphError
        Where no parameter learns, a rate is below the last one of the schedule, or a registered optimizer refuses the
        groups of parameters.
    """
    training = engine.architecture.training
    schedule, rates = rate_schedule(training.optimizer, training.schedule)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter, own, own_decay in _parameters(engine):
        rate = training.learning_rate if own is None else own
        if rates.falls and 0 < rate < training.min_learning_rate:
            raise EpgraphError(
                f"the learning rate {rate:g} of '{name}' is below training.min_learning_rate "
                f"{training.min_learning_rate:g}, where {schedule} ends",
                "lower training.min_learning_rate, or freeze the parameter with learning_rate: 0",
            )
        parameter.requires_grad_(rate > 0)
        if rate > 0:
            decay = training.weight_decay if own_decay is None else own_decay
            decay = 0.0 if name.endswith(".alpha") else decay
            groups.setdefault((rate, decay), []).append(parameter)
    if not groups:
        raise EpgraphError("nothing to train: no parameter has a learning rate above 0")
    return _build(
        [
            {"params": params, "lr": rate, "base_rate": rate, "weight_decay": decay}
            for (rate, decay), params in groups.items()
        ],
        training,
    )


def _build(groups: list[dict[str, Any]], training: TrainingSpec) -> torch.optim.Optimizer:
    """Call the registered optimizer on the groups, with those settings of ``training`` that it has an argument for."""
    chosen = training.optimizer
    builder = chosen.builder
    build = getattr(torch.optim, builder.build) if isinstance(builder.build, str) else builder.build
    try:
        settings = {key: getattr(training, key) for key in KEYS if key in builder.keys}
        optimizer = build(groups, **{**settings, **chosen.arguments()})
    except Exception as error:  # it may be the user's own code
        raise EpgraphError(
            f"the optimizer '{chosen.name}' cannot be made: {type(error).__name__}: {error}",
            "it is called with groups of parameters, as torch.optim.SGD is",
        ) from error
    if not isinstance(optimizer, torch.optim.Optimizer):
        kind = type(optimizer).__name__
        raise EpgraphError(f"the optimizer '{chosen.name}' is no torch.optim.Optimizer but of type {kind}")
    return optimizer


def learning_rate(base: float, done: float, training: TrainingSpec) -> float:
    """Learning rate, from ``base`` on, of a batch: by the warm-up, and then by the schedule over the other epochs.

    Parameters
    ----------
    done
        Epochs that are done: finished ones, and of the present one the fraction of its examples.
    """
    warm = training.warmup_epochs
    if done < warm:
        return base * (training.warmup_factor + (1 - training.warmup_factor) * done / warm)
    _, schedule = rate_schedule(training.optimizer, training.schedule)
    since = done if schedule.stepwise else math.floor(done)
    return schedule.rate(base, training.min_learning_rate, max(0.0, since - warm), training.epochs - warm or 1.0)


def set_learning_rates(optimizer: torch.optim.Optimizer, engine: Engine, done: float) -> float:
    """Set every group's learning rate after ``done`` epochs, and return the largest."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(group["base_rate"], done, engine.architecture.training)
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
    kept = engine.architecture.training.optimizer.builder.state
    kind = type(optimizer).__name__
    for name, values in state.items():
        parameter = parameters.get(name)
        if parameter is None:
            raise EpgraphError(f"the checkpoint's optimizer knows a parameter '{name}', which the network has not")
        for key, value in values.items():
            shape = () if key in NUMBERS else parameter.shape
            fits = value is None or (isinstance(value, Tensor) and value.shape == shape)
            if kept is not None and not (key in kept and fits):
                raise EpgraphError(f"the checkpoint's optimizer has a '{key}' for '{name}' that is none of {kind}'s")
        if parameter.requires_grad:
            # A count of steps is no value of a parameter: torch keeps it as it is.
            optimizer.state[parameter] = {
                key: value.to(parameter) if isinstance(value, Tensor) and value.shape == parameter.shape else value
                for key, value in values.items()
            }


def _parameters(engine: Engine) -> list[tuple[str, nn.Parameter, float | None, float | None]]:
    """Every parameter once, with its name, and the learning rate and decay that the file gives its state or edge.

    Those of parametrizations and pruned weights too; what is frozen has the rate 0.
    """
    graph = engine.graph
    holders = [
        (f"states.{s.name}", engine.states[s.name], s.learning_rate, s.weight_decay) for s in graph.states.values()
    ]
    for edge in graph.edges.values():
        rate = 0.0 if edge.frozen else edge.learning_rate
        holders.append((f"edges.{edge.name}", engine.edges[edge.name], rate, edge.weight_decay))
    parameters: dict[nn.Parameter, tuple[str, float | None, float | None]] = {}
    for path, holder, rate, decay in holders:
        for name, parameter in holder.named_parameters(path):
            parameters.setdefault(parameter, (name, rate, decay))
    return [(name, parameter, rate, decay) for parameter, (name, rate, decay) in parameters.items()]

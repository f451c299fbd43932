"""Optimizers by the name under which ``training.optimizer`` has them. No torch.

To add one, add a row to ``OPTIMIZERS``; ``epgraph.register_optimizer`` adds one from outside.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from epgraph.rates import RATE_SCHEDULES, Rate, RateSchedule


@dataclass(frozen=True)
class Optimizer:
    """How ``training.optimizer: NAME`` follows the gradient.

    Attributes
    ----------
    build
        A class of ``torch.optim``, the name of one, or a function that takes what such a class takes.
        Those of ``training.momentum``, ``nesterov`` and ``weight_decay`` that it has an argument for are passed to it.
    options
        Further arguments of it, which stand above those of ``training``.
    schedule
        How the learning rate changes where ``training.schedule`` does not say; None is ``cosine``.
    keys
        Those of ``training.momentum``, ``nesterov`` and ``weight_decay`` that it has an argument for; None looks at the
        arguments of ``build``.
    state
        Names of the tensors that it keeps for each parameter, which have the shape of the parameter, and ``step``, a
        count; None where they are not known. A checkpoint with another one is refused.
    """

    build: str | Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    schedule: Rate | None = None
    keys: frozenset[str] | None = None
    state: frozenset[str] | None = None

    def accepts(self, key: str) -> bool:
        """Whether it has an argument for a key of ``training``."""
        if self.keys is not None:
            return key in self.keys
        return not isinstance(self.build, str) and key in inspect.signature(self.build).parameters


_ADAM: dict[str, Any] = {"keys": frozenset({"weight_decay"}), "state": frozenset({"step", "exp_avg", "exp_avg_sq"})}

OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": Optimizer(
        "SGD", keys=frozenset({"momentum", "nesterov", "weight_decay"}), state=frozenset({"momentum_buffer"})
    ),
    "adam": Optimizer("Adam", **_ADAM),
    "adamw": Optimizer("AdamW", **_ADAM),
}
"""Every optimizer by its name."""


def rate_schedule(optimizer: str, schedule: str | None) -> tuple[str, RateSchedule]:
    """Return how the learning rate changes, and what to call that.

    Parameters
    ----------
    optimizer, schedule
        ``training.optimizer`` and ``training.schedule``.
    """
    own = OPTIMIZERS[optimizer].schedule
    if schedule is None and own is not None:
        return f"the schedule of optimizer {optimizer}", RateSchedule(own)
    name = schedule or "cosine"
    return f"the {name} schedule", RATE_SCHEDULES[name]

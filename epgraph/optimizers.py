"""Optimizers by their names in ``training.optimizer``. Loads no torch.

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
    """An optimizer, ``training.optimizer: NAME``.

    Attributes
    ----------
    build
        A class of ``torch.optim``, its name, or a function with the arguments of such a class. It receives
        ``training.momentum``, ``nesterov`` and ``weight_decay`` if it has arguments of these names.
    options
        Further arguments, which override those of ``training``.
    schedule
        Default schedule of the learning rate; None is ``cosine``.
    keys
        Names among ``training.momentum``, ``nesterov`` and ``weight_decay`` that it accepts; None: those in the
        signature of ``build``.
    state
        Names of its tensors for each parameter, of the shape of the parameter, and ``step``, a count; None if unknown.
        A checkpoint with another name is refused.
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
    """Return the schedule of the learning rate, and its name for messages.

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

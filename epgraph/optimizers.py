"""Optimizers by the name under which ``training.optimizer`` has them, and how their learning rates fall. No torch.

To add one, add a row to ``OPTIMIZERS``; ``epgraph.register_optimizer`` adds one from outside.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

RateSchedule = Callable[[float, float, float], float]
"""(first rate, last rate, progress) → present rate; progress is the part of the training that is done, 0 to 1."""


def cosine(first: float, last: float, progress: float) -> float:
    """Return η(p) = η₁ + ½ (η₀ − η₁) (1 + cos πp): Loshchilov and Hutter (arXiv 1608.03983), Eq. 5."""
    return last + 0.5 * (first - last) * (1.0 + math.cos(math.pi * progress))


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
        How the learning rate falls.
    state
        Names of the tensors that it keeps for each parameter, which have the shape of the parameter; None where they
        are not known. A checkpoint with another one is refused.
    """

    build: str | Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    schedule: RateSchedule = cosine
    state: frozenset[str] | None = None

    def accepts(self, key: str) -> bool:
        """Whether it has an argument for a key of ``training``; what is built in has all of them."""
        return isinstance(self.build, str) or key in inspect.signature(self.build).parameters


OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": Optimizer("SGD", state=frozenset({"momentum_buffer"})),
}
"""Every optimizer by its name."""

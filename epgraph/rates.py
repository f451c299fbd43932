"""Schedules of the learning rate by the name under which ``training.schedule`` has them. No torch.

A schedule is a function of the part of the training that is done, and not of steps: a run that goes on with more epochs
is stretched, and nothing of it is in a checkpoint. To add one, add a row to ``RATE_SCHEDULES``;
``epgraph.register_schedule`` adds one from outside.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

Rate = Callable[[float, float, float], float]
"""(first rate η₀, last rate η₁, progress p) → present rate η; p is the part of the training that is done, 0 to 1."""


def cosine(first: float, last: float, progress: float) -> float:
    """Return η(p) = η₁ + ½ (η₀ − η₁) (1 + cos πp): Loshchilov and Hutter (arXiv 1608.03983), Eq. 5."""
    return last + 0.5 * (first - last) * (1.0 + math.cos(math.pi * progress))


def linear(first: float, last: float, progress: float) -> float:
    """Return η(p) = η₀ + (η₁ − η₀) p."""
    return first + (last - first) * progress


def exponential(first: float, last: float, progress: float) -> float:
    """Return η(p) = η₀ (η₁ / η₀)ᵖ: the same factor after every epoch; η₁ > 0."""
    return first * float((last / first) ** progress)


def constant(first: float, last: float, progress: float) -> float:
    """Return η₀."""
    return first


@dataclass(frozen=True)
class RateSchedule:
    """How the learning rate of ``training.schedule: NAME`` changes.

    Attributes
    ----------
    rate
        The rate as a function of first rate, last rate and progress.
    falls
        Whether it ends at ``training.min_learning_rate``; where it does not, that key has no effect.
    """

    rate: Rate
    falls: bool = True


RATE_SCHEDULES: dict[str, RateSchedule] = {
    "cosine": RateSchedule(cosine),
    "linear": RateSchedule(linear),
    "exponential": RateSchedule(exponential),
    "constant": RateSchedule(constant, falls=False),
}
"""Every schedule by its name."""

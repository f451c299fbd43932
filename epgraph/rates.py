"""Schedules of the learning rate by their names in ``training.schedule``. Loads no torch.

A schedule is a function of the fraction of the training that is done, and not of steps. So a run that is resumed with
more epochs is stretched, and a checkpoint has no state of the schedule. To add one, add a row to ``RATE_SCHEDULES``;
``epgraph.register_schedule`` adds one from outside.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

Rate = Callable[[float, float, float], float]
"""(first rate η₀, last rate η₁, progress p) → rate η; p is the fraction of the training that is done, 0 to 1."""


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
    """Schedule of the learning rate, ``training.schedule: NAME``.

    Attributes
    ----------
    rate
        The rate as a function of first rate, last rate and progress.
    falls
        Whether it ends at ``training.min_learning_rate``; else that key has no effect.
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

"""Schedules of the learning rate by their names in ``training.schedule``. Loads no torch.

A schedule is a function of time and keeps no state, so a run that goes on at any batch has the same rates, and one that
goes on with more epochs is stretched. ``torch.optim.lr_scheduler`` counts steps; tests compare the values. To add a
schedule, add a class to ``RATE_SCHEDULES``; ``epgraph.register_schedule`` adds one from outside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model, model_validator
from pydantic_core import PydanticCustomError

Rate = Callable[[float, float, float], float]
"""(first rate η₀, last rate η₁, progress p) → rate η; p is the fraction of the training that is done, 0 to 1."""


class Schedule(BaseModel):
    """Base of all schedules; its fields are the options that the user writes.

    Attributes
    ----------
    falls
        Whether it ends at ``training.min_learning_rate``; else that key has no effect.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    name: ClassVar[str]
    falls: ClassVar[bool] = True

    @property
    def stepwise(self) -> bool:
        """Whether the rate changes with every batch, not with every epoch."""
        return False

    def rate(self, first: float, last: float, done: float, epochs: float) -> float:
        """Return the rate after ``done`` of ``epochs`` epochs, without those of the warm-up.

        Parameters
        ----------
        first, last
            The parameter's own rate η₀, and ``training.min_learning_rate`` η₁.
        """
        raise NotImplementedError


class _Curve(Schedule):
    """A curve over the whole training, p from 0 to 1."""

    per: Literal["epoch", "step"] = Field(
        default="epoch", description="Whether the rate changes with every epoch, or every step.", examples=["step"]
    )

    @property
    def stepwise(self) -> bool:
        """Whether the rate changes with every batch."""
        return self.per == "step"


class Cosine(_Curve):
    """η₁ + ½ (η₀ − η₁) (1 + cos πp), over the training or over every period: Loshchilov and Hutter 2017, Eq. 5."""

    name = "cosine"

    period: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Epochs after which it starts again; null: never.", examples=[10, None]
    )
    growth: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=1, description="How many times as long as the one before every further period is.", examples=[2]
    )

    @model_validator(mode="after")
    def _growth_of_a_period(self) -> Cosine:
        if self.growth > 1 and self.period is None:
            raise PydanticCustomError("conflicting_keys", "'growth' needs 'period'", {"hint": "e.g. period: 10"})
        return self

    def rate(self, first: float, last: float, done: float, epochs: float) -> float:
        """Return the rate, as Schedule.rate."""
        length = self.period or epochs
        if self.period is None:
            done = min(done, epochs)
        elif self.growth == 1:
            done %= length
        while self.period is not None and done >= length:
            done -= length
            length *= self.growth
        return _cosine(first, last, done / length)


class Linear(_Curve):
    """η₀ + (η₁ − η₀) p."""

    name = "linear"

    def rate(self, first: float, last: float, done: float, epochs: float) -> float:
        """Return the rate, as Schedule.rate."""
        return first + (last - first) * min(1.0, done / epochs)


class Exponential(_Curve):
    """η₀ (η₁ / η₀)ᵖ: the same factor after every epoch; η₁ > 0."""

    name = "exponential"

    def rate(self, first: float, last: float, done: float, epochs: float) -> float:
        """Return the rate, as Schedule.rate."""
        return first * float((last / first) ** min(1.0, done / epochs))


class Constant(Schedule):
    """η₀."""

    name = "constant"
    falls = False

    def rate(self, first: float, last: float, done: float, epochs: float) -> float:
        """Return the rate, as Schedule.rate."""
        return first


_Epochs = Annotated[int, Field(ge=1, le=1_000_000)]


class Step(Schedule):
    """η₀ fⁿ after n steps down, every so many epochs or at given ones."""

    name = "step"
    falls = False

    every: _Epochs | None = Field(default=None, description="Epochs between two steps down.", examples=[30])
    at: (
        Annotated[
            tuple[_Epochs, ...],
            Field(min_length=1, max_length=1000),
            BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value),
        ]
        | None
    ) = Field(default=None, description="Epochs after which the rate steps down.", examples=[[150, 225]])
    factor: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.1, description="Factor f of a step down.", examples=[0.1]
    )

    @model_validator(mode="after")
    def _every_or_at(self) -> Step:
        if (self.every is None) == (self.at is None):
            both = "both 'every' and 'at' are given" if self.every else "'step' needs 'every' or 'at'"
            hint = "write every: 30, or at: [150, 225]"
            raise PydanticCustomError("conflicting_keys", "{both}", {"both": both, "hint": hint})
        return self

    def rate(self, first: float, last: float, done: float, epochs: float) -> float:
        """Return the rate, as Schedule.rate."""
        steps = sum(done >= epoch for epoch in self.at) if self.at else int(done // (self.every or 1))
        return first * float(self.factor**steps)


class OneCycle(Schedule):
    """Up from η₀/d to η₀ and down to η₁, both as half a cosine: Smith and Topin 2018. It changes with every batch."""

    name = "one_cycle"

    rise: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.3, description="Fraction of the training in which the rate rises.", examples=[0.3]
    )
    divisor: Annotated[float, Field(ge=1)] = Field(
        default=25.0, description="Number d by which the first rate is divided.", examples=[25]
    )

    @property
    def stepwise(self) -> bool:
        """Whether the rate changes with every batch."""
        return True

    def rate(self, first: float, last: float, done: float, epochs: float) -> float:
        """Return the rate, as Schedule.rate."""
        progress = min(1.0, done / epochs)
        if progress < self.rise:
            return _cosine(first / self.divisor, first, progress / self.rise)
        return _cosine(first, last, (progress - self.rise) / (1 - self.rise))


def _cosine(first: float, last: float, progress: float) -> float:
    return last + 0.5 * (first - last) * (1.0 + math.cos(math.pi * progress))


class _Registered(_Curve):
    """A schedule of the user's."""

    function: ClassVar[list[Rate]]  # in a list: a function would become a method

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by name: the class cannot be found in this module."""
        return _restored, (self.name, self.model_dump(exclude_unset=True))

    def rate(self, first: float, last: float, done: float, epochs: float) -> float:
        """Return the rate, as Schedule.rate."""
        return self.function[0](first, last, min(1.0, done / epochs))


def _restored(name: str, options: Mapping[str, Any]) -> Schedule:
    return RATE_SCHEDULES[name](**options)


def schedule_of(name: str, function: Rate, falls: bool = True) -> type[Schedule]:
    """Return the schedule whose rates a function of the progress gives."""
    made = create_model(f"Schedule_{name}", __base__=_Registered)
    made.name, made.falls, made.function = name, falls, [function]
    return made


RATE_SCHEDULES: dict[str, type[Schedule]] = {
    cls.name: cls for cls in (Cosine, Linear, Exponential, Constant, Step, OneCycle)
}
"""Every schedule by its name."""

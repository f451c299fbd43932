"""Optimizers by their names in ``training.optimizer``, with their options. Loads no torch.

The options of a built-in optimizer are the arguments of its class in ``torch.optim``; a test compares both. To add one,
add a row to ``OPTIMIZERS``; ``epgraph.register_optimizer`` adds one from outside.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

from epgraph.rates import RATE_SCHEDULES, Rate, Schedule, schedule_of


@dataclass(frozen=True)
class Builder:
    """How an optimizer is made.

    Attributes
    ----------
    build
        A class of ``torch.optim``, its name, or a function with the arguments of such a class.
    keys
        Names among ``training.momentum``, ``nesterov`` and ``weight_decay`` that it receives.
    schedule
        Default schedule of the learning rate; None is ``cosine``.
    fixed
        Further arguments, which the user's options override.
    state
        Names of its tensors for each parameter, of the shape of the parameter, and of its numbers; None if unknown. A
        checkpoint with another name is refused.
    """

    build: str | Callable[..., Any]
    keys: frozenset[str]
    schedule: type[Schedule] | None = None
    fixed: Mapping[str, Any] | None = None
    state: frozenset[str] | None = None


class Optimizer(BaseModel):
    """Base of all optimizers; its fields are the options that the user writes."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    name: ClassVar[str]
    builder: ClassVar[Builder]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by name: classes that are made from tables cannot be found in their module."""
        return _restored, (self.name, self.model_dump(exclude_unset=True))

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the builder beside those of ``training``."""
        return {**(self.builder.fixed or {}), **self.model_dump(exclude_unset=True)}


NUMBERS = frozenset({"step", "mu_product", "eta", "mu"})
"""State of optimizers that is one number for each parameter, whatever its shape."""

KEYS = ("momentum", "nesterov", "weight_decay")
"""Keys of ``training`` that are arguments of optimizers."""

_AsTuple = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
_Fraction = Annotated[float, Field(ge=0, lt=1)]
_Positive = Annotated[float, Field(gt=0)]
_Least = Annotated[float, Field(ge=0)]
_Options = Mapping[str, tuple[Any, Any, str]]

_BETAS: _Options = {
    "betas": (
        Annotated[tuple[_Fraction, _Fraction], _AsTuple],
        (0.9, 0.999),
        "Decay of the running means of the gradient, and of its square.",
    )
}
_SPEED: _Options = {"foreach": (bool | None, None, "Whether all parameters are updated together; null: torch chooses.")}
_FUSED: _Options = {"fused": (bool | None, None, "Whether one kernel does the update; null: torch chooses.")}
_DECOUPLED: _Options = {"decoupled_weight_decay": (bool, False, "Whether the decay is apart from the gradient.")}


def _eps(value: float) -> _Options:
    return {"eps": (_Least, value, "Added to a denominator.")}


_ADAM: _Options = {
    **_BETAS,
    **_eps(1e-8),
    "amsgrad": (bool, False, "Whether the largest mean of squares so far is used."),
    **_SPEED,
    **_FUSED,
}
_MOMENTS = frozenset({"step", "exp_avg", "exp_avg_sq"})


def _row(
    build: str, state: frozenset[str] | None, options: _Options, keys: frozenset[str] = frozenset({"weight_decay"})
) -> type[Optimizer]:
    fields: dict[str, Any] = {
        key: (kind, Field(default=value, description=said, examples=[_plain(value)]))
        for key, (kind, value, said) in options.items()
    }
    made = create_model(build, __base__=Optimizer, __doc__=f"torch.optim.{build}", **fields)
    made.name, made.builder = build.lower(), Builder(build, keys, state=state)
    return made


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


_STEP_SIZES = Annotated[tuple[_Positive, _Positive], _AsTuple]
_ADAFACTOR: _Options = {
    "beta2_decay": (Annotated[float, Field(le=0)], -0.8, "Exponent of the decay of the mean of squares."),
    "eps": (
        Annotated[tuple[_Positive | None, _Positive], _AsTuple],
        (None, 1e-3),
        "Least square of the gradient (null: the rounding of its type), and least size of a parameter.",
    ),
    "d": (_Positive, 1.0, "Size beyond which an update is scaled down."),
}
_RMSPROP: _Options = {
    "alpha": (_Fraction, 0.99, "Decay of the running mean of squares."),
    "momentum": (_Fraction, 0.0, "Momentum of the scaled gradient."),
    "centered": (bool, False, "Whether the mean of the gradient is subtracted."),
}
_ADAGRAD: _Options = {
    "lr_decay": (_Least, 0.0, "Decay of the learning rate with every step."),
    "initial_accumulator_value": (_Least, 0.0, "Initial sum of squares."),
}
_ASGD: _Options = {
    "lambd": (_Least, 1e-4, "Decay term."),
    "alpha": (_Positive, 0.75, "Exponent of the decay of the rate."),
    "t0": (_Least, 1e6, "Step from which parameters are averaged."),
}
_RPROP: _Options = {
    "etas": (_STEP_SIZES, (0.5, 1.2), "Factors of a step size, down and up."),
    "step_sizes": (_STEP_SIZES, (1e-6, 50.0), "Least and largest step size."),
}
_SGD: _Options = {
    "dampening": (Annotated[float, Field(ge=0, le=1)], 0.0, "Part of the gradient that the momentum leaves out.")
}
_NADAM: _Options = {"momentum_decay": (_Least, 0.004, "Decay of the momentum.")}
_RHO: _Options = {"rho": (_Fraction, 0.9, "Decay of the running mean of squares.")}

_ROWS = (
    _row("SGD", frozenset({"momentum_buffer"}), {**_SGD, **_SPEED, **_FUSED}, frozenset(KEYS)),
    _row("Adam", _MOMENTS | {"max_exp_avg_sq"}, {**_ADAM, **_DECOUPLED}),
    _row("AdamW", _MOMENTS | {"max_exp_avg_sq"}, _ADAM),
    _row("NAdam", _MOMENTS | {"mu_product"}, {**_BETAS, **_eps(1e-8), **_NADAM, **_DECOUPLED, **_SPEED}),
    _row("RAdam", _MOMENTS, {**_BETAS, **_eps(1e-8), **_DECOUPLED, **_SPEED}),
    _row("Adamax", frozenset({"step", "exp_avg", "exp_inf"}), {**_BETAS, **_eps(1e-8), **_SPEED}),
    _row("Adadelta", frozenset({"step", "square_avg", "acc_delta"}), {**_RHO, **_eps(1e-6), **_SPEED}),
    _row("Adagrad", frozenset({"step", "sum"}), {**_ADAGRAD, **_eps(1e-10), **_SPEED, **_FUSED}),
    _row("Adafactor", None, {**_ADAFACTOR, **_SPEED}),
    _row(
        "RMSprop",
        frozenset({"step", "square_avg", "momentum_buffer", "grad_avg"}),
        {**_RMSPROP, **_eps(1e-8), **_SPEED},
    ),
    _row("ASGD", frozenset({"step", "eta", "mu", "ax"}), {**_ASGD, **_SPEED}),
    _row("Rprop", frozenset({"step", "prev", "step_size"}), {**_RPROP, **_SPEED}, frozenset()),
)

OPTIMIZERS: dict[str, type[Optimizer]] = {row.name: row for row in _ROWS}
"""Every optimizer by its name."""


def _restored(name: str, options: Mapping[str, Any]) -> Optimizer:
    return OPTIMIZERS[name](**options)


def optimizer_of(
    name: str, build: Callable[..., Any], schedule: Rate | None, fixed: Mapping[str, Any]
) -> type[Optimizer]:
    """Return the optimizer that a class or function of the user's builds; its arguments are its options."""
    try:
        parameters = list(inspect.signature(build).parameters.values())
    except (TypeError, ValueError):  # torch's own classes have one; a compiled function may have none
        parameters = []
    keys = frozenset(one.name for one in parameters if one.name in KEYS)
    named = [one for one in parameters[1:] if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    fields: dict[str, Any] = {
        one.name: (Any, Field(default=None, description=f"Argument of '{name}'.", examples=[1]))
        for one in named
        if one.name not in ("lr", *KEYS) and not one.name.startswith("_")
    }
    made: type[Optimizer] = create_model(f"Optimizer_{name}", __base__=Optimizer, **fields)
    own = None if schedule is None else schedule_of(f"of_{name}", schedule)
    made.name, made.builder = name, Builder(build, keys, own, fixed)
    return made


def rate_schedule(optimizer: Optimizer, schedule: Schedule | None) -> tuple[str, Schedule]:
    """Return the schedule of the learning rate, and its name for messages.

    Parameters
    ----------
    optimizer, schedule
        ``training.optimizer`` and ``training.schedule``.
    """
    if schedule is not None:
        return f"the {schedule.name} schedule", schedule
    own = optimizer.builder.schedule
    if own is not None:
        return f"the schedule of optimizer {optimizer.name}", own()
    return "the cosine schedule", RATE_SCHEDULES["cosine"]()

"""The section ``sweep``: what varies between the runs of a network, and how the runs are chosen."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator
from pydantic_core import PydanticCustomError

from epgraph.arguments import shown
from epgraph.language.model.fields import Described, Model

MOST_SEEDS = 1000
MAX_SEED = 2**32 - 1

_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"\s*({_NUMBER})\.\.({_NUMBER})(\s+log)?\s*")
_SEEDS = re.compile(r"\s*(\d{1,10})\.\.(\d{1,10})\s*")


class Range(NamedTuple):
    """Numbers from ``low`` to ``high``, both included: whole ones if both are; ``log`` samples the logarithm."""

    low: float
    high: float
    log: bool

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def __str__(self) -> str:
        return f"{self.low}..{self.high}{' log' if self.log else ''}"


def _range(value: object) -> Range:
    match = _RANGE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise PydanticCustomError(
            "wrong-type",
            "a range is LOW..HIGH, found {found}",
            {"found": shown(value), "hint": "e.g. 0.05..0.5, or 0.001..0.1 log"},
        )
    low, high = (int(text) if re.fullmatch(r"[-+]?\d+", text) else float(text) for text in match.groups()[:2])
    found = Range(low, high, match[3] is not None)
    if not low < high or (found.log and low <= 0):
        must = "with log, LOW must be above 0" if low < high else "LOW must be below HIGH"
        raise PydanticCustomError("out-of-range", "{must}, found {found}", {"must": must, "found": str(found)})
    return found


def _seeds(value: object) -> object:
    """Whole numbers: one, a list of them, or the text ``0..4`` or ``0,3,7``."""
    match = _SEEDS.fullmatch(value) if isinstance(value, str) else None
    if match is not None:
        first, last = int(match[1]), int(match[2])
        seeds: object = list(range(first, min(last, first + MOST_SEEDS) + 1))
    elif isinstance(value, str) and re.fullmatch(r"[\d, ]*\d[\d, ]*", value):
        seeds = [int(part) for part in value.split(",") if part.strip().isdigit()]
    else:
        seeds = [value] if isinstance(value, int) else value
    sound = isinstance(seeds, list) and all(type(seed) is int and 0 <= seed <= MAX_SEED for seed in seeds)
    if not sound or not isinstance(seeds, list) or not 1 <= len(seeds) <= MOST_SEEDS:
        raise PydanticCustomError(
            "wrong-type",
            "'seeds' expects whole numbers from 0 on, at most {most} of them, found {found}",
            {"most": MOST_SEEDS, "found": shown(value), "hint": "e.g. 0..4, or [0, 1, 2]"},
        )
    if len(set(seeds)) < len(seeds):
        raise PydanticCustomError("duplicate-name", "'seeds' has a seed twice", {"hint": "name each once"})
    return tuple(seeds)


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


RangeField = Annotated[
    Range,
    PlainValidator(_range),
    PlainSerializer(str),
    Described(lambda handler: {"type": "string", "examples": ["0.05..0.5", "0.001..0.1 log", "2..8"]}),
]
SeedsField = Annotated[
    tuple[int, ...], BeforeValidator(_seeds, json_schema_input_type=int | list[int] | Annotated[str, Field()])
]
EdgesField = Annotated[list[str], BeforeValidator(_listed, json_schema_input_type=str | list[str])]
VariantName = Annotated[str, Field(pattern=r"^\S(.{0,62}\S)?$")]
Metric = Literal[
    "test_error",
    "test_loss",
    "validation_error",
    "validation_loss",
    "train_error",
    "train_loss",
    "test_residual",
    "train_residual",
]
Sampler = Literal["grid", "random", "tpe", "gp"]
Pruner = Literal["none", "median", "halving", "hyperband"]
SAMPLERS: tuple[str, ...] = get_args(Sampler)
PRUNERS: tuple[str, ...] = get_args(Pruner)
METRICS: tuple[str, ...] = get_args(Metric)
"""Metrics of an epoch that a sweep may minimize, and that runs are compared by."""


class VariantSpec(Model):
    """One alternative of a network."""

    assignments: dict[str, Any] = Field(
        default_factory=dict,
        alias="set",
        description="Values by the path of their key, as with --set; whole sections too.",
        examples=[{"states.h1.channels": 8}],
    )
    without: EdgesField = Field(
        default_factory=list,
        description="Edges that are left out: a kind, a name of an edge, or 'from->to'; globs, too.",
        examples=["skip", ["h1->h*"]],
    )


class SweepSpec(Model):
    """What ``epgraph sweep`` varies, and how it chooses. ``train`` and the other commands ignore it."""

    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(
        default_factory=dict,
        description="Values by the path of their key.",
        examples=[{"learning.beta": [0.1, 0.2], "parameters.depth": [2, 3]}],
    )
    ranges: dict[str, RangeField] = Field(
        default_factory=dict,
        alias="range",
        description="Ranges LOW..HIGH by the path of their key; 'log' after it samples the logarithm.",
        examples=[{"training.learning_rate": "0.001..0.1 log"}],
    )
    variants: dict[VariantName, VariantSpec] = Field(
        default_factory=dict,
        description="Alternatives by name; the first is what the others are compared with.",
        examples=[{"whole": {}, "no skips": {"without": "skip"}}],
    )
    seeds: SeedsField | None = Field(
        default=None,
        description="Every choice is trained with each of these seeds; by default with that of 'training'.",
        examples=["0..4"],
    )
    sampler: Sampler = Field(
        default="grid", description="grid: all combinations; or an Optuna sampler.", examples=["tpe"]
    )
    trials: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None, description="Number of choices that a sampler makes.", examples=[30]
    )
    pruner: Pruner = Field(
        default="none", description="Optuna pruner that stops trials which fall behind.", examples=["median"]
    )
    objective: Metric = Field(
        default="test_error",
        description="Metric of the last epoch that is minimized and compared.",
        examples=["test_loss"],
    )

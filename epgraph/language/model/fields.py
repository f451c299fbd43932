"""Types of fields that several parts of the language share, and the base of all parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    PlainValidator,
)
from pydantic_core import PydanticCustomError, core_schema

from epgraph.activations import Activation, activation_schema, activation_to_yaml, parse_activation
from epgraph.costs import COSTS
from epgraph.energies import ENERGIES
from epgraph.init_rules import INITIAL
from epgraph.learning_rules import ESTIMATORS

MAX_UNITS = 2**31 - 1
"""Most units a state may have; a larger tensor cannot be indexed by the kernels."""


def to_tuple(value: object) -> object:
    """Return a list as a tuple: YAML has lists, and strict models want tuples."""
    return tuple(value) if isinstance(value, list) else value


def _activation(value: object) -> Activation:
    try:
        return parse_activation(value)
    except ValueError as error:
        message, _, hint = str(error).partition("; ")
        raise PydanticCustomError("activation", "{message}", {"message": message, "hint": hint}) from None


def _one_of(what: str, registered: Mapping[str, object]) -> Callable[[object], object]:
    """Return a validator of names that are registered by then."""

    def check(value: object) -> object:
        if isinstance(value, str) and value in registered:
            return value
        *names, last = (f"'{name}'" for name in registered)
        expected = f"{', '.join(names)} or {last}" if names else last
        raise PydanticCustomError("literal_error", f"unknown {what}, expected {{expected}}", {"expected": expected})

    return check


NAME_PATTERN = r"^[A-Za-z][A-Za-z0-9_]{0,63}$"
"""What a name looks like."""

Name = Annotated[
    str,
    Field(
        pattern=NAME_PATTERN,
        description="A letter, then letters, digits or '_'; it names parameters and lines of generated code.",
    ),
]
Size = Annotated[int, Field(ge=1, le=2**24)]


class Described:
    """Describes a field in JSON Schema when that is made: what is registered by then is part of it.

    ``describe`` is given pydantic's handler, which turns schemas of models into JSON Schema.
    """

    def __init__(self, describe: Callable[[GetJsonSchemaHandler], dict[str, Any]]) -> None:
        self.describe = describe

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return self.describe(handler)


def _names(registered: Mapping[str, object]) -> Described:
    return Described(lambda handler: {"type": "string", "enum": list(registered)})


ActivationField = Annotated[
    Activation,
    PlainValidator(_activation),
    PlainSerializer(activation_to_yaml),
    Described(lambda handler: activation_schema()),
]
ShapeField = Annotated[
    tuple[Size, ...],
    Field(min_length=1, max_length=3),
    BeforeValidator(to_tuple),
    Field(description="[channels, height, width] or [units].", examples=[[3, 32, 32]]),
]
CostField = Annotated[str, BeforeValidator(_one_of("cost", COSTS)), _names(COSTS)]
EnergyField = Annotated[str, BeforeValidator(_one_of("energy", ENERGIES)), _names(ENERGIES)]
EstimatorField = Annotated[str, BeforeValidator(_one_of("estimator", ESTIMATORS)), _names(ESTIMATORS)]
InitRuleField = Annotated[str, BeforeValidator(_one_of("rule", INITIAL)), _names(INITIAL)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]


class Model(BaseModel):
    """Strict, closed and frozen base of everything in the language."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

"""Values that are a name or ``{name: options}``: ``dynamics.solver``, ``training.optimizer`` and ``schedule``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic_core import PydanticCustomError, core_schema

from epgraph.optimizers import OPTIMIZERS, Optimizer
from epgraph.rates import RATE_SCHEDULES, Schedule
from epgraph.solvers import SOLVERS, Solver


@lru_cache(maxsize=24)
def _spec(members: tuple[tuple[str, type[BaseModel]], ...]) -> type[BaseModel]:
    fields: dict[str, Any] = {name: (cls, Field(default=None)) for name, cls in members}
    return create_model("ChoiceSpec", __config__=ConfigDict(strict=True, extra="forbid"), **fields)


@dataclass(frozen=True, eq=False)
class Choice:
    """Validates, dumps and describes a value by the members that are registered when that happens.

    Attributes
    ----------
    what
        What a member is called in messages; its base class is ``base``.
    example
        A member with options, for a hint.
    """

    what: str
    base: type[Any]
    members: Mapping[str, type[Any]]
    example: str

    def spec(self) -> type[BaseModel]:
        """Return a model with a field for each member that there is now, those of the user included."""
        return _spec(tuple(self.members.items()))

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._read,
            serialization=core_schema.plain_serializer_function_ser_schema(self._dump, info_arg=True),
        )

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: Any) -> dict[str, Any]:
        options = {name: _described(member) for name, member in self.members.items()}
        one = {"type": "object", "properties": options, "minProperties": 1, "maxProperties": 1}
        names = [name for name, member in self.members.items() if not _needs_options(member)]
        return {"anyOf": [{"enum": names}, {**one, "additionalProperties": False}]}

    def _read(self, value: object) -> Any:
        if isinstance(value, self.base) and self.members.get(value.name) is type(value):
            return value
        *names, last = (f"'{name}'" for name in self.members)
        if isinstance(value, str) and value in self.members:
            value = {value: {}}
        if not isinstance(value, dict):
            message, expected = f"unknown {self.what}, expected {{expected}}", f"{', '.join(names)} or {last}"
            raise PydanticCustomError("literal_error", message, {"expected": expected})
        spec = self.spec().model_validate({name: {} if given is None else given for name, given in value.items()})
        chosen = [member for member in vars(spec).values() if member is not None]
        if len(chosen) != 1:
            raise PydanticCustomError(
                "conflicting_keys",
                "'{what}' holds exactly one {what}, found {count}",
                {
                    "what": self.what,
                    "count": len(chosen),
                    "hint": f"one of: {', '.join(self.members)}; e.g. {self.example}",
                },
            )
        return chosen[0]

    def _dump(self, value: Any, info: core_schema.SerializationInfo) -> Any:
        return choice_to_yaml(value, complete=not info.exclude_defaults)


def choice_to_yaml(value: Any, *, complete: bool) -> str | dict[str, Any]:
    """Return the text or mapping that stands for a solver, an optimizer or a schedule; ``complete``: with defaults."""
    options = value.model_dump(mode="json", exclude_defaults=not complete)
    return {value.name: options} if options else str(value.name)


_SAID = ("title", "description", "examples", "default")


def _needs_options(member: type[BaseModel]) -> bool:
    try:
        member()
    except ValueError:
        return True
    return False


def _described(member: type[Any]) -> dict[str, Any]:
    """Options of a member in JSON Schema: a mapping; of a solver also the first one alone."""
    schema = member.model_json_schema()
    options: list[dict[str, Any]] = (
        list(schema.get("properties", {}).values())[:1] if issubclass(member, Solver) else []
    )
    return {
        "anyOf": [
            *({key: value for key, value in one.items() if key not in _SAID} for one in options),
            {key: value for key, value in schema.items() if key not in _SAID},
            *([] if _needs_options(member) else [{"type": "null"}]),
        ],
        "description": (member.__doc__ or member.name).strip().splitlines()[0],
        "examples": [one["examples"][0] for one in options if "examples" in one] or [{}],
    }


SOLVER = Choice("solver", Solver, SOLVERS, "{anderson: 5}")
OPTIMIZER = Choice("optimizer", Optimizer, OPTIMIZERS, "{adam: {eps: 1e-7}}")
SCHEDULE = Choice("schedule", Schedule, RATE_SCHEDULES, "{step: {every: 30}}")

SolverField = Annotated[Solver, SOLVER]
OptimizerField = Annotated[Optimizer, OPTIMIZER]
RateScheduleField = Annotated[Schedule, SCHEDULE]

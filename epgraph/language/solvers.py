"""The value of ``dynamics.solver``: a name, or a name with options."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic_core import PydanticCustomError, core_schema

from epgraph.solvers import SOLVERS, Solver


def solver_spec() -> type[BaseModel]:
    """Return a model with a field for each solver that there is now, those of the user included."""
    return _solver_spec(tuple(SOLVERS.items()))


@lru_cache(maxsize=8)
def _solver_spec(solvers: tuple[tuple[str, type[Solver]], ...]) -> type[BaseModel]:
    fields: dict[str, Any] = {name: (cls, Field(default=None)) for name, cls in solvers}
    return create_model("SolverSpec", __config__=ConfigDict(strict=True, extra="forbid"), **fields)


class _Current:
    """Validates, dumps and describes a solver by those that are registered when that happens."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._read,
            serialization=core_schema.plain_serializer_function_ser_schema(cls._dump, info_arg=True),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: core_schema.CoreSchema, handler: Any) -> dict[str, Any]:
        options = {name: _described(solver) for name, solver in SOLVERS.items()}
        one = {"type": "object", "properties": options, "minProperties": 1, "maxProperties": 1}
        names = [name for name, solver in SOLVERS.items() if not _needs_options(solver)]
        return {"anyOf": [{"enum": names}, {**one, "additionalProperties": False}]}

    @staticmethod
    def _read(value: object) -> Solver:
        if isinstance(value, Solver) and SOLVERS.get(value.name) is type(value):
            return value
        names = " or ".join([", ".join(f"'{name}'" for name in [*SOLVERS][:-1]), f"'{[*SOLVERS][-1]}'"])
        if isinstance(value, str) and value in SOLVERS:
            value = {value: {}}
        if not isinstance(value, dict):
            raise PydanticCustomError("literal_error", "unknown solver, expected {expected}", {"expected": names})
        spec = solver_spec().model_validate(value)
        solvers = [solver for solver in vars(spec).values() if solver is not None]
        if len(solvers) != 1:
            raise PydanticCustomError(
                "conflicting_keys",
                "'solver' holds exactly one solver, found {count}",
                {"count": len(solvers), "hint": f"one of: {', '.join(SOLVERS)}; e.g. {{anderson: 5}}"},
            )
        solver: Solver = solvers[0]
        return solver

    @staticmethod
    def _dump(solver: Solver, info: core_schema.SerializationInfo) -> Any:
        return solver_to_yaml(solver, complete=not info.exclude_defaults)


def solver_to_yaml(solver: Solver, *, complete: bool) -> str | dict[str, Any]:
    """Return the value of ``dynamics.solver`` that stands for a solver; ``complete`` writes defaults as well."""
    options = solver.model_dump(mode="json", exclude_defaults=not complete)
    return {solver.name: options} if options else solver.name


_SAID = ("title", "description", "examples", "default")


def _needs_options(solver: type[Solver]) -> bool:
    return any(field.is_required() for field in solver.model_fields.values())


def _described(solver: type[Solver]) -> dict[str, Any]:
    """Options of a solver in JSON Schema: the first one alone, or a mapping."""
    schema = solver.model_json_schema()
    options: list[dict[str, Any]] = list(schema.get("properties", {}).values())[:1]
    return {
        "anyOf": [
            *({key: value for key, value in one.items() if key not in _SAID} for one in options),
            {key: value for key, value in schema.items() if key not in _SAID},
            *([] if _needs_options(solver) else [{"type": "null"}]),
        ],
        "description": (solver.__doc__ or solver.name).strip().splitlines()[0],
        "examples": [one["examples"][0] for one in options if "examples" in one] or [{}],
    }


SolverField = Annotated[Solver, _Current]

"""The edges of a network as the user writes them: two ends, or one, and one kind with its options."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any, cast

from pydantic import (
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    PlainValidator,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    create_model,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from epgraph.kinds import KINDS, EdgeKind
from epgraph.language.model.fields import Described, Model, Name, NonNegativeFloat

_ENDS = ("from", "to", "source", "target")
"""Keys of the two ends of an edge, as written and as named in Python."""


def one_end(ends: Sequence[str]) -> str:
    """Hint for a kind that acts on one state, where an edge names several."""
    names = " or ".join(f"at: {end}" for end in dict.fromkeys(ends))
    return f"write {names} in place of from and to"


def _one_spelling(schema: dict[str, Any]) -> None:
    """In JSON Schema: 'from' and 'to', or 'at' and neither of them."""
    schema["required"] = [key for key in schema.get("required", []) if key not in _ENDS]
    if not schema["required"]:
        del schema["required"]
    neither = {"not": {"anyOf": [{"required": ["from"]}, {"required": ["to"]}]}}
    both = {"required": ["from", "to"], "properties": {"at": {"type": "null"}}}
    schema["oneOf"] = [both, {"required": ["at"], **neither}]


class EdgeBase(Model):
    """A weighted edge; besides the keys below it holds exactly one edge kind with its options."""

    model_config = ConfigDict(json_schema_extra=_one_spelling)

    source: Name = Field(alias="from", description="State to which A_e is applied.", examples=["x"])
    target: Name = Field(
        alias="to", description="State that receives A_e s; the interaction is symmetric.", examples=["h1"]
    )
    at: Name | None = Field(
        default=None,
        description="The state of a unary kind, in place of 'from' and 'to'.",
        examples=["h1"],
    )
    name: Name | None = Field(
        default=None, description="Name of the edge; by default '<from>_<to>' or '<at>_<kind>'.", examples=["head"]
    )
    gain: NonNegativeFloat | None = Field(
        default=None,
        description="Initial weights are uniform in ±gain/√fan_in; by default the gain of 'defaults'.",
        examples=[0.6],
    )
    learning_rate: NonNegativeFloat | None = Field(
        default=None, description="Learning rate of the weight; by default that of 'training'.", examples=[0.03, 0]
    )
    weight_decay: NonNegativeFloat | None = Field(
        default=None, description="Decay of the weight; by default that of 'training'.", examples=[0, 1e-4]
    )
    tie: Name | None = Field(
        default=None,
        description="Name of another edge of the same kind, whose weight this one shares.",
        examples=["h1_h2"],
    )
    frozen: bool = Field(
        default=False, description="Whether the weight keeps its initial or loaded value.", examples=[True]
    )

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        # `dense:` with nothing after it is `dense: {}`.
        data = {key: {} if value is None and key in KINDS else value for key, value in data.items()}
        if data.get("at") is None:
            unary = next((name for name, kind in KINDS.items() if kind.unary and data.get(name) is not None), None)
            ends = [key for key in _ENDS if data.get(key) is not None]
            if unary and len(ends) < 2:
                hint = f"write at in place of {ends[0]}" if ends else f"e.g. {{at: h1, {unary}: …}}"
                raise PydanticCustomError(
                    "missing_key", "missing key 'at'", {"hint": f"'{unary}' acts on one state: {hint}"}
                )
            return data
        for key in _ENDS:
            if data.get(key) is not None:
                raise PydanticCustomError(
                    "edge_ends",
                    "an edge has 'at', or 'from' and 'to', found 'at' and '{key}'",
                    {"key": key, "hint": "'at' for kinds that act on one state, 'from' and 'to' for all others"},
                )
        return {**data, "from": data["at"], "to": data["at"]}

    @model_serializer(mode="wrap")
    def _as_written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        if self.at is not None:
            for key in _ENDS:
                values.pop(key, None)
        return values

    @model_validator(mode="after")
    def _one_kind_that_fits_the_ends(self) -> EdgeBase:
        names = [name for name in KINDS if getattr(self, name) is not None]
        if len(names) != 1:
            listed = " and ".join(f"'{name}'" for name in names) or "none"
            hint = f"one of: {', '.join(KINDS)}; e.g. conv: {{kernel: 3, padding: 1}}"
            message = "an edge holds exactly one kind, found {found}"
            raise PydanticCustomError("edge_kind", message, {"found": listed, "hint": hint})
        kind = KINDS[names[0]]
        if kind.unary and self.at is None:
            raise PydanticCustomError(
                "edge_ends",
                "'{kind}' acts on one state, found 'from' and 'to'",
                {"kind": kind.name, "hint": one_end([self.source, self.target]), "ends": (self.source, self.target)},
            )
        if not kind.unary and self.at is not None:
            unary = " or ".join(f"'{name}'" for name, one in KINDS.items() if one.unary)
            raise PydanticCustomError(
                "edge_ends",
                "'{kind}' joins two states, found 'at'",
                {"kind": kind.name, "hint": f"write from and to in its place, or use {unary}"},
            )
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # The class is created by ``edge_spec``, and has no name by which pickle could find it.
        return read_edge, (self.model_dump(by_alias=True, exclude_unset=True),)

    @property
    def kind(self) -> EdgeKind:
        """The edge's kind with its options."""
        # Of the keys that were written, and not of all kinds: this is asked for many times.
        kinds = (getattr(self, name) for name in self.model_fields_set if name in KINDS)
        return cast(EdgeKind, next(kind for kind in kinds if kind is not None))


def edge_spec() -> type[EdgeBase]:
    """Return the model of an edge with a field for each kind that there is now, those of the user included."""
    return _edge_spec(tuple(KINDS.items()))


@lru_cache(maxsize=8)
def _edge_spec(kinds: tuple[tuple[str, type[EdgeKind]], ...]) -> type[EdgeBase]:
    fields: dict[str, Any] = {
        name: (
            kind | None,
            Field(default=None, description=(kind.__doc__ or name).strip().splitlines()[0], examples=[_options(kind)]),
        )
        for name, kind in kinds
    }
    return create_model("EdgeSpec", __base__=EdgeBase, __doc__=EdgeBase.__doc__, **fields)


def _options(kind: type[EdgeKind]) -> dict[str, Any]:
    """Options that a kind cannot do without, by the first example of each."""
    required = {name: field for name, field in kind.model_fields.items() if field.is_required()}
    return {name: (field.examples or [None])[0] for name, field in required.items()}


def read_edge(value: object) -> EdgeBase:
    """Validate an edge against the kinds that there are now."""
    # Raised inside of a larger model, pydantic puts the place of the edge before the places in the errors of this.
    return edge_spec().model_validate(value)


def _write_edge(edge: EdgeBase, info: SerializationInfo) -> dict[str, Any]:
    return edge.model_dump(
        mode=info.mode,
        by_alias=bool(info.by_alias),
        exclude_defaults=info.exclude_defaults,
        exclude_unset=info.exclude_unset,
        exclude_none=info.exclude_none,
    )


def _edge_schema(handler: GetJsonSchemaHandler) -> dict[str, Any]:
    schema = handler.resolve_ref_schema(handler(edge_spec().__pydantic_core_schema__))
    ends = {True: ["at"], False: ["from", "to"]}
    kinds = [{"required": [name, *ends[kind.unary]]} for name, kind in KINDS.items()]
    return {**schema, "allOf": [{"oneOf": kinds}]}


# Kinds may be registered at any time, and models that hold edges are built once, at import.
EdgeField = Annotated[EdgeBase, PlainValidator(read_edge), PlainSerializer(_write_edge), Described(_edge_schema)]

"""Options with one number for each side of an image: their types, and how they are read and written."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, ValidationInfo
from pydantic_core import PydanticCustomError

from epgraph.errors import nearest
from epgraph.kinds.kind import NonNegative, Positive

Pair = tuple[int, int]
"""One number for the rows and one for the columns."""


def _pair(value: object, info: ValidationInfo) -> object:
    # YAML has lists; strict models need tuples. The length is checked here and not by the type, because pydantic
    # counts only the valid entries and would report a wrong entry as too few.
    if isinstance(value, list | tuple) and len(value) != 2:
        context = {"key": info.field_name, "count": len(value), "hint": "one number for both sides, or [rows, columns]"}
        raise PydanticCustomError("pair", "'{key}' needs 2 entries, found {count}", context)
    return tuple(value) if isinstance(value, list) else value


def _tag(value: object) -> str:
    return "<pair>" if isinstance(value, list | tuple) else "<word>" if isinstance(value, str) else "<number>"


def _tag_of_number(value: object) -> str:
    return "<pair>" if isinstance(value, list | tuple) else "<number>"


def _only(word: str, expected: str) -> BeforeValidator:
    """Refuse any other text, and name the values that are possible."""

    def check(value: object, info: ValidationInfo) -> object:
        if value == word:
            return value
        context = {"key": info.field_name, "expected": expected, "found": str(value)[:40]}
        raise PydanticCustomError(
            "word", "'{key}' expects {expected}, found text '{found}'", {**context, "hint": nearest(str(value), [word])}
        )

    return BeforeValidator(check)


_TWO = Field(json_schema_extra={"minItems": 2, "maxItems": 2})
_PositivePair = Annotated[tuple[Positive, ...], BeforeValidator(_pair), _TWO, Tag("<pair>")]
_NonNegativePair = Annotated[tuple[NonNegative, ...], BeforeValidator(_pair), _TWO, Tag("<pair>")]

PositivePixels = Annotated[Annotated[Positive, Tag("<number>")] | _PositivePair, Discriminator(_tag_of_number)]
"""A number of at least 1 for both sides, or [rows, columns]."""

NonNegativePixels = Annotated[Annotated[NonNegative, Tag("<number>")] | _NonNegativePair, Discriminator(_tag_of_number)]
"""A number of at least 0 for both sides, or [rows, columns]."""

Padding = Annotated[
    Annotated[NonNegative, Tag("<number>")]
    | _NonNegativePair
    | Annotated[Literal["same"], _only("same", "an integer, [rows, columns] or 'same'"), Tag("<word>")],
    Discriminator(_tag),
]
"""``NonNegativePixels``, or ``same``: as many zeros as keep the size."""

Groups = Annotated[
    Annotated[Positive, Tag("<number>")]
    | Annotated[Literal["depthwise"], _only("depthwise", "an integer or 'depthwise'"), Tag("<word>")],
    Discriminator(lambda value: "<word>" if isinstance(value, str) else "<number>"),
]
"""A number of groups, or ``depthwise``: as many as there are channels."""


def both(option: int | tuple[int, ...]) -> Pair:
    """Rows and columns of an option that may be one number for both."""
    return (option, option) if isinstance(option, int) else (option[0], option[1])


def short(pair: Pair) -> int | Pair:
    """One number where both are the same, as in emitted code."""
    return pair[0] if pair[0] == pair[1] else pair


def yaml_text(pair: Pair) -> str:
    """Write an option as the user would: ``2``, or ``[2, 1]``."""
    return str(pair[0]) if pair[0] == pair[1] else f"[{pair[0]}, {pair[1]}]"


def options_text(options: dict[str, Pair | str | None]) -> str:
    """Write options for a hint: ``stride: 2 with padding: 1 and dilation: [1, 2]``; empty without options."""
    parts = [
        f"{key}: {'null' if value is None else value if isinstance(value, str) else yaml_text(value)}"
        for key, value in options.items()
    ]
    return " with ".join(text for text in (parts[0], " and ".join(parts[1:])) if text) if parts else ""


def times_text(pair: Pair) -> str:
    """Write a size: ``3×5``."""
    return f"{pair[0]}×{pair[1]}"


def label_text(sign: str, pair: Pair, default: int = 1) -> str:
    """Write an option in a label, `` /2`` or `` /2×1``; empty for the default."""
    if pair == (default, default):
        return ""
    return f" {sign}{pair[0] if pair[0] == pair[1] else times_text(pair)}"


def channels_text(groups: int | Literal["depthwise"]) -> str:
    """Write groups in a label: ``4 groups``, ``depthwise``; empty for one."""
    return "" if groups == 1 else f"{groups} groups" if isinstance(groups, int) else groups

"""Numbers along both sides of an image, and how options that hold them are written and read."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, ValidationInfo
from pydantic_core import PydanticCustomError

from epgraph.errors import nearest
from epgraph.kinds.kind import NonNegative, Positive

Pair = tuple[int, int]
"""One number for the rows and one for the columns."""


def _pair(value: object, info: ValidationInfo) -> object:
    # YAML has lists and strict models want tuples. The length is no constraint of the type: beside an entry that is
    # wrong, pydantic would count what is left as too few.
    if isinstance(value, list | tuple) and len(value) != 2:
        found = {"key": info.field_name, "count": len(value), "hint": "one number for both sides, or [rows, columns]"}
        raise PydanticCustomError("pair", "'{key}' needs 2 entries, found {count}", found)
    return tuple(value) if isinstance(value, list) else value


def _tag(value: object) -> str:
    return "<pair>" if isinstance(value, list | tuple) else "<word>" if isinstance(value, str) else "<number>"


def _tag_of_number(value: object) -> str:
    return "<pair>" if isinstance(value, list | tuple) else "<number>"


def _only(word: str, expected: str) -> BeforeValidator:
    """Refuse any other text, and say what else could stand there."""

    def check(value: object, info: ValidationInfo) -> object:
        if value == word:
            return value
        found = {"key": info.field_name, "expected": expected, "found": str(value)[:40]}
        raise PydanticCustomError(
            "word", "'{key}' expects {expected}, found text '{found}'", {**found, "hint": nearest(str(value), [word])}
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
    """One number where both are the same: what emitted code is called with."""
    return pair[0] if pair[0] == pair[1] else pair


def yaml_text(pair: Pair) -> str:
    """Write an option as the user would: ``2``, or ``[2, 1]``."""
    return str(pair[0]) if pair[0] == pair[1] else f"[{pair[0]}, {pair[1]}]"


def options_text(options: dict[str, Pair | str | None]) -> str:
    """Write options as a hint does: ``stride: 2 with padding: 1 and dilation: [1, 2]``; empty where there are none."""
    written = [
        f"{key}: {'null' if value is None else value if isinstance(value, str) else yaml_text(value)}"
        for key, value in options.items()
    ]
    return " with ".join(text for text in (written[0], " and ".join(written[1:])) if text) if written else ""


def times_text(pair: Pair) -> str:
    """Write a size: ``3×5``."""
    return f"{pair[0]}×{pair[1]}"


def label_text(sign: str, pair: Pair, default: int = 1) -> str:
    """Write an option in a label, `` /2`` or `` /2×1``; nothing where it is the default."""
    if pair == (default, default):
        return ""
    return f" {sign}{pair[0] if pair[0] == pair[1] else times_text(pair)}"


def channels_text(groups: int | Literal["depthwise"]) -> str:
    """Write groups in a label: ``4 groups``, ``depthwise``; nothing for one."""
    return "" if groups == 1 else f"{groups} groups" if isinstance(groups, int) else groups

"""Activations as they are written in YAML: names, and options in braces."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import Field, fields, is_dataclass
from typing import Any

from epgraph.activations.activation import Activation
from epgraph.activations.relu import ReLU
from epgraph.discovery import classes_by_name
from epgraph.errors import nearest

_CLASSES = {
    name: cls for name, cls in classes_by_name(__name__.rpartition(".")[0], Activation).items() if cls is not ReLU
}
"""The classes in the files of this package by their names; ReLUα has a syntax of its own."""

FAMILIES: dict[str, type[Any]] = {name: cls for name, cls in _CLASSES.items() if is_dataclass(cls) and fields(cls)}
"""Activations with options, ``{tanh: {height: 2}}``: frozen dataclasses, whose fields are the options.

An option is a number above 0, or any one where the field has ``metadata={"signed": True}``.
"""

HARD_SIGMOID = "hard_sigmoid"
"""Another name of ``relu1``."""

NAMED: dict[str, Activation] = {**{name: cls() for name, cls in _CLASSES.items()}, HARD_SIGMOID: ReLU(1.0, 1.0)}
"""Activations that go by a bare name; ``relu6``, ``relu1``, ``relu2.5``, … are read as ReLUα."""

_RELU = re.compile(r"relu([0-9]+(?:\.[0-9]+)?)")
_POSITIVE = {"type": "number", "exclusiveMinimum": 0}


def activation_schema() -> dict[str, Any]:
    """JSON Schema of what ``parse_activation`` accepts, names registered by the user included."""
    levels = {
        "description": "Level α at which the state is clipped, or [low, high] to draw it once per state.",
        "examples": [6, [1, 10]],
        "anyOf": [_POSITIVE, {"type": "array", "items": _POSITIVE, "minItems": 2, "maxItems": 2}],
    }
    learn = {"description": "Whether α is learnt from where it starts.", "examples": [True], "type": "boolean"}
    families = [_mapping({"relu": levels, "learn": learn}, required=["relu"])]
    for name, family in FAMILIES.items():
        options = _mapping({one.name: _option_schema(one) for one in fields(family)})
        described = {"description": f"Options of {name}.", "examples": [{}], **options}
        families.append(_mapping({name: described}, required=[name]))
    written = [f"{{{name}: {{{', '.join(f.name for f in fields(family))}}}}}" for name, family in FAMILIES.items()]
    names = [name for name in NAMED if name != HARD_SIGMOID]
    return {
        "description": f"Activation σ: relu6, relu1 (= {HARD_SIGMOID}), relu<α>, {', '.join(names)}; "
        "{relu: α}, or {relu: [low, high]} to draw α once per state at random, with learn: true to learn it from "
        f"there; or {', '.join(written)}.",
        "examples": ["relu6", "tanh", {"relu": [1, 10]}, {"relu": 6, "learn": True}, {"softclip": {"sharpness": 8}}],
        "anyOf": [
            {"type": "string", "enum": ["relu6", "relu1", *NAMED]},
            {"type": "string", "pattern": f"^{_RELU.pattern}$"},
            *families,
        ],
    }


def _option_schema(option: Field[Any]) -> dict[str, Any]:
    said = {"description": f"{option.name} of σ.", "examples": [1], **option.metadata}
    return {
        **{key: said[key] for key in ("description", "examples")},
        **({"type": "number"} if _signed(option) else _POSITIVE),
    }


def _mapping(properties: dict[str, Any], required: Sequence[str] = ()) -> dict[str, Any]:
    needs = {"required": list(required)} if required else {}
    return {"type": "object", "additionalProperties": False, **needs, "properties": properties}


def parse_activation(value: object) -> Activation:
    """Read an activation from YAML: a name, ``{relu: α}``, ``{relu: [low, high], learn: true}`` or ``{tanh: {…}}``.

    Raises
    ------
    ValueError
        With what was expected, where the value is none of these.
    """
    if isinstance(value, Activation):
        return value
    if isinstance(value, str):
        if value in NAMED:
            return NAMED[value]
        match = _RELU.fullmatch(value)
        if match:
            return _relu(float(match[1]), float(match[1]))
        if value == "relu":
            raise ValueError("'relu' needs its clipping level α; write relu6, or {relu: α}")
        if begun := _RELU.match(value):
            raise ValueError(f"unknown activation '{value[:64]}'; did you mean '{begun[0]}'?")
        raise ValueError(f"unknown activation '{value[:64]}'; {nearest(value, ['relu6', 'relu1', *NAMED])}")
    if isinstance(value, dict) and "relu" in value and set(value) <= {"relu", "learn"}:
        alpha, learn = value["relu"], value.get("learn", False)
        if not isinstance(learn, bool):
            raise ValueError("'learn' of relu is true or false; e.g. {relu: 6, learn: true}")
        bounds = alpha if isinstance(alpha, list | tuple) else [alpha, alpha]
        numbers = [float(b) for b in bounds if _is_number(b)]
        if len(numbers) == len(bounds) == 2:
            return _relu(numbers[0], numbers[1], learn)
        raise ValueError("relu takes a number α or a list [low, high]; e.g. {relu: 6} or {relu: [1, 10]}")
    if isinstance(value, dict) and len(value) == 1 and set(value) <= set(FAMILIES):
        ((name, options),) = value.items()
        return _member(str(name), options)
    if isinstance(value, dict) and len(value) == 1 and set(value) <= set(NAMED):
        (name,) = value
        raise ValueError(f"{name} has no options; write its name alone")
    raise ValueError("expected the name of an activation; e.g. relu6, tanh or {relu: [1, 10]}")


def activation_to_yaml(activation: Activation) -> object:
    """Write an activation so that ``parse_activation`` reads it back."""
    if isinstance(activation, ReLU):
        if not activation.stored:
            plain = f"relu{activation.low!r}".removesuffix(".0")
            return plain if _RELU.fullmatch(plain) else {"relu": activation.low}
        level = [activation.low, activation.high] if activation.random else activation.low
        return {"relu": level, "learn": True} if activation.learn else {"relu": level}
    name = next((name for name, known in NAMED.items() if known == activation), None)
    if name is not None:
        return name
    found = next((name for name, family in FAMILIES.items() if type(activation) is family), None)
    if found is not None:
        options = {f.name: (getattr(activation, f.name), f.default) for f in fields(FAMILIES[found])}
        return {found: {key: value for key, (value, default) in options.items() if value != default}}
    raise ValueError(f"the activation '{activation.label}' is not registered; see epgraph.register_activation")


def _relu(low: float, high: float, learn: bool = False) -> ReLU:
    if not (0 < low <= high < math.inf):
        raise ValueError(f"relu needs 0 < low ≤ high, found [{low:g}, {high:g}]; e.g. {{relu: [1, 10]}}")
    return ReLU(low, high, learn)


def _member(name: str, options: object) -> Activation:
    """Member of a family."""
    family = FAMILIES[name]
    known = {f.name: f for f in fields(family)}
    if not isinstance(options, dict):
        raise ValueError(f"{name} takes options in braces; known: {', '.join(known)}")
    for key, number in options.items():
        if key not in known:
            raise ValueError(f"unknown option '{str(key)[:64]}' of {name}; {nearest(str(key), list(known))}")
        if not _is_number(number) or not math.isfinite(number) or (number <= 0 and not _signed(known[key])):
            wanted = "a finite number" if _signed(known[key]) else "a finite number above 0"
            raise ValueError(f"'{key}' of {name} expects {wanted}; e.g. {{{name}: {{{key}: 2}}}}")
    made: Activation = family(**{key: float(number) for key, number in options.items()})
    return made


def _signed(option: Field[Any]) -> bool:
    return bool(option.metadata.get("signed", False))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

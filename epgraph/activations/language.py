"""Activations as they are written in YAML: names, and options in braces."""

from __future__ import annotations

import math
import re
from dataclasses import Field, fields
from typing import Any

from epgraph.activations.activation import Activation
from epgraph.activations.relu import Identity, ReLU
from epgraph.activations.sigmoid import Logistic, Tanh
from epgraph.activations.softclip import STEEPEST, Softclip
from epgraph.errors import nearest

FAMILIES: dict[str, type[Any]] = {"tanh": Tanh, "logistic": Logistic, "softclip": Softclip}
"""Activations with options, ``{tanh: {height: 2}}``: frozen dataclasses, whose fields are the options.

An option is a number above 0, or any one where the field has ``metadata={"signed": True}``.
"""

NAMED: dict[str, Activation] = {
    "identity": Identity(),
    **{name: family() for name, family in FAMILIES.items()},
    "hard_sigmoid": ReLU(1.0, 1.0),
}
"""Activations that go by a bare name; ``relu6``, ``relu1``, ``relu2.5``, … are read as ReLUα."""

_RELU = re.compile(r"relu([0-9]+(?:\.[0-9]+)?)")
_POSITIVE = {"type": "number", "exclusiveMinimum": 0}
_OPTIONS = {
    "relu": ("Level α at which the state is clipped, or [low, high] to draw it once per state.", [6, [1, 10]]),
    "learn": ("Whether α is learnt from where it starts.", [True]),
    "slope": ("Slope of σ at its centre.", [2]),
    "height": ("Largest value of σ.", [1]),
    "center": ("Pre-activation at the middle of the range.", [0]),
    "alpha": ("Level α at which the state is clipped, softly.", [6]),
    "sharpness": ("Sharpness k of both bends; large k is nearly ReLUα.", [8]),
}


def activation_schema() -> dict[str, Any]:
    """JSON Schema of what ``parse_activation`` accepts, names registered by the user included."""
    levels = {"anyOf": [_POSITIVE, {"type": "array", "items": _POSITIVE, "minItems": 2, "maxItems": 2}]}
    families: list[dict[str, Any]] = [
        _mapping({"relu": levels, "learn": {"type": "boolean"}}, required="relu"),
    ]
    for name, family in FAMILIES.items():
        options = {f.name: {"type": "number"} if _signed(f) else _POSITIVE for f in fields(family)}
        families.append(_mapping({name: _mapping(options)}, required=name))
    written = [f"{{{name}: {{{', '.join(f.name for f in fields(family))}}}}}" for name, family in FAMILIES.items()]
    return {
        "description": f"Activation σ: relu6, relu1 (= hard_sigmoid), relu<α>, identity, {', '.join(FAMILIES)}; "
        "{relu: α}, or {relu: [low, high]} to draw α once per state at random, with learn: true to learn it from "
        f"there; or {', '.join(written)}.",
        "examples": ["relu6", "tanh", {"relu": [1, 10]}, {"relu": 6, "learn": True}, {"softclip": {"sharpness": 8}}],
        "anyOf": [
            {"type": "string", "enum": ["relu6", "relu1", *NAMED]},
            {"type": "string", "pattern": f"^{_RELU.pattern}$"},
            *families,
        ],
    }


def _mapping(options: dict[str, dict[str, Any]], required: str = "") -> dict[str, Any]:
    properties = {}
    for name, schema in options.items():
        description, examples = _OPTIONS.get(name, (f"{name} of σ.", [1]))
        if "properties" in schema:
            description, examples = f"Options of {name}.", [{}]
        properties[name] = {"description": description, "examples": examples, **schema}
    needs = {"required": [required]} if required else {}
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
    if isinstance(made, Softclip) and made.alpha * made.sharpness > STEEPEST:
        raise ValueError(
            f"alpha · sharpness of softclip is {made.alpha * made.sharpness:g} and may be at most {STEEPEST:g}; "
            f"lower sharpness to {STEEPEST / made.alpha:g}, or use {{relu: {made.alpha:g}}}"
        )
    return made


def _signed(option: Field[Any]) -> bool:
    return bool(option.metadata.get("signed", False))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

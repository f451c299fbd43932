"""Checks of the arguments of public functions: each is read once, at the entry, or refused by name.

A NumPy or torch scalar counts as a Python number. A bool is no number, text is no list of names, and NaN and infinity
are refused.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar

from epgraph.errors import EpgraphError, nearest

T = TypeVar("T")


def whole_number(name: str, value: object, least: int, most: int | None = None) -> int:
    """Return a whole number from ``least`` to ``most``."""
    if type(value) is not int:  # the common case, without further checks
        value = unboxed(value)
        if isinstance(value, bool) or not isinstance(value, Integral):
            hint = ""
            if isinstance(value, float) and math.isfinite(value) and name.isidentifier():
                hint = f"write {name}={max(least, round(value))}"
            raise refused(f"{name} expects a whole number, found {shown(value)}", hint)
        value = int(value)
    if value < least or (most is not None and value > most):
        bounds = f"at least {least}" if most is None else f"from {least} to {most}"
        raise EpgraphError(f"{name} must be {bounds}, found {value}", rule="out-of-range")
    return value


def number(name: str, value: object, *, positive: bool = False, least: float = -math.inf) -> float:
    """Return a finite number, ``positive`` or at least ``least``."""
    if type(value) is not float:
        value = unboxed(value)
        if isinstance(value, bool) or not isinstance(value, Real):
            attached = getattr(value, "requires_grad", False)
            hint = f"no gradient would reach it: pass {name}.item()" if attached else ""
            raise refused(f"{name} expects a number, found {shown(value)}", hint)
        try:
            value = float(value)
        except OverflowError:
            value = math.inf
    if not math.isfinite(value):
        raise EpgraphError(f"{name} must be finite, found {value}", rule="out-of-range")
    if value < least or (positive and value <= 0):
        bound = "a positive number" if positive else f"at least {least:g}"
        raise EpgraphError(f"{name} must be {bound}, found {value:g}", rule="out-of-range")
    return value


def flag(name: str, value: object) -> bool:
    """Return True or False; other truthy values are refused."""
    value = unboxed(value)
    if not isinstance(value, bool):
        raise refused(f"{name} expects True or False, found {shown(value)}")
    return value


def choice(name: str, value: object, names: Iterable[str]) -> str:
    """Return one of ``names``."""
    if not isinstance(value, str):
        raise refused(f"{name} expects a name, found {shown(value)}", nearest("", list(names)))
    names = list(names)
    if value not in names:
        raise EpgraphError(f"unknown {name} '{value[:64]}'", nearest(value, names), "unknown-value")
    return value


def several(name: str, values: object) -> list[Any]:
    """Return the entries of a list, or of another iterable that is no text, mapping or single value."""
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        one = f"write {name}=[{values!r}]" if isinstance(values, str) else ""
        raise refused(f"{name} expects a list, found {shown(values)}", one)
    return list(values)


def text(name: str, value: object, hint: str = "") -> str:
    """Return text."""
    if not isinstance(value, str):
        raise refused(f"{name} expects text, found {shown(value)}", hint)
    return value


def instance(name: str, value: T, kind: type, hint: str = "") -> T:
    """Return an instance of a class."""
    if not isinstance(value, kind):
        expected = "a mapping" if kind is Mapping else f"{_article(kind.__name__)} {kind.__name__}"
        raise refused(f"{name} expects {expected}, found {shown(value)}", hint)
    return value


def path(name: str, value: object) -> Path:
    """Return the path of text or a path-like object."""
    if not isinstance(value, str | os.PathLike) or isinstance(os.fspath(value), bytes):
        hint = "decode it: os.fsdecode" if isinstance(value, bytes) else "text or a pathlib.Path"
        raise refused(f"{name} expects a path, found {shown(value)}", hint)
    return Path(value)


def unboxed(value: Any) -> Any:
    """Convert a NumPy or torch scalar to a Python number; return anything else unchanged."""
    if getattr(value, "ndim", None) != 0 or getattr(value, "requires_grad", False):
        return value
    try:
        return value.item()
    except (AttributeError, RuntimeError):  # a scalar on torch's meta device has no value
        return value


def shown(value: object) -> str:
    """Describe a value for a message: a short one as Python writes it, any other by its type."""
    if value is None or isinstance(value, bool | int | float | complex):
        text = repr(value)
        return text if len(text) <= 40 else f"{text[:20]}… ({len(text)} digits)"
    if isinstance(value, str):
        return f"text '{value[:40]}{'…' if len(value) > 40 else ''}'"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    kind = type(value).__name__
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    # A nested tensor has no shape.
    if isinstance(shape, Sequence) and dtype is not None:
        kind = f"NumPy {kind}" if type(value).__module__ == "numpy" else kind
        return f"a {kind} of shape {tuple(shape)} and {str(dtype).removeprefix('torch.')}"
    return kind if isinstance(value, bytes) else f"{_article(kind)} {kind}"


def refused(message: str, hint: str = "") -> EpgraphError:
    """Return the error for an argument of another type."""
    return EpgraphError(message, hint, "wrong-type")


def _article(name: str) -> str:
    return "an" if name[:1] in "AEIOUaeiou" else "a"

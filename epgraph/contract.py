"""Return types of the methods of a user's own kind, activation or cost, and errors that name the method.

Without this check, None in place of a number would fail later, somewhere in epgraph, and a list would never equal a
tuple of the same shape. Each method of a class is replaced by one that checks its result, at about 1 µs a call.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from functools import wraps
from types import FunctionType
from typing import Any, get_args

from epgraph.errors import Diagnostic, EpgraphError
from epgraph.kinds.kind import End

Rule = tuple[str, Callable[[Any], Any]]
"""Expected value in words; a function that converts the value, or raises TypeError or ValueError."""

HINT = "fix the plugin; 'epgraph check FILE --verify' tries the methods of kinds, activations and costs"


def hold(cls: type, rules: Mapping[str, Rule], what: str) -> None:
    """Let methods of a class raise EpgraphError if their result breaks its rule.

    This includes the user's own base classes, and excludes those of epgraph. Attributes are checked at once.

    Parameters
    ----------
    what
        Name of the class in messages, e.g. ``"edge kind 'channelwise'"``.
    """
    for owner in cls.__mro__:
        if not is_own(owner):
            continue
        for name, rule in rules.items():
            value = vars(owner).get(name)
            if isinstance(value, FunctionType):
                setattr(owner, name, _held(value, name, rule, what))
            elif isinstance(value, property) and isinstance(value.fget, FunctionType):
                setattr(owner, name, property(_held(value.fget, name, rule, what), value.fset, value.fdel))
            elif name in vars(owner) and not callable(value) and not hasattr(value, "__get__"):
                _convert(value, name, rule, what, "is", None)


def is_own(cls: type) -> bool:
    """Whether a class is the user's, and not from epgraph or a base of its classes."""
    return cls.__module__.split(".")[0] not in ("epgraph", "pydantic", "builtins", "abc", "typing")


def _held(function: FunctionType, name: str, rule: Rule, what: str) -> Callable[..., Any]:
    # A class that is registered twice is wrapped once, with its newest name.
    inner = getattr(function, "held", function)

    @wraps(inner)
    def method(*arguments: Any, **options: Any) -> Any:
        return _convert(inner(*arguments, **options), name, rule, what, "returns", inner)

    method.held = inner  # type: ignore[attr-defined]
    return method


def _convert(value: Any, name: str, rule: Rule, what: str, verb: str, function: FunctionType | None) -> Any:
    expected, convert = rule
    try:
        return convert(value)
    except (TypeError, ValueError):
        text = _shown(value)
    place = (None, None) if function is None else (function.__code__.co_filename, function.__code__.co_firstlineno)
    message = f"{what}: {name} {verb} {text}: expected {expected}"
    raise EpgraphError(Diagnostic(message, HINT, file=place[0], line=place[1], rule="plugin"))


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # it is the user's own class
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:60]}…"


def _whole(value: Any) -> int:
    if isinstance(value, bool):
        raise TypeError
    number = operator.index(value)
    if number < 0:
        raise ValueError
    return number


def _shape(value: Any) -> tuple[int, ...]:
    if not isinstance(value, tuple | list):
        raise TypeError
    shape = tuple(_whole(n) for n in value)
    if 0 in shape or not shape:
        raise ValueError
    return shape


def _shape_or_none(value: Any) -> tuple[int, ...] | None:
    return None if value is None else _shape(value)


def _blocks(value: Any) -> tuple[int, ...]:
    return () if value == () else _shape(value)


def _number(value: Any) -> float:
    if isinstance(value, bool | str | bytes) or not math.isfinite(number := float(value)) or number < 0:
        raise TypeError
    return number


def _number_or_none(value: Any) -> float | None:
    return None if value is None else _number(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _end(value: Any) -> Any:
    if value not in get_args(End):
        raise ValueError
    return value


def _tensor(value: Any) -> Any:
    from torch import Tensor
    from torch.fx import Proxy

    # A proxy stands for a tensor while torch.fx traces.
    if not isinstance(value, Tensor | Proxy):
        raise TypeError
    return value


def _two_tensors(value: Any) -> Any:
    if not isinstance(value, tuple | list):  # a tensor of two rows would unpack too
        raise TypeError
    first, second = value
    return _tensor(first), _tensor(second)


def _two_or_none(value: Any) -> Any:
    if value is not None:
        _, _ = value
    return value


def _range(value: Any) -> tuple[float, float]:
    low, high = (_number(end) for end in value)
    if low > high:
        raise ValueError
    return low, high


def _step(value: Any) -> Any:
    if not isinstance(value, tuple | list):  # a tensor of two rows would be taken apart
        raise TypeError
    memory, proposed = value
    return memory, None if proposed is None else _tensor(proposed)


WHOLE: Rule = ("a whole number, 0 or more", _whole)
SHAPE: Rule = ("a tuple of whole numbers above 0, or None", _shape_or_none)
NUMBER: Rule = ("a finite number, 0 or more", _number)
NUMBER_OR_NONE: Rule = ("a finite number, 0 or more, or None", _number_or_none)
FLAG: Rule = ("True or False", _flag)
TEXT: Rule = ("text", _text)
END: Rule = (" or ".join(repr(end) for end in get_args(End)), _end)
TENSOR: Rule = ("a tensor", _tensor)
TENSORS: Rule = ("two tensors", _two_tensors)

KIND: dict[str, Rule] = {
    **dict.fromkeys(("target_shape", "source_shape", "weight_shape"), SHAPE),
    **dict.fromkeys(("fan_in", "degree", "macs"), WHOLE),
    "weight_bound": NUMBER,
    "weight_blocks": ("a tuple of whole numbers above 0", _blocks),
    **dict.fromkeys(("label", "suggest", "dropped"), TEXT),
    **dict.fromkeys(("linear", "unary", "damps", "is_linear"), FLAG),
    **dict.fromkeys(("source_end", "target_end"), END),
    **dict.fromkeys(("forward", "forward_pair", "adjoint", "adjoint_pair", "potential", "concavity"), TENSOR),
    **dict.fromkeys(("adjoint_untied", "adjoint_untied_pair", "weight_gradient", "weight_contrast"), TENSOR),
}
"""Methods and attributes of an edge kind."""

ACTIVATION: dict[str, Rule] = {
    "label": TEXT,
    **dict.fromkeys(("projects", "smooth", "holomorphic", "stored", "learnt", "invertible"), FLAG),
    "steepest": NUMBER_OR_NONE,
    "bounds": ("two numbers, or None", _two_or_none),
    "alpha_range": ("two finite numbers, 0 or more, the smaller one first", _range),
    **dict.fromkeys(("apply_", "derivative", "holomorphic_derivative", "self_energy"), TENSOR),
    **dict.fromkeys(("inverse", "excess_contrast"), TENSOR),
    **dict.fromkeys(("pair", "inverse_pair"), TENSORS),
}
"""Methods and attributes of an activation."""

COST: dict[str, Rule] = {
    **dict.fromkeys(("readout", "holomorphic", "quadratic", "least_at_target"), FLAG),
    **dict.fromkeys(("value", "gradient", "holomorphic_gradient"), TENSOR),
    "gradient_pair": TENSORS,
    "curvature": NUMBER_OR_NONE,
}
"""Methods and attributes of a cost."""

SOLVER: dict[str, Rule] = {
    "title": TEXT,
    "omega": NUMBER,
    "step": ("what to remember, and a tensor or None", _step),
    "accept": TENSOR,
}
"""Methods and attributes of a solver."""

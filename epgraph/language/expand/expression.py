"""Expressions over parameters: ``$channels``, ``$(2 * channels)``, ``d$(i + 1)``.

An expression is parsed with ``ast`` and interpreted here; Python never runs it. Only a few node types are allowed, and
the sizes of numbers, texts and lists are limited in advance, so no expression takes long or much memory.
"""

from __future__ import annotations

import ast
import math
import operator
import re
import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from epgraph.language.expand.limits import MAX_ENTRIES, MAX_NUMBER, MAX_TEXT, Budget

UNKNOWN = object()
"""Value of a parameter that is missing, or whose own expression is wrong."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ARITHMETIC = re.compile(r"\$([A-Za-z_]\w*)\s*(\*\*|//|[-+*/%])\s*(\$?\w+(?:\.\d+)?)")
_DEEPEST = 60
_LARGEST_EXPONENT = 64
_MOST_DIGITS = 400


class ExpressionError(Exception):
    """An expression that cannot be evaluated; ``hint`` suggests a correction."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UnknownError(Exception):
    """An expression over an UNKNOWN parameter, whose mistake is already reported."""


def substitute(text: str, names: Mapping[str, Any], budget: Budget) -> Any:
    """Evaluate the expressions in a text.

    Parameters
    ----------
    text
        ``$name`` or ``$(…)`` as the whole text gives the value itself: a number, a list, true, text, null. Inside
        other text the value is written out. ``$$`` is a dollar sign.
    names
        Values of the parameters.

    Raises
    ------
    ExpressionError
        With the reason.
    UnknownError
        If a parameter is UNKNOWN.
    """
    parts = _parts(text)
    if len(parts) == 1 and not isinstance(parts[0], str):
        return _Evaluation(names, budget).value(parts[0])
    written = ""
    for part in parts:
        if isinstance(part, str):
            written += part
            continue
        value = _Evaluation(names, budget).value(part)
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ExpressionError(
                f"{_kind(value)} cannot stand inside a text",
                "only numbers and texts can; to index a list, write $(list[0])",
            )
        written += value if isinstance(value, str) else repr(value)
        _check(written)
    return written


def arithmetic_in(text: str) -> str | None:
    """Return the expression that the user probably meant by a text such as ``$scales-1``, or None."""
    found = _ARITHMETIC.fullmatch(text)
    if found is None:
        return None
    left, sign, right = found.groups()
    return f"$({left} {sign} {right.replace('$', '')})"


def names_in(text: str) -> set[str]:
    """Return all names in the expressions of a text; of an invalid text, all of its words."""
    try:
        parts = [part for part in _parts(text) if not isinstance(part, str)]
    except ExpressionError:
        return set(_NAME.findall(text))
    return {node.id for part in parts for node in ast.walk(part) if isinstance(node, ast.Name)}


@lru_cache(maxsize=4096)
def _parts(text: str) -> tuple[str | ast.expr, ...]:
    """Split a text into literal parts and expressions."""
    if len(text) > MAX_TEXT:
        raise ExpressionError(
            f"an expression in a text of more than {MAX_TEXT:,} characters", "write '$$' for a dollar sign"
        )
    parts: list[str | ast.expr] = []
    literal, at = "", 0
    while at < len(text):
        dollar = text.find("$", at)
        if dollar < 0:
            literal += text[at:]
            break
        literal += text[at:dollar]
        after = dollar + 1
        name = _NAME.match(text, after)
        if text.startswith("$", after):
            literal, at = literal + "$", after + 1
            continue
        if literal:
            parts.append(literal)
            literal = ""
        if name:
            parts.append(ast.Name(name.group()))
            at = name.end()
        elif text.startswith("(", after):
            at = _closing(text, after)
            parts.append(_parse(text[after + 1 : at - 1]))
        else:
            raise ExpressionError("'$' begins an expression", "write $name, $(…), or '$$' for a dollar sign")
    if literal or not parts:
        parts.append(literal)
    return tuple(parts)


def _closing(text: str, opening: int) -> int:
    """Return the position after the bracket that closes the one at ``opening``; quoted texts are skipped."""
    depth, quote = 0, ""
    for at in range(opening, len(text)):
        character = text[at]
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
            if depth == 0:
                return at + 1
    raise ExpressionError(
        "the bracket of '$(' is not closed", "end the expression with ')', and put one with commas in quotes"
    )


def _parse(text: str) -> ast.expr:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else "too deeply nested"
        raise ExpressionError(
            f"'{text.strip()[:60]}' is not an expression: {reason}", "arithmetic as in Python, e.g. $(2 * channels)"
        ) from None
    level: list[ast.AST] = [found]
    for _ in range(_DEEPEST):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return found
    raise ExpressionError(f"an expression nested deeper than {_DEEPEST} levels", "split it over several parameters")


def _divide(left: Any, right: Any) -> Any:
    # Channels are integers: a quotient of integers without remainder stays an integer.
    exact = isinstance(left, int) and isinstance(right, int) and right != 0 and left % right == 0
    return left // right if exact else left / right


def _power(base: Any, exponent: Any) -> Any:
    if abs(exponent) > _LARGEST_EXPONENT:
        raise ExpressionError(f"an exponent beyond {_LARGEST_EXPONENT}", "use a smaller one")
    return base**exponent


_BINARY: dict[type[ast.operator], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Add: ("+", operator.add),
    ast.Sub: ("-", operator.sub),
    ast.Mult: ("*", operator.mul),
    ast.Div: ("/", _divide),
    ast.FloorDiv: ("//", operator.floordiv),
    ast.Mod: ("%", operator.mod),
    ast.Pow: ("**", _power),
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}
_WORDS = {"true": True, "false": False, "null": None}


def _range(*bounds: int) -> list[int]:
    found = range(*bounds)
    if len(found) > MAX_ENTRIES:
        raise ExpressionError(f"a list of more than {MAX_ENTRIES:,} entries", "use a smaller one")
    return list(found)


def _round(value: int | float, *digits: int) -> int | float:
    # Python computes 10**digits. More digits than those of the largest float change nothing.
    return round(value, *(max(-_MOST_DIGITS, min(_MOST_DIGITS, count)) for count in digits))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "min": min,
    "max": max,
    "abs": abs,
    "round": _round,
    "len": len,
    "sum": sum,
    "int": int,
    "float": float,
    "range": _range,
    "ceil": math.ceil,
    "floor": math.floor,
}
"""Functions that expressions may call."""


class _Evaluation:
    """Evaluates one expression."""

    def __init__(self, names: Mapping[str, Any], budget: Budget) -> None:
        self.names = names
        self.budget = budget

    def value(self, node: ast.expr) -> Any:
        try:
            found = self._node(node)
        except (TypeError, ValueError, ArithmeticError, LookupError, RecursionError, MemoryError) as error:
            raise ExpressionError(_reason(error)) from None
        return found

    def _node(self, node: ast.expr) -> Any:
        self.budget.step()
        found: Any
        match node:
            case ast.Constant(value):
                found = value
            case ast.Name(name):
                found = self._name(name)
            case ast.List(entries) | ast.Tuple(entries):
                found = [self._node(entry) for entry in entries]
            case ast.BinOp(left, sign, right) if type(sign) in _BINARY:
                found = self._binary(*_BINARY[type(sign)], self._node(left), self._node(right))
            case ast.UnaryOp(sign, operand) if type(sign) in _UNARY:
                found = _UNARY[type(sign)](self._node(operand))
            case ast.BoolOp(sign, parts):
                found = self._node(parts[0])
                for part in parts[1:]:
                    if bool(found) == isinstance(sign, ast.Or):
                        break
                    found = self._node(part)
            case ast.Compare(left, signs, rights) if all(type(sign) in _COMPARE for sign in signs):
                found = self._compare(self._node(left), signs, rights)
            case ast.IfExp(test, yes, no):
                found = self._node(yes if self._node(test) else no)
            case ast.Subscript(whole, ast.Slice(lower, upper, step)):
                bounds = [None if part is None else self._node(part) for part in (lower, upper, step)]
                found = self._sequence(whole)[slice(*bounds)]
            case ast.Subscript(whole, index):
                found = self._sequence(whole)[self._node(index)]
            case ast.Call(ast.Name(name), arguments, []) if name in FUNCTIONS:
                found = FUNCTIONS[name](*(self._node(argument) for argument in arguments))
            case _:
                raise self._unsupported(node)
        self.budget.step(_check(found))
        return found

    def _unsupported(self, node: ast.expr) -> ExpressionError:
        match node:
            case ast.BinOp(left, ast.BitXor(), right):
                power = f"$({ast.unparse(left)[:30]} ** {ast.unparse(right)[:30]})"
                return ExpressionError("'^' is no operator of expressions", f"a power is '**': {power}")
            case ast.Call(ast.Name(name)) if name not in FUNCTIONS:
                hint = self.budget.nearest(name, FUNCTIONS, "function")
                return ExpressionError(f"there is no function '{name[:64]}'", hint)
        syntax = "arithmetic, comparison, 'x if c else y', lists and their entries"
        message = f"'{ast.unparse(node)[:60]}' is more than expressions can do"
        return ExpressionError(message, f"they have {syntax}, and {', '.join(FUNCTIONS)}")

    def _name(self, name: str) -> Any:
        if name in self.names:
            if self.names[name] is UNKNOWN:
                raise UnknownError
            return self.names[name]
        if name in _WORDS or name in ("True", "False", "None"):
            return _WORDS.get(name, {"True": True, "False": False}.get(name))
        hint = (
            self.budget.nearest(name, self.names)
            if self.names
            else "the file has no parameters; declare it under 'parameters'"
        )
        raise ExpressionError(f"there is no parameter '{name[:64]}'", hint)

    def _sequence(self, node: ast.expr) -> Any:
        whole = self._node(node)
        if not isinstance(whole, list | str):
            raise ExpressionError(f"{_kind(whole)} has no entries", "only lists and texts can be indexed")
        return whole

    def _binary(self, name: str, apply: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
        numbers = isinstance(left, int | float) and isinstance(right, int | float)
        if not numbers:
            if name == "*" and isinstance(left, list | str) and isinstance(right, int):
                if _check(left) * max(right, 0) > (MAX_TEXT if isinstance(left, str) else MAX_ENTRIES):
                    raise ExpressionError("a list or text that is too long", "repeat it fewer times")
            elif name != "+" or type(left) is not type(right):
                raise ExpressionError(f"'{name}' does not work between {_kind(left)} and {_kind(right)}")
        return apply(left, right)

    def _compare(self, left: Any, signs: list[ast.cmpop], rights: list[ast.expr]) -> bool:
        for sign, node in zip(signs, rights, strict=True):
            right = self._node(node)
            if not _COMPARE[type(sign)](left, right):
                return False
            left = right
        return True


def _check(value: Any) -> int:
    """Return the size of a value, 1 for a number. Raises ExpressionError for a value that the language cannot use."""
    if value is None or isinstance(value, bool):
        return 1
    if isinstance(value, int):
        if abs(value) > MAX_NUMBER:
            raise ExpressionError("a number beyond 2⁶³", "use a smaller one")
        return 1
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ExpressionError("the result is not a finite number")
        return 1
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            raise ExpressionError(f"a text of more than {MAX_TEXT:,} characters", "use a shorter one")
        return max(1, len(value))
    if isinstance(value, list):
        size = 1
        for entry in value:
            size += _check(entry)
            if size > MAX_ENTRIES + 1:
                raise ExpressionError(f"a list of more than {MAX_ENTRIES:,} entries", "use a smaller one")
        return size
    if isinstance(value, dict):
        return 1 + _check(list(value.values()))
    raise ExpressionError(
        f"{_kind(value)} is no value of the language", "use numbers, texts, lists, true, false and null"
    )


def _kind(value: Any) -> str:
    words = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a text",
        list: "a list",
        type(None): "null",
    }
    if isinstance(value, dict):
        return "a mapping"
    return words.get(type(value), f"a {type(value).__name__}")


def _reason(error: Exception) -> str:
    if isinstance(error, ZeroDivisionError):
        return "division by zero"
    if isinstance(error, IndexError):
        return "the list has no entry of that number (the first is 0)"
    if isinstance(error, OverflowError):
        return "the result is too large"
    return f"the expression cannot be evaluated: {str(error)[:100]}"

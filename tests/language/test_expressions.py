"""Expressions give Python's results, and nothing that is long, large or dangerous."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from epgraph.language.expand.expression import ExpressionError, substitute
from epgraph.language.expand.limits import Budget, TooMuchError

NAMES = {"channels": 8, "widths": [16, 32, 64], "wide": True, "kind": "relu6", "half": 0.5, "none": None}


def value(text: str) -> Any:
    return substitute(text, NAMES, Budget())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$channels", 8),
        ("$widths", [16, 32, 64]),
        ("$wide", True),
        ("$none", None),
        ("$(2 * channels)", 16),
        ("$(channels / 2)", 4),
        ("$(channels / 3)", 8 / 3),
        ("$(channels // 3 + channels % 3)", 4),
        ("$(widths[-1] if wide else 0)", 64),
        ("$(widths[1:])", [32, 64]),
        ("$(len(widths) == 3 and 16 in widths)", True),
        ("$(not wide or 1 < 2 < 3)", True),
        ("$([channels, 2 ** 3] + [1] * 2)", [8, 8, 1, 1]),
        ("$(min(widths) + max(1, 2) + abs(-1) + round(2.6) + sum(range(4)))", 28),
        ("$(int(2.5) + ceil(half) + floor(half) + float(1))", 4.0),
        ("$(round(1, -10**9))", 0),
        ("$(round(1234, -2) + round(0.5, 10**9))", 1200.5),
        ("$(round(2.6, 0))", 3.0),
        ("$(true)", True),
        ("d$(channels - 4)", "d4"),
        ("$kind, $channels", "relu6, 8"),
        ("$$channels costs $$5", "$channels costs $5"),
        ("$(')')", ")"),
        ("plain", "plain"),
    ],
)
def test_value(text: str, expected: object) -> None:
    found = value(text)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("$chanels", "there is no parameter 'chanels'", "did you mean 'channels'?"),
        ("$", "'$' begins an expression", "write $name, $(…), or '$$' for a dollar sign"),
        (
            "$(1 + ",
            "the bracket of '$(' is not closed",
            "end the expression with ')', and put one with commas in quotes",
        ),
        ("$(1 +)", "'1 +' is not an expression: invalid syntax", "arithmetic as in Python, e.g. $(2 * channels)"),
        (
            "$(sqr(2))",
            "there is no function 'sqr'",
            "known: min, max, abs, round, len, sum, int, float, range, ceil, floor",
        ),
        ("$(widths[3])", "the list has no entry of that number (the first is 0)", ""),
        ("$(1 / 0)", "division by zero", ""),
        ("$(widths * half)", "'*' does not work between a list and a number", ""),
        ("$(channels[0])", "a number has no entries", "only lists and texts can be indexed"),
        ("a$widths", "a list cannot stand inside a text", None),
        ("$(2 ** 100)", "an exponent beyond 64", "use a smaller one"),
        ("$(9 ** 64)", "a number beyond 2⁶³", "use a smaller one"),
        ("$(1e300 * 1e300)", "the result is not a finite number", ""),
        ("$(kind * 1000)", "a list or text that is too long", "repeat it fewer times"),
        ("$(range(10 ** 9))", "a list of more than 1,024 entries", "use a smaller one"),
        ("$((-8) ** 0.5)", "a complex is no value of the language", None),
    ],
)
def test_reason(text: str, message: str, hint: str | None) -> None:
    with pytest.raises(ExpressionError) as caught:
        value(text)
    assert str(caught.value) == message
    assert hint is None or caught.value.hint == hint


@pytest.mark.parametrize(
    "text",
    [
        "().__class__",
        "[x for x in widths]",
        "lambda: 1",
        "f'{channels}'",
        "min(widths, key=abs)",
        "(a := 1)",
        "{1: 2}",
        "min(*widths)",
        "b'a'",
        "...",
        "1j",
        "__import__('os')",
        "'%1000000000d' % 1",
        "kind.upper()",
    ],
)
def test_more_than_expressions_can_do(text: str) -> None:
    with pytest.raises(ExpressionError):
        value(f"$({text})")


numbers = st.integers(-50, 50).map(lambda n: f"({n})")
formulas = st.recursive(
    numbers | st.sampled_from(["channels", "half", "len(widths)"]),
    lambda inner: st.tuples(inner, st.sampled_from(["+", "-", "*", "//", "%", "<", "==", "and", "or"]), inner).map(
        lambda part: f"({' '.join(part)})"
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(formulas)
def test_arithmetic_is_pythons(text: str) -> None:
    try:
        expected = eval(text, {"__builtins__": {"len": len}}, dict(NAMES))
    except ZeroDivisionError:
        with pytest.raises(ExpressionError, match="division by zero"):
            value(f"$({text})")
        return
    assert value(f"$({text})") == expected


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="$()[]+-*/%<>=,.'\" 0123456789eaxlnifor", max_size=60))
@example("$(" + "[" * 300 + "]" * 300 + ")")
@example("$(" + "9**" * 200 + "9)")
def test_any_text_gives_a_value_or_a_reason(text: str) -> None:
    start = time.process_time()
    try:
        found = value(text)
    except (ExpressionError, TooMuchError):
        found = None
    assert time.process_time() - start < 0.5
    assert not isinstance(found, float) or math.isfinite(found)

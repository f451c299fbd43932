"""Typical slips of a first day with the language: each has the right place, and a hint that helps when followed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from epgraph.errors import Diagnostic, EpgraphError
from epgraph.graph import inspect

DIGITS = (Path(__file__).parents[2] / "examples" / "digits.yaml").read_text(encoding="utf-8")
ROW = "  - {from: h1, to: h3, skip: {}}\n"


def diagnosed(text: str) -> tuple[Diagnostic, ...]:
    try:
        return tuple(inspect(text)[1])
    except EpgraphError as error:
        return error.diagnostics


@pytest.mark.parametrize(
    ("right", "wrong", "span", "hint"),
    [
        ("  h2:", "   h2:", "h2:", "begin this line in the column of the keys above it; .* line 10, column 3"),
        (ROW, ROW[1:], "- {from: h1", "begin the lines of a list with '- ' in one column"),
        ("edges:\n", "edges: {}\n", "- {from: x", "write nothing after the ':' above them"),
        (ROW, ROW.replace("- ", ""), "{from: h1, to: h3, skip", "'- ' before an entry of a list"),
        (ROW, ROW.replace("}\n", "};\n"), ";", "begin every entry of the list that starts at line 15, column 3"),
        (ROW, "  - from: h1, to: h3, skip: {}\n", ": h3, skip", "put several keys of one line in braces"),
        ("output: {", "output {", ": 10, cost", "is there a ':' missing before '{'"),
        ("epgraph: 2", "epgraph:2", ": digits", "write a space after 'epgraph:' in the line before"),
        ("name: digits\n", "name: digits: small\n", ": small", "put text with ': ' in quotes"),
        ("{channels: 64}", "{channels:64}", "channels:64", "write ': ' between 'channels' and its value"),
        ("{kernel: 3, padding: 1, pool: max}", "{kernel 3}", "kernel 3", "write ': ' between 'kernel' and its value"),
        ("kernel: 3, padding: 1, pool", "kernel: 3x3, padding: 1, pool", "3x3", r"write \[3, 3\]"),
        ("kernel: 3, padding: 1, pool", "kernel: 3.0, padding: 1, pool", "3.0", "write 3"),
        ("free_steps: 25", "free_steps: 1e2", "1e2", "write 100"),
        ("warm_start: false", 'warm_start: "false"', '"false"', "write false"),
        ("learning_rate: 0.05,", "learning_rate: ,", ", weight_decay: 2e", r"e\.g\. learning_rate: 0\.03"),
        ("shape: [1, 8, 8]", "shape: (1, 8, 8)", "(1", r"write \[…\] in place of \(…\)"),
        ("relu1,", "ReLU6,", "ReLU6", "did you mean 'relu6'?"),
        ("{from: h3, to: y,  dense", "{from: h3, to: Y,  dense", "Y", "did you mean 'y'?"),
        ("cost: squared_error", "loss: squared_error", "loss", "did you mean 'cost'?"),
        ("estimator: centered", "estimator: symmetric", "symmetric", "did you mean 'centered'?"),
        ("estimator: centered", "estimator: best", "best", "^$"),
        ("dynamics: {", "dynamics: coloring #", "coloring", r"e\.g\. dynamics: \{schedule: coloring, free_steps: 120"),
    ],
)
def test_a_slip(right: str, wrong: str, span: str, hint: str) -> None:
    text = DIGITS.replace(right, wrong, 1)
    assert text != DIGITS
    found = [d for d in diagnosed(text) if re.search(hint, d.hint)]
    assert [text[_offset(text, d) :].startswith(span) for d in found] == [True], [str(d) for d in diagnosed(text)]


def _offset(text: str, diagnostic: Diagnostic) -> int:
    assert diagnostic.line is not None
    assert diagnostic.column is not None
    return sum(map(len, text.splitlines(keepends=True)[: diagnostic.line - 1])) + diagnostic.column - 1

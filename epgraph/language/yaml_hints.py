"""Hints for text that is not YAML: what a person has probably meant."""

from __future__ import annotations

import re

import yaml

from epgraph.source import Mark, Source

_NO_COLON = re.compile(r"\s*(?:- +)?[A-Za-z_]\w* *\{")
_NO_SPACE = re.compile(r"\s*(?:- +)?([A-Za-z_]\w*):\S")
_NO_BRACES = re.compile(r"\s*(?:- +)?[A-Za-z_]\w*: [^{}\[\]\"'#]*, *[A-Za-z_]\w*:")


def yaml_place(error: yaml.MarkedYAMLError) -> Mark:
    """Return the position that a message about the error should have."""
    at = error.problem_mark or error.context_mark
    if "could not find expected ':'" in (error.problem or ""):
        at = error.context_mark or at  # what lacks its colon, and not what comes after it
    return (at.line + 1, at.column + 1) if at else (1, 1)


def yaml_hint(error: yaml.MarkedYAMLError, source: Source) -> str:
    """Return a hint for an error of the YAML parser."""
    number, column = yaml_place(error)
    line = source.line(number)
    problem, character = error.problem or "", line[column - 1 : column]
    if "$(" in line[:column]:
        return "put an expression with brackets, commas or ': ' in quotes: \"$(widths[0])\""
    if character == "\t":
        return "indent with spaces, not tabs"
    if "cannot start any token" in problem:
        return f"put text that begins with '{character}' in quotes"
    if "mapping values" in problem:
        return _colon_hint(line, source.line(number - 1) if number > 1 else "")
    if "could not find expected ':'" in problem:
        return "write ':' and a space after a key, and '- ' before an entry of a list"
    return _structure_hint(error, (number, column), character)


def _colon_hint(line: str, before: str) -> str:
    """Hint for a ': ' that cannot stand where it does; ``before`` is the line before its own."""
    if _NO_COLON.match(line):
        return "is there a ':' missing before '{'?"
    if joined := _NO_SPACE.match(before):
        return f"write a space after '{joined[1]}:' in the line before"
    if _NO_BRACES.match(line):
        return "put several keys of one line in braces: {from: x, to: y, dense: {}}"
    return "put text with ': ' in quotes, or check the indentation"


def _structure_hint(error: yaml.MarkedYAMLError, at: Mark, character: str) -> str:
    """Hint for lists, mappings and quotes that do not end, or do not line up."""
    problem, context, begin = error.problem or "", error.context or "", error.context_mark
    began = f"at line {begin.line + 1}, column {begin.column + 1}" if begin else ""
    if "quoted scalar" in context and began:
        return f"the text in quotes that begins {began} does not end"
    if "expected ',' or" in problem and began:
        return f"check commas here, and the bracket that opens {began}"
    if "expected '-'" in problem and begin and at[1] != begin.column + 1 and character != "-":
        return f"begin every entry of the list that starts {began} in a line of its own, with '- ' in its column"
    if "did not find expected key" in problem and begin and at[1] != begin.column + 1:
        if character == "-":
            return "begin the lines of a list with '- ' in one column, and write nothing after the ':' above them"
        return f"begin this line in the column of the keys above it; the first of them stands {began}"
    if "expected ',' or" in problem or "did not find expected" in problem:
        return "check brackets, commas and indentation around this line"
    return "check the quotes, brackets and indentation here"

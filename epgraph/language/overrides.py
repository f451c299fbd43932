"""``--set learning.beta=0.2``: change single values of a document before it is validated."""

from __future__ import annotations

import re
from typing import Any, Self

from epgraph.errors import Diagnostic, EpgraphError, Location, nearest, path_text
from epgraph.language.document import Document
from epgraph.language.reader import MAX_DEPTH, parse

MOST_SHOWN = 200
"""Length to which messages shorten an assignment."""


class Assignment(str):
    """An assignment that an option of its own stands for, such as ``--width 1/8``.

    Attributes
    ----------
    option
        The option as it was given; messages show it in place of the assignment.
    """

    option: str

    def __new__(cls, text: str, option: str) -> Self:
        """Return the text, with the option beside it."""
        made = super().__new__(cls, text)
        made.option = option
        return made

    def __reduce__(self) -> tuple[type[Assignment], tuple[str, str]]:
        """Let it be pickled: processes of torchrun are sent the arguments of the first one."""
        return Assignment, (str(self), self.option)


_INDEX = re.compile("[0-9]{1,9}")
_NAMES = "name keys as in the file, list positions from 0; e.g. edges.0.gain=0.7"


def override(document: Document, assignments: list[str]) -> None:
    """Apply ``key.path=value`` assignments; values are YAML, list indices are numbers.

    Later diagnostics about an assigned value point at the assignment instead of the file.

    Raises
    ------
    EpgraphError
        If an assignment has no ``=``, its path does not lead into the document, or it names a parameter that the
        document does not declare.
    """
    for given in assignments:
        path, equals, text = given.partition("=")
        at: Location = tuple(int(p) if _INDEX.fullmatch(p) else p for p in path.strip().split("."))
        text_shown = given if len(given) <= MOST_SHOWN else f"{given[:MOST_SHOWN]}…"
        assignment = given.option if isinstance(given, Assignment) else f"--set {text_shown}"
        if any("\ud800" <= character <= "\udfff" for character in given):
            raise EpgraphError(f"{assignment}: this is not UTF-8 text", "write it as UTF-8", "override")
        if len(at) > MAX_DEPTH:
            raise EpgraphError(f"{assignment}: more than {MAX_DEPTH} keys deep", _NAMES, "override")
        if not equals or not all(part != "" for part in at):
            raise EpgraphError(f"{assignment}: expected KEY.PATH=VALUE", "e.g. --set learning.beta=0.2", "override")
        if at[0] == "include":
            found = f"{assignment}: files are included before anything is set"
            raise EpgraphError(found, "write include in the file", "override")
        _declared(document.data, at, assignment)
        _no_comment(assignment, path, text)
        value = parse(text, f"--set {path[:MOST_SHOWN]}").data if text.strip() else None
        _assign(document.data, at, value, assignment)
        document.assigned[at] = assignment


def _no_comment(assignment: str, path: str, text: str) -> None:
    """Refuse a value that YAML would read, wholly or partly, as a comment."""
    value = re.split(r"(?:^|\s)#", text, maxsplit=1)[0]
    if value == text:
        return
    try:
        left = parse(value).data if value.strip() else ""
        if value.strip() and left != parse(text).data:
            return
    except EpgraphError:
        return  # the '#' stands in quotes, or the text is at fault in other ways
    plain = isinstance(left, str) and not {*text} & {"'", '"'}
    raise EpgraphError(
        f"{assignment}: '#' begins a comment, and what follows is not set",
        f"put the value in quotes: --set '{path}=\"{text.strip()}\"'" if plain else "leave the comment out",
        "override",
    )


def _declared(data: Any, at: Location, assignment: str) -> None:
    """Refuse an undeclared parameter: a misspelled one would silently have no effect."""
    for depth, part in enumerate(at[:-1]):
        if part == "parameters" and (depth == 0 or (depth == 2 and at[0] == "blocks")):
            known = data.get(part) if isinstance(data, dict) else None
            names = list(known) if isinstance(known, dict) else []
            if at[depth + 1] not in names:
                whose = f"block '{at[1]}'" if depth else "the file"
                found = f"{assignment}: {whose} has no parameter '{str(at[depth + 1])[:64]}'"
                hint = nearest(str(at[depth + 1]), names) or f"declare it under '{path_text(at[:-1])}'"
                raise EpgraphError(Diagnostic(found, hint, rule="override"))
            return
        data = data.get(part) if isinstance(data, dict) else None


def _assign(data: Any, at: Location, value: Any, assignment: str) -> None:
    for depth, part in enumerate(at[:-1]):
        if isinstance(data, dict) and isinstance(part, str):
            data = data.setdefault(part, {})
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            raise EpgraphError(
                Diagnostic(
                    f"{assignment}: there is no '{path_text(at[: depth + 1])[:MOST_SHOWN]}' in the file",
                    _NAMES,
                    rule="override",
                )
            )
    last = at[-1]
    inside = isinstance(data, list) and isinstance(last, int) and last < len(data)
    if isinstance(data, dict) or inside:
        data[last] = value
    else:
        raise EpgraphError(
            f"{assignment}: '{path_text(at)[:MOST_SHOWN]}' cannot be set",
            _NAMES,
            "override",
        )

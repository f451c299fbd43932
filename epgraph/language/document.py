"""YAML text → plain values with the position of every key and value, and nothing that can hurt.

PyYAML's libyaml events are fast, carry positions, and let size, depth and aliases be capped *while*
parsing. Values follow the YAML 1.2 core schema: ``1e-4`` is a number and ``no`` is text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import yaml

from epgraph.errors import Diagnostic, EpgraphError, Location
from epgraph.source import Mark, Source

MAX_BYTES = 8 * 2**20
MAX_DEPTH = 32
MAX_VALUES = 500_000
MAX_DIGITS = 400
"""What a file may hold at most: a network of 10,000 states takes a megabyte and 150,000 values. Values and what is said
of them take about 700 bytes each, so that no file needs more than 500 MiB."""

_INT = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}


@dataclass(slots=True)
class _Node:
    """A parsed value; aliases share the node of their anchor until they are expanded."""

    mark: Mark
    scalar: Any = None
    items: list[_Node] | None = None
    entries: list[tuple[str, Mark, _Node]] | None = None
    size: int = 1
    height: int = 1


class Values(Protocol):
    """Knows where the values of parameters stand."""

    def explain(self, document: Document, diagnostic: Diagnostic) -> Diagnostic:
        """Add to a diagnostic at a place of a document where the values in what stands there come from."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value of an expanded or merged document comes from: a place in another one, and how it got there."""

    document: Document
    at: Location
    trail: tuple[str, ...] = ()
    given: Values | None = None
    """What the parameters that count there are."""


@dataclass
class Document:
    """Plain values of a YAML file with the positions they came from.

    Attributes
    ----------
    data
        The value: dicts, lists, text, numbers, booleans, None.
    values, keys
        Position of the value, and of the key, at each location.
    problems
        Mistakes that did not stop the parse (duplicate keys).
    assigned
        Locations whose value was set from outside (``--set``), and what to call that place.
    ends
        Where the text that begins at a position ends: that of a key where a block mapping begins with it.
    source
        The text itself.
    origins
        What other documents the values at and below a location come from, where this one was made of others.
    partial
        Whether parts at fault were left out, so that nothing follows from what is missing.
    headless
        Whether the input or the output is among them, so that nothing can be said about ends and shapes.
    """

    name: str
    data: Any
    values: dict[Location, Mark] = field(default_factory=dict)
    keys: dict[Location, Mark] = field(default_factory=dict)
    problems: list[Diagnostic] = field(default_factory=list)
    assigned: dict[Location, str] = field(default_factory=dict)
    ends: dict[Mark, Mark] = field(default_factory=dict)
    source: Source | None = None
    origins: dict[Location, Origin] = field(default_factory=dict)
    partial: bool = False
    headless: bool = False

    def locate(self, diagnostic: Diagnostic) -> Diagnostic:
        """Give a diagnostic the position of its location, or of the nearest enclosing one."""
        if diagnostic.file is not None:
            return diagnostic
        at = diagnostic.at
        for depth in range(len(at), 0, -1):
            if at[:depth] in self.assigned:
                return diagnostic.located(self.assigned[at[:depth]], None, None)
        for assigned, place in self.assigned.items():
            # A name that an assignment brought into being stands nowhere in the file.
            if at and assigned[: len(at)] == at and not self._stands(at):
                return diagnostic.located(place, None, None)
        found = self._origin(at)
        if found is not None:
            origin, depth = found
            moved = replace(diagnostic, at=(*origin.at, *at[depth:]))
            if origin.given is not None:
                moved = origin.given.explain(origin.document, moved)
            return origin.document.locate(replace(moved, trail=(*moved.trail, *origin.trail)))
        if diagnostic.on_key and at in self.keys:
            return self.point(diagnostic, self.keys[at])
        while at not in self.values and at:
            at = at[:-1]
        if not at:
            # The whole file: there is nothing to underline.
            return diagnostic.located(self.name, *self.values.get((), (1, 1)), source=self.source)
        return self.point(diagnostic, self.values[at])

    def _stands(self, at: Location) -> bool:
        """Whether a location stands in this file, or in one that this was made of."""
        if at in self.values:
            return True
        found = self._origin(at)
        return found is not None and found[0].document._stands((*found[0].at, *at[found[1] :]))

    def _origin(self, at: Location) -> tuple[Origin, int] | None:
        """Return the origin of a location or of the nearest enclosing one that has one, and how deep that is."""
        for depth in range(len(at), -1 if self.origins else len(at), -1):
            if at[:depth] in self.origins:
                return self.origins[at[:depth]], depth
        return None

    def place(self, at: Location) -> tuple[str, Location]:
        """Return the file and the location there of what stands at a location: one for all instances of a block."""
        found = self._origin(at)
        return (self.name, at) if found is None else found[0].document.place((*found[0].at, *at[found[1] :]))

    def included(self, at: Location) -> bool:
        """Whether what stands at a location comes from a file that this one includes."""
        return self.place(at)[0] != self.name

    def point(self, diagnostic: Diagnostic, mark: Mark) -> Diagnostic:
        """Give a diagnostic a position in this file, with the end of the text that begins there."""
        return diagnostic.located(self.name, *mark, self.ends.get(mark), self.source)


def written(document: Document, at: Location) -> Any:
    """Return the value at a location of a document as it stands where it comes from; None where nothing does."""
    for depth in range(len(at), -1, -1):
        origin = document.origins.get(at[:depth])
        if origin is not None:
            return written(origin.document, (*origin.at, *at[depth:]))
    value = document.data
    for part in at:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def parse(text: str | bytes, name: str = "<text>") -> Document:
    """Parse YAML text.

    Raises
    ------
    EpgraphError
        Not UTF-8, not YAML, empty, several documents, tags, too large, too deep, or aliases that expand to
        more than ``MAX_VALUES`` values.
    """
    if len(text) > MAX_BYTES:
        hint = "a network of 10,000 states takes about one"
        raise EpgraphError(Diagnostic(f"the file is larger than {MAX_BYTES >> 20} MiB", hint, file=name, rule="file"))
    if isinstance(text, str):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            mark = Source(text).mark(error.start)
            problem = Diagnostic("half of a character (a surrogate)", "remove it", rule="file")
            raise EpgraphError(problem.located(name, *mark)) from None
    else:
        content = text
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise EpgraphError(_not_utf8(content, error.start, name)) from None
    document = Document(name, None, source=Source(text))
    root = _Parser(text, document).run()
    document.data = _expand(root, document, ())
    return document


def _not_utf8(content: bytes, offset: int, name: str) -> Diagnostic:
    line = content.count(b"\n", 0, offset) + 1
    begin = content.rfind(b"\n", 0, offset) + 1
    # What stands before the first bad byte is text, and columns count its characters.
    column = len(content[begin:offset].decode("utf-8-sig" if begin == 0 else "utf-8")) + 1
    problem = Diagnostic("the file is not UTF-8 text", "save it as UTF-8", rule="file")
    return problem.located(name, line, column, source=Source(content.decode("utf-8-sig", errors="replace")))


def _events(text: str) -> Iterator[yaml.Event]:
    # As yaml.parse, which asks for every event twice.
    loader = (yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader)(text)
    try:
        while (event := loader.get_event()) is not None:
            yield event
    finally:
        loader.dispose()


class _Parser:
    """Builds nodes from events; keeps an explicit stack, so that no nesting can exhaust Python's."""

    def __init__(self, text: str, document: Document) -> None:
        self.text = text
        self.document = document

    def fail(self, message: str, hint: str = "", mark: Mark = (1, 1), rule: str = "yaml") -> EpgraphError:
        return EpgraphError(self.document.point(Diagnostic(message, hint, rule=rule), mark))

    def run(self) -> _Node:
        try:
            root = self._build()
        except yaml.MarkedYAMLError as error:
            at = error.problem_mark or error.context_mark
            mark = (at.line + 1, at.column + 1) if at else (1, 1)
            assert self.document.source is not None, "parse gives the document its text"
            character = self.document.source.line(mark[0])[mark[1] - 1 : mark[1]]
            message = f"this is not YAML: {error.problem or error.context}"
            hint = _yaml_hint(error, character)
            if "$(" in self.document.source.line(mark[0])[: mark[1]]:
                hint = "put an expression with brackets, commas or ': ' in quotes: \"$(widths[0])\""
            raise self.fail(message, hint, mark) from None
        except yaml.YAMLError as error:
            # Characters that YAML forbids come with an offset, in bytes where libyaml reads, instead of a mark.
            offset = max(0, int(getattr(error, "position", 0)))
            if yaml.__with_libyaml__:
                offset = len(self.text.encode()[:offset].decode(errors="ignore"))
            assert self.document.source is not None, "parse gives the document its text"
            mark = self.document.source.mark(offset)
            raise self.fail("a character that YAML does not allow", "remove it", mark) from None
        if root is None:
            raise self.fail("the file is empty", "start with 'epgraph: 2'; see examples/")
        return root

    def _build(self) -> _Node | None:
        root: _Node | None = None
        anchors: dict[str | None, _Node] = {}
        stack: list[_Node] = []
        keys: list[tuple[str, Mark] | None] = []
        values = 0
        ends = self.document.ends

        def place(node: _Node) -> None:
            nonlocal root
            if not stack:
                root = node
                return
            parent = stack[-1]
            parent.size += node.size
            if node.height >= parent.height:
                parent.height = node.height + 1
            if parent.items is not None:
                parent.items.append(node)
            elif keys[-1] is None:
                if not isinstance(node.scalar, str):
                    raise self.fail("a key must be text", "put the key in quotes", node.mark)
                keys[-1] = (node.scalar, node.mark)
            else:
                assert parent.entries is not None
                parent.entries.append((*keys[-1], node))
                keys[-1] = None

        documents = 0
        for event in _events(self.text):
            assert event.start_mark is not None, "both of PyYAML's parsers set marks"
            assert event.end_mark is not None, "both of PyYAML's parsers set marks"
            mark = (event.start_mark.line + 1, event.start_mark.column + 1)
            end = (event.end_mark.line + 1, event.end_mark.column + 1)
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self.fail("a second document begins here", "one file holds one network", mark)
            elif isinstance(event, yaml.AliasEvent):
                target = anchors.get(event.anchor)
                if target is None or target in stack:
                    what = "refers to itself" if target else "has no anchor before it"
                    ends.setdefault(mark, end)
                    name = (event.anchor or "")[:64]
                    raise self.fail(f"the alias '*{name}' {what}", "write the value out", mark, "alias")
                values += target.size
                if len(stack) + target.height > MAX_DEPTH:
                    raise self.too_deep(mark)
                ends.setdefault(mark, end)
                place(_Node(mark, target.scalar, target.items, target.entries, target.size, target.height))
            elif isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
                values += 1
                if event.tag is not None:
                    raise self.fail(
                        f"the tag '{event.tag[:80]}' is not allowed",
                        "remove it; the language has no tags",
                        mark,
                    )
                if isinstance(event, yaml.ScalarEvent):
                    if end != mark:
                        ends.setdefault(mark, end)
                    node = _Node(mark, self._scalar(event, mark, is_key=bool(keys) and keys[-1] is None))
                elif len(stack) >= MAX_DEPTH:
                    raise self.too_deep(mark)
                elif isinstance(event, yaml.SequenceStartEvent):
                    node = _Node(mark, items=[])
                else:
                    node = _Node(mark, entries=[])
                if event.anchor is not None:
                    anchors[event.anchor] = node
                if isinstance(event, yaml.ScalarEvent):
                    place(node)
                else:
                    stack.append(node)
                    # Position in a mapping: None while the next scalar is a key. Lists do not use it.
                    keys.append(("", mark) if node.items is not None else None)
            elif isinstance(event, yaml.CollectionEndEvent):
                node = stack.pop()
                keys.pop()
                # A flow collection ends with its bracket; the end of a block one is only known to be before the next.
                if end != mark:
                    ends.setdefault(node.mark, end)
                place(node)
            if values > MAX_VALUES:
                raise self.fail(
                    f"the file holds more than {MAX_VALUES:,} values once its aliases are expanded",
                    "write smaller pieces, without nested aliases",
                    mark,
                    "too-large",
                )
        return root

    def _scalar(self, event: yaml.ScalarEvent, mark: Mark, is_key: bool) -> Any:
        if event.style or is_key:
            return event.value
        try:
            return plain_scalar(event.value)
        except ValueError as error:
            raise self.fail(str(error), "a number of the language needs about ten", mark, "too-large") from None

    def too_deep(self, mark: Mark) -> EpgraphError:
        return self.fail(f"nested deeper than {MAX_DEPTH} levels", "a network needs about five", mark, "too-large")


def plain_scalar(text: str) -> Any:
    """Value of unquoted text under the YAML 1.2 core schema. Raises ValueError for an absurdly long number."""
    if text in _WORDS:
        return _WORDS[text]
    integer, based = _INT.fullmatch(text), _BASED.fullmatch(text)
    if not (integer or based or _FLOAT.fullmatch(text)):
        return text
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number of more than {MAX_DIGITS} digits")
    return int(text, 10 if integer else 0) if integer or based else float(text)


def _expand(node: _Node, document: Document, at: Location) -> Any:
    document.values[at] = node.mark
    if node.items is not None:
        return [_expand(item, document, (*at, i)) for i, item in enumerate(node.items)]
    if node.entries is None:
        return node.scalar
    mapping: dict[str, Any] = {}
    for key, mark, value in node.entries:
        place = (*at, key)
        if key in mapping:
            first = document.keys[place]
            document.problems.append(
                document.point(
                    Diagnostic(
                        f"duplicate name '{key[:64]}'",
                        f"it is already used at line {first[0]}, column {first[1]}",
                        place,
                        on_key=True,
                        rule="duplicate-name",
                    ),
                    mark,
                )
            )
            continue
        document.keys[place] = mark
        mapping[key] = _expand(value, document, place)
    return mapping


def _yaml_hint(error: yaml.MarkedYAMLError, character: str) -> str:
    problem, begin = error.problem or "", error.context_mark
    began = f"at line {begin.line + 1}, column {begin.column + 1}" if begin else ""
    if character == "\t":
        return "indent with spaces, not tabs"
    if "cannot start any token" in problem:
        return f"put text that begins with '{character}' in quotes"
    if "mapping values" in problem:
        return "put text with ': ' in quotes, or check the indentation"
    if "quoted scalar" in (error.context or "") and began:
        return f"the text in quotes that begins {began} does not end"
    if "expected ',' or" in problem and began:
        return f"check commas here, and the bracket that opens {began}"
    if "expected ',' or" in problem or "did not find expected" in problem:
        return "check brackets, commas and indentation around this line"
    return "check the quotes, brackets and indentation here"

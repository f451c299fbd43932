"""YAML text → nodes with positions, and plain values made of them once, in bounded time and memory.

PyYAML's libyaml events are fast, carry positions, and let size, depth and aliases be capped *while*
parsing. Values follow the YAML 1.2 core schema: ``1e-4`` is a number and ``no`` is text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import yaml

from epgraph.errors import Diagnostic, EpgraphError, Location
from epgraph.language.document import Document, Node
from epgraph.language.yaml_hints import yaml_hint, yaml_place
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
    document.root = _Parser(text, document).run()
    document.data = _plain(document.root, document, ())
    return document


def _not_utf8(content: bytes, offset: int, name: str) -> Diagnostic:
    line = content.count(b"\n", 0, offset) + 1
    begin = content.rfind(b"\n", 0, offset) + 1
    # The bytes before the first bad one are text, and columns count its characters.
    column = len(content[begin:offset].decode("utf-8-sig" if begin == 0 else "utf-8")) + 1
    problem = Diagnostic("the file is not UTF-8 text", "save it as UTF-8", rule="file")
    return problem.located(name, line, column, source=Source(content.decode("utf-8-sig", errors="replace")))


def _events(text: str) -> Iterator[yaml.Event]:
    # yaml.parse does the same, but asks for every event twice.
    loader = (yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader)(text)
    try:
        while (event := loader.get_event()) is not None:
            yield event
    finally:
        loader.dispose()


class _Parser:
    """Builds nodes from events, with an explicit stack: deep nesting cannot exhaust Python's."""

    def __init__(self, text: str, document: Document) -> None:
        self.text = text
        self.document = document
        self.root: Node | None = None
        self.anchors: dict[str | None, Node] = {}
        self.stack: list[Node] = []
        self.values = 0

    def run(self) -> Node:
        """Return the node of the whole text."""
        assert self.document.source is not None, "parse gives the document its text"
        source = self.document.source
        try:
            self._read()
        except yaml.MarkedYAMLError as error:
            problem = f"this is not YAML: {error.problem or error.context}"
            raise self._fault(problem, yaml_hint(error, source), yaml_place(error)) from None
        except yaml.YAMLError as error:
            # For characters that YAML forbids there is an offset instead of a mark, in bytes with libyaml.
            offset = max(0, int(getattr(error, "position", 0)))
            if yaml.__with_libyaml__:
                offset = len(self.text.encode()[:offset].decode(errors="ignore"))
            mark = source.mark(offset)
            raise self._fault("a character that YAML does not allow", "remove it", mark) from None
        if self.root is None:
            raise self._fault("the file is empty", "start with 'epgraph: 2'; see examples/")
        return self.root

    def _read(self) -> None:
        documents = 0
        for event in _events(self.text):
            assert event.start_mark is not None, "both of PyYAML's parsers set marks"
            assert event.end_mark is not None, "both of PyYAML's parsers set marks"
            mark = (event.start_mark.line + 1, event.start_mark.column + 1)
            end = (event.end_mark.line + 1, event.end_mark.column + 1)
            if isinstance(event, yaml.ScalarEvent):
                self._scalar(event, mark, end)
            elif isinstance(event, yaml.CollectionStartEvent):
                self._open(event, mark)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._close(mark, end)
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event, mark, end)
            elif isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._fault("a second document begins here", "one file holds one network", mark)
            if self.values > MAX_VALUES:
                message = f"the file holds more than {MAX_VALUES:,} values once its aliases are expanded"
                raise self._fault(message, "write smaller pieces, without nested aliases", mark, "too-large", end)

    def _scalar(self, event: yaml.ScalarEvent, mark: Mark, end: Mark) -> None:
        self._count(event, mark)
        parent = self.stack[-1] if self.stack else None
        is_key = parent is not None and parent.entries is not None and parent.key is None
        value: Any = event.value
        if not event.style and not is_key:
            try:
                value = plain_scalar(value)
            except ValueError as error:
                raise self._fault(
                    str(error), "a number of the language needs about ten", mark, "too-large", end
                ) from None
        node = Node(mark, end, value)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        self._place(node)

    def _open(self, event: yaml.CollectionStartEvent, mark: Mark) -> None:
        self._count(event, mark)
        if len(self.stack) >= MAX_DEPTH:
            raise self._too_deep(mark)
        node = Node(mark, items=[]) if isinstance(event, yaml.SequenceStartEvent) else Node(mark, entries={})
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        self.stack.append(node)

    def _count(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent, mark: Mark) -> None:
        self.values += 1
        if event.tag is not None:
            message = f"the tag '{event.tag[:80]}' is not allowed"
            raise self._fault(message, "remove it; the language has no tags", mark)

    def _close(self, mark: Mark, end: Mark) -> None:
        node = self.stack.pop()
        # A flow collection ends with its bracket; the end of a block one is only known to be before the next.
        if end != mark:
            node.end = end
        elif node.entries:
            key = next(iter(node.entries.values()))[0]
            node.end = key.end if key.mark == node.mark else None
        self._place(node)

    def _alias(self, event: yaml.AliasEvent, mark: Mark, end: Mark) -> None:
        target = self.anchors.get(event.anchor)
        if target is None or target in self.stack:
            what = "refers to itself" if target else "has no anchor before it"
            name = (event.anchor or "")[:64]
            raise self._fault(f"the alias '*{name}' {what}", "write the value out", mark, "alias", end)
        self.values += target.size
        if len(self.stack) + target.height > MAX_DEPTH:
            raise self._too_deep(mark)
        self._place(replace(target, mark=mark, end=end))

    def _place(self, node: Node) -> None:
        """Add a complete node to its list or mapping."""
        if not self.stack:
            self.root = node
            return
        parent = self.stack[-1]
        parent.size += node.size
        if node.height >= parent.height:
            parent.height = node.height + 1
        if parent.items is not None:
            parent.items.append(node)
        elif parent.key is None:
            if not isinstance(node.scalar, str):
                raise self._fault("a key must be text", "put the key in quotes", node.mark, end=node.end)
            parent.key = node
        else:
            assert parent.entries is not None, "a node with a key is a mapping"
            if parent.key.scalar in parent.entries:
                parent.repeated = parent.repeated or []
                parent.repeated.append(parent.key)
            else:
                parent.entries[parent.key.scalar] = (parent.key, node)
            parent.key = None

    def _fault(
        self, message: str, hint: str = "", mark: Mark = (1, 1), rule: str = "yaml", end: Mark | None = None
    ) -> EpgraphError:
        return EpgraphError(self.document.point(Diagnostic(message, hint, rule=rule), Node(mark, end)))

    def _too_deep(self, mark: Mark) -> EpgraphError:
        return self._fault(f"nested deeper than {MAX_DEPTH} levels", "a network needs about five", mark, "too-large")


def _plain(node: Node, document: Document, at: Location) -> Any:
    """Return the plain value of a node; aliases are expanded, and repeated keys reported."""
    if node.items is not None:
        return [_plain(item, document, (*at, i)) for i, item in enumerate(node.items)]
    if node.entries is None:
        return node.scalar
    for key in node.repeated or ():
        line, column = node.entries[key.scalar][0].mark
        message = f"duplicate name '{key.scalar[:64]}'"
        hint = f"it is already used at line {line}, column {column}"
        problem = Diagnostic(message, hint, (*at, key.scalar), on_key=True, rule="duplicate-name")
        document.problems.append(document.point(problem, key))
    return {key: _plain(value, document, (*at, key)) for key, (_, value) in node.entries.items()}


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

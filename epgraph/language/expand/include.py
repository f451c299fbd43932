"""``include``: merge the sections of other files, which the including file overrides."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from epgraph.errors import Diagnostic, EpgraphError, Location
from epgraph.files import FileError, look_for, read_bytes
from epgraph.kinds import KINDS
from epgraph.language.document import Document, Origin
from epgraph.language.expand.limits import MAX_FILES
from epgraph.language.reader import MAX_BYTES, parse
from epgraph.language.validate import describe, version_problem

OWN = ("epgraph", "include")
"""Keys that are not merged."""

_MAPPINGS = ("parameters", "blocks", "groups", "states", "defaults", "input", "output")
"""Sections that are mappings."""


def include(document: Document, allowed: Sequence[str | os.PathLike[str]] = ()) -> Document:
    """Merge included files into a document: mappings by key, lists by appending; the document itself wins.

    Included files must be in the folder of the document, below it, or in ``allowed``, after links are resolved. A file
    elsewhere is neither opened nor looked up.

    Returns
    -------
    Document
        The merged document with the origins of its parts; ``document`` itself without includes, or if its version is
        another one.
    """
    data = document.data
    if not isinstance(data, dict) or "include" not in data or version_problem(data.get("epgraph")):
        return document
    return _Merging(document, allowed).run(document, ())


class _Merging:
    def __init__(self, document: Document, allowed: Sequence[str | os.PathLike[str]]) -> None:
        self.folders = [Path(folder).resolve() for folder in (Path(document.name).parent, *allowed)]
        self.seen: set[Path] = set()
        self.bytes = 0
        self.problems: list[Diagnostic] = []
        self.data: dict[str, Any] = {}
        self.origins: dict[Location, Origin] = {}

    def run(self, document: Document, trail: tuple[str, ...]) -> Document:
        here = Path(document.name)
        self.seen.add(here.resolve())
        self.add(document, [here.resolve()], trail)
        if "epgraph" in document.data:
            self.data["epgraph"] = document.data["epgraph"]
        self.origins[()] = Origin(document, ())
        made = Document(document.name, self.data, problems=self.problems, source=document.source, origins=self.origins)
        made.partial = any(p.severity == "error" for p in self.problems)
        return made

    def add(self, document: Document, chain: list[Path], trail: tuple[str, ...]) -> None:
        """Merge the includes of a document, then the document itself."""
        self.problems += document.problems
        paths = document.data.get("include")
        if isinstance(paths, str):
            paths = [paths]
        if paths is not None and not isinstance(paths, list):
            found = f"'include' expects a list of files, found {describe(paths)}"
            self.report(
                document, Diagnostic(found, "e.g. include: [blocks.yaml]", ("include",), rule="wrong-type"), trail
            )
            paths = []
        for index, path in enumerate(paths or ()):
            single = isinstance(document.data["include"], str)
            self.one(document, path, ("include",) if single else ("include", index), chain, trail)
        for key, value in document.data.items():
            if key not in OWN:
                self.merge(document, key, value, trail)

    def report(self, document: Document, problem: Diagnostic, trail: tuple[str, ...]) -> None:
        located = document.locate(problem)
        self.problems.append(located if not trail else _with_trail(located, trail))

    def one(self, document: Document, entry: Any, at: Location, chain: list[Path], trail: tuple[str, ...]) -> None:
        if not isinstance(entry, str):
            message = f"'include' expects names of files, found {describe(entry)}"
            self.report(document, Diagnostic(message, "e.g. include: [blocks.yaml]", at, rule="wrong-type"), trail)
            return
        path = Path(document.name).parent / entry
        problem, full = self.refusal(path, entry, at, chain)
        if problem is not None:
            self.report(document, problem, trail)
            return
        if full in self.seen:
            return
        self.seen.add(full)
        if len(self.seen) > MAX_FILES:
            message = f"more than {MAX_FILES} files"
            self.report(document, Diagnostic(message, "put blocks together into one file", at, rule="too-large"), trail)
            return
        where = document.locate(Diagnostic("", at=at))
        included = (f"included at {where.file}:{where.line}:{where.column}", *trail)
        try:
            part = self.parsed(path, full)
        except FileError as error:
            message = f"'{entry[:200]}' cannot be included: {error.reason}"
            self.report(document, Diagnostic(message, error.diagnostics[0].hint, at, rule="include"), trail)
        except EpgraphError as error:
            for problem in error.diagnostics:
                self.report(document, problem if problem.file else _at(problem, at), included)
        else:
            problem = _no_sections(part)
            if problem is None:
                self.add(part, [*chain, full], included)
            else:
                self.report(part, problem, included)

    def refusal(self, path: Path, entry: str, at: Location, chain: list[Path]) -> tuple[Diagnostic | None, Path]:
        """Return why a file cannot be included, or None, and its path without links."""
        try:
            full = path.resolve()
            outside = not any(full.is_relative_to(folder) for folder in self.folders)
            missing = not outside and not full.exists()
        except (OSError, ValueError, RuntimeError):
            full, outside, missing = path, False, True
        if outside:
            message = f"'{entry[:200]}' cannot be included: it is outside of {self.folders[0]}"
            hint = "move it there, or allow its folder with --allow-include DIR (in Python, allow_include=[…])"
            return Diagnostic(message, hint, at, rule="include"), full
        if missing:
            look_for(path)
            message = f"'{entry[:200]}' cannot be included: there is no such file"
            hint = f"paths are relative to the file that includes: {path.parent}"
            return Diagnostic(message, hint, at, rule="include"), full
        if full in chain:
            circle = " → ".join(p.name for p in (*chain[chain.index(full) :], full))
            message = f"the file includes itself: {circle}"
            return Diagnostic(message, "leave one of these out", at, rule="recursion"), full
        return None, full

    def parsed(self, path: Path, full: Path) -> Document:
        content = read_bytes(full, MAX_BYTES, "give the path of a YAML file", "include")
        self.bytes += len(content)
        if self.bytes > MAX_BYTES:
            raise EpgraphError(Diagnostic(f"the files are larger than {MAX_BYTES >> 20} MiB together", rule="include"))
        return parse(content, str(path))

    def merge(self, document: Document, key: str, value: Any, trail: tuple[str, ...]) -> None:
        """Merge one section of a document over the sections so far."""
        at: Location = (key,)
        there = self.data.get(key)
        if value is None and there is not None:
            return
        expected = list if key == "edges" else dict
        if trail and key in (*_MAPPINGS, "edges") and not isinstance(value, expected):
            kind = "a list" if expected is list else "a mapping"
            found = f"'{key}' expects {kind}, found {describe(value)}"
            self.report(document, Diagnostic(found, "", at, rule="wrong-type"), trail)
            return
        if isinstance(there, dict) and isinstance(value, dict):
            for name, entry in value.items():
                inner = there.get(name)
                if key == "defaults" and name in KINDS and isinstance(inner, dict) and isinstance(entry, dict):
                    for option, setting in entry.items():
                        self.put(document, inner, (key, name, option), (key, name, option), setting, trail)
                else:
                    self.put(document, there, (key, name), (key, name), entry, trail)
        elif isinstance(there, list) and isinstance(value, list):
            for index, entry in enumerate(value):
                there.append(None)
                self.put(document, there, (key, len(there) - 1), (key, index), entry, trail)
        else:
            self.put(document, self.data, at, at, value, trail)
            # Later documents merge into a copy, not into this document's data.
            self.data[key] = (
                dict(value) if isinstance(value, dict) else list(value) if isinstance(value, list) else value
            )
            if key == "defaults" and isinstance(value, dict):
                self.data[key] = {k: dict(v) if isinstance(v, dict) else v for k, v in value.items()}

    def put(
        self, document: Document, into: Any, at: Location, source: Location, value: Any, trail: tuple[str, ...]
    ) -> None:
        replaced = isinstance(into, dict) and at[-1] in into
        into[at[-1]] = value
        if replaced:
            self.origins = {place: o for place, o in self.origins.items() if place[: len(at)] != at}
        self.origins[at] = Origin(document, source, trail)


def _with_trail(problem: Diagnostic, trail: tuple[str, ...]) -> Diagnostic:
    return replace(problem, trail=(*problem.trail, *trail))


def _at(problem: Diagnostic, at: Location) -> Diagnostic:
    return replace(problem, at=at)


def _no_sections(document: Document) -> Diagnostic | None:
    """Return the problem of an included file as a whole, or None."""
    if not isinstance(document.data, dict):
        message = f"expected a mapping of keys, found {describe(document.data)}"
        return Diagnostic(message, "an included file has sections, e.g. blocks", rule="wrong-type")
    return version_problem(document.data.get("epgraph")) if "epgraph" in document.data else None

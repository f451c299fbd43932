"""File or text → checked architecture, or all mistakes at once."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from epgraph.arguments import refused, several, shown, text
from epgraph.errors import Diagnostic, EpgraphError
from epgraph.files import read_bytes
from epgraph.graph.assemble import build, examine
from epgraph.graph.checks import check, mistakes
from epgraph.graph.folders import RUN_FILE, refuse_sweep
from epgraph.graph.network import NetworkGraph
from epgraph.graph.plugged import with_plugins
from epgraph.language import Architecture, expand, include, override, parse, raise_for, validate, without_repetitions
from epgraph.language.document import Document
from epgraph.language.reader import MAX_BYTES

Folders = Sequence[str | os.PathLike[str]]


def load(source: str | os.PathLike[str], overrides: Sequence[str] = (), allow_include: Folders = ()) -> Architecture:
    """Load an architecture from a YAML file, or from YAML text, and check it completely.

    Parameters
    ----------
    source
        Path of a YAML file, or of a run folder (for its ``architecture.yaml``), or YAML text. A string is text if it
        has a line break or begins with ``{``.
    overrides
        A list of assignments such as ``"learning.beta=0.2"``, applied before validation.
    allow_include
        Folders whose files may be included, besides the folder of the file (for text: the current folder), after links
        are resolved.

    Raises
    ------
    EpgraphError
        With all mistakes in the file: syntax, unknown keys, types, ends of edges, shapes, reachability, and dynamics or
        an estimator that the network cannot use. Checks that need data or a device come later.
    """
    architecture, diagnostics = inspect(source, overrides, allow_include)
    raise_for(diagnostics)
    assert architecture is not None
    return architecture


def checked(source: Architecture | str | os.PathLike[str], schedule: str | None = None) -> NetworkGraph:
    """Build the graph of an architecture, or of a path or YAML text to load, and check it completely.

    ``schedule`` overrides ``dynamics.schedule``. Raises ``EpgraphError`` as ``load`` does.
    """
    if not isinstance(source, Architecture):
        _refuse_builder(source)
        graph, _, diagnostics = survey(source, schedule=schedule)
        raise_for(diagnostics)
        assert graph is not None
        return graph
    graph = build(source)
    raise_for(mistakes(graph, schedule))
    return graph


def declared(architecture: object) -> Architecture:
    """Return an architecture as it is, or load it from a path or YAML text."""
    if isinstance(architecture, Architecture):
        return architecture
    _refuse_builder(architecture)
    return load(architecture)  # type: ignore[arg-type]


def _refuse_builder(source: object) -> None:
    if callable(getattr(source, "build", None)):
        raise refused(f"expected an architecture, found {shown(source)}", "call its build()")


def inspect(
    source: str | os.PathLike[str], overrides: Sequence[str] = (), allow_include: Folders = ()
) -> tuple[Architecture | None, list[Diagnostic]]:
    """Like ``load``, but return the diagnostics, warnings included, and raise only if the file is no YAML."""
    _, architecture, diagnostics = survey(source, overrides, allow_include)
    return architecture, diagnostics


def survey(
    source: str | os.PathLike[str],
    overrides: Sequence[str] = (),
    allow_include: Folders = (),
    schedule: str | None = None,
) -> tuple[NetworkGraph | None, Architecture | None, list[Diagnostic]]:
    """Like ``inspect``, with the graph (None with errors); ``schedule`` overrides ``dynamics.schedule``."""
    with no_collection():
        architecture, diagnostics = validate(flat_document(source, overrides, allow_include))
        graph = None
        if architecture is not None:
            graph, problems = surveyed(architecture, schedule, not _mistakes(diagnostics))
            diagnostics += problems
        return None if _mistakes(diagnostics) else graph, architecture, with_plugins(without_repetitions(diagnostics))


def surveyed(
    architecture: Architecture, schedule: str | None = None, sound: bool = True
) -> tuple[NetworkGraph | None, list[Diagnostic]]:
    """Return the graph of an architecture (None with errors) and all diagnostics; ``sound``: its file has no errors."""
    graph, problems = examine(architecture)
    diagnostics = [architecture.locate(problem) for problem in problems]
    if graph is not None and sound and not _mistakes(diagnostics):
        diagnostics += check(graph, schedule)
    return None if _mistakes(diagnostics) else graph, diagnostics


def _mistakes(diagnostics: list[Diagnostic]) -> bool:
    return any(diagnostic.severity == "error" for diagnostic in diagnostics)


@contextmanager
def no_collection() -> Iterator[None]:
    """Disable the cyclic garbage collector: all objects of a file survive.

    To scan them again and again costs a third of the time of ``check`` on 10,000 states.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def flat_document(
    source: str | os.PathLike[str], overrides: Sequence[str] = (), allow_include: Folders = ()
) -> Document:
    """Read a file and its includes, apply the overrides, and expand blocks, parameters and patterns."""
    return expand(merged_document(source, overrides, allow_include))


def merged_document(
    source: str | os.PathLike[str], overrides: Sequence[str] = (), allow_include: Folders = ()
) -> Document:
    """Read a file and its includes, and apply the overrides."""
    hint = "e.g. 'learning.beta=0.2'"
    assignments = [text("an override", assignment, hint) for assignment in several("overrides", overrides)]
    document = include(parse(*read(source)), allow_include)
    override(document, assignments)
    return document


def read(source: str | os.PathLike[str]) -> tuple[str | bytes, str]:
    """Return YAML text and its name: of a file, or ``source`` itself."""
    if isinstance(source, str) and ("\n" in source or source.lstrip().startswith("{") or not source):
        return source, "<text>"
    if not isinstance(source, str | os.PathLike):
        raise refused(f"expected the path of a YAML file or YAML text, found {shown(source)}", _instead(source))
    if str(source) == "-":
        raise EpgraphError("a network is not read from standard input", "save it to a file and give its path", "file")
    path = Path(source)
    if path.is_dir():
        refuse_sweep(path)
        path = path / RUN_FILE if (path / RUN_FILE).exists() else path
    content = read_bytes(path, MAX_BYTES, "give the path of a YAML file")
    if content.startswith(_ARCHIVE):
        hint = "give the run folder of a checkpoint"
        raise EpgraphError(f"{path} is an archive, as checkpoints are, and no network file", hint, "file")
    return content, str(path)


_ARCHIVE = b"PK\x03\x04"
"""What a .zip file begins with, and what torch saves."""


def _instead(source: object) -> str:
    """Hint for a source that is neither a path nor text."""
    if isinstance(source, Mapping):
        return "turn it into text: json.dumps(…) writes YAML"
    if isinstance(source, bytes):
        return "turn it into text: .decode()"
    return "pass its path, or what its read() returns" if hasattr(source, "read") else "e.g. 'network.yaml'"

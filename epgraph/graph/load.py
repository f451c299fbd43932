"""From a file or text to a checked architecture, with all of its mistakes in one go."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from epgraph.arguments import refused, several, shown, text
from epgraph.errors import Diagnostic, EpgraphError
from epgraph.graph.network import NetworkGraph, examine
from epgraph.graph.rules import rule_warnings
from epgraph.spec import Architecture, expand, include, override, parse, raise_for, validate, without_repetitions
from epgraph.spec.document import MAX_BYTES, Document


def load(source: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Architecture:
    """Load an architecture from a YAML file, or from YAML text, and check it completely.

    Parameters
    ----------
    source
        A path; or YAML text, recognised by holding a line break or beginning with ``{``.
    overrides
        A list of assignments such as ``"learning.beta=0.2"``, applied before validation.

    Raises
    ------
    EpgraphError
        With every mistake in the file: syntax, unknown keys, types, ends of edges, shapes, reachability.
    """
    architecture, diagnostics = inspect(source, overrides)
    raise_for(diagnostics)
    assert architecture is not None
    return architecture


def declared(architecture: object) -> Architecture:
    """Return an architecture: the one that is given, or what a path or YAML text declares."""
    if isinstance(architecture, Architecture):
        return architecture
    if callable(getattr(architecture, "build", None)):
        raise refused(f"expected an architecture, found {shown(architecture)}", "call its build()")
    return load(architecture)  # type: ignore[arg-type]


def inspect(
    source: str | os.PathLike[str], overrides: Sequence[str] = ()
) -> tuple[Architecture | None, list[Diagnostic]]:
    """Like ``load``, but return the diagnostics, warnings included, instead of raising them.

    A file that is no YAML at all still raises, since nothing else can be said about it.
    """
    _, architecture, diagnostics = survey(source, overrides)
    return architecture, diagnostics


def survey(
    source: str | os.PathLike[str], overrides: Sequence[str] = ()
) -> tuple[NetworkGraph | None, Architecture | None, list[Diagnostic]]:
    """Like ``inspect``, with the graph, None where there are errors."""
    with no_collection():
        architecture, diagnostics = validate(flat_document(source, overrides))
        graph = None
        if architecture is not None:
            graph, found = examine(architecture)
            found += [] if graph is None else rule_warnings(graph)
            diagnostics += [architecture.locate(d) for d in found]
        return graph, architecture, without_repetitions(diagnostics)


@contextmanager
def no_collection() -> Iterator[None]:
    """Keep Python from looking for garbage meanwhile: what a large file is read into stays, and is looked at often.

    A third of the time of ``check`` on 10,000 states.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def flat_document(source: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Document:
    """Read a file, what it includes and the overrides, and write out its blocks, parameters and patterns."""
    hint = "e.g. 'learning.beta=0.2'"
    assignments = [text("an override", assignment, hint) for assignment in several("overrides", overrides)]
    document = include(parse(*read(source)))
    override(document, assignments)
    return expand(document)


def read(source: str | os.PathLike[str]) -> tuple[str | bytes, str]:
    """Return the text of a file, or the text given, and what to call it."""
    if isinstance(source, str) and ("\n" in source or source.lstrip().startswith("{") or not source):
        return source, "<text>"
    if not isinstance(source, str | os.PathLike):
        raise refused(f"expected the path of a YAML file or YAML text, found {shown(source)}", _instead(source))
    path = Path(source)
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1), str(source)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        unread = f"{str(source)[:200]}: cannot be read: {reason}"
        raise EpgraphError(unread, "give the path of a YAML file", "file") from None


def _instead(source: object) -> str:
    """Hint for what is neither a path nor text."""
    if isinstance(source, Mapping):
        return "turn it into text: json.dumps(…) writes YAML"
    if isinstance(source, bytes):
        return "turn it into text: .decode()"
    return "pass its path, or what its read() returns" if hasattr(source, "read") else "e.g. 'network.yaml'"

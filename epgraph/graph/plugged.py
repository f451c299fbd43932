"""Runs that were trained with plugins: a message about a member that is not there says which plugin brought it."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from epgraph.errors import Diagnostic, EpgraphError
from epgraph.files import FileError, read_bytes
from epgraph.graph.folders import of_a_run
from epgraph.registry import PLUGIN_MODULE

OPTION = "--plugin"
MAX_BYTES = 64 << 20


@contextmanager
def plugins_named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Name the plugins of a run in what is raised: of its folder, or of a checkpoint in it."""
    try:
        yield
    except EpgraphError as error:
        named = with_plugins(error.diagnostics, path)
        if named == list(error.diagnostics):
            raise
        raise EpgraphError(named) from None


def with_plugins(diagnostics: Iterable[Diagnostic], path: str | os.PathLike[str] | None = None) -> list[Diagnostic]:
    """Return diagnostics whose mistakes have a hint to the plugins of a run that are not there now.

    ``path`` is its folder, or a file in it; left out, the file of a mistake says whether it is of a run.
    """
    found = list(diagnostics)
    mistakes = [one for one in found if one.severity == "error"]
    if path is None:
        path = next((Path(one.file) for one in mistakes if one.file is not None and of_a_run(one.file)), None)
    if not mistakes or path is None:
        return found
    hint = lacking_plugins(path)
    return [replace(one, hint=hint) if hint and one.severity == "error" else one for one in found]


def lacking_plugins(path: str | os.PathLike[str]) -> str:
    """Return the hint to the plugins of a run that are not there now; empty where none is missing.

    ``path`` is the folder of the run, or a file in it.
    """
    missing = _missing(Path(path) if os.path.isdir(path) else Path(path).parent)
    given = " ".join(f"{OPTION} {shlex.quote(one)}" for one in missing)
    return f"the run was trained with {given}: give it again" if missing else ""


def _missing(folder: Path) -> list[str]:
    """Plugins of the first start of a run that have not been run in this process, as that start named them."""
    try:
        first = json.loads(read_bytes(folder / "run.json", MAX_BYTES))["history"][0]
        words, directory = [str(word) for word in first["command"]], str(first["directory"])
    except (FileError, ValueError, KeyError, TypeError, IndexError, RecursionError):
        return []
    names = [after for word, after in pairwise(words) if word == OPTION]
    names += [word.partition("=")[2] for word in words if word.startswith(f"{OPTION}=")]
    run = {Path(name.removeprefix(PLUGIN_MODULE)).name for name in sys.modules if name.startswith(PLUGIN_MODULE)}
    here = str(Path.cwd()) == directory
    return [name if here else str(Path(directory, name)) for name in names if Path(name).name not in run]

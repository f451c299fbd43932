"""The format of a picture, by the suffix of its path."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from epgraph.errors import EpgraphError


def suffix(path: Path, known: Sequence[str]) -> str:
    """Return the format that a path's suffix names, in lower case and without the dot.

    Raises
    ------
    EpgraphError
        Where the suffix is none of ``known``.
    """
    found = path.suffix.lower().removeprefix(".")
    if found not in known:
        problem = f"unknown suffix '{path.suffix}'" if path.suffix else "no suffix to say which format"
        raise EpgraphError(f"{path}: {problem}", f"known: {', '.join('.' + name for name in known)}")
    return found

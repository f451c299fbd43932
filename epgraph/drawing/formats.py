"""The format of a picture, by the suffix of its path."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from epgraph.errors import EpgraphError


def suffix(path: Path, formats: Sequence[str]) -> str:
    """Return the format that a path's suffix names, in lower case and without the dot.

    Raises
    ------
    EpgraphError
        If the suffix is not one of ``formats``.
    """
    format = path.suffix.lower().removeprefix(".")
    if format not in formats:
        problem = f"unknown suffix '{path.suffix}'" if path.suffix else "the path has no suffix to name the format"
        raise EpgraphError(f"{path}: {problem}", f"known: {', '.join('.' + name for name in formats)}")
    return format

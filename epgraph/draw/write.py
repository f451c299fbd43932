"""Write a picture whole or not at all."""

from __future__ import annotations

import os
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


def write(path: Path, content: bytes) -> Path:
    """Write a file, making its directories, and return its path; what stood there before stays on failure.

    Raises
    ------
    EpgraphError
        Where the file cannot be written.
    """
    # Beside its destination, so that the last step is a rename within one file system.
    partial = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file() and not path.is_dir():
            path.write_bytes(content)  # a terminal or a pipe, which a file must not take the place of
            return path
        try:
            partial.write_bytes(content)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL in it
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, FileExistsError):  # which is how making a directory finds a file in its place
            reason = f"{path.parent} is not a directory"
        raise EpgraphError(f"{path}: cannot be written: {reason}", "give a path that can be written") from None
    return path

"""One process per run folder: a lock that the operating system releases when its holder dies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from epgraph.errors import EpgraphError
from epgraph.runs.folder import LOCK, PID, RunFolder


@contextmanager
def locked(folder: RunFolder) -> Iterator[None]:
    """Hold the lock of a run folder; create the folder, and remove it again if it stayed empty.

    Raises
    ------
    EpgraphError
        If another process holds the lock (the message has its number), or the folder cannot be created.
    """
    from filelock import FileLock, Timeout

    created = not folder.path.exists()
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        lock.acquire(blocking=False)
    except Timeout:
        raise EpgraphError(
            f"the run folder {folder.path} is being written by {_holder(folder / PID)}",
            "wait until it ends, stop it, or name another folder with --out",
        ) from None
    except OSError as error:
        raise EpgraphError(
            f"{folder.path}: cannot be written: {error.strerror or error}", "name a folder with --out"
        ) from None
    try:
        with suppress(OSError):
            (folder / PID).write_text(f"{os.getpid()}\n", encoding="ascii")
        yield
    finally:
        with suppress(OSError):
            (folder / PID).unlink(missing_ok=True)
        if created and not folder.in_use:
            with suppress(OSError):
                (folder / LOCK).unlink()
                folder.path.rmdir()
        lock.release()


def _holder(path: Path) -> str:
    try:
        return f"process {int(path.read_text(encoding='ascii')[:20])}"
    except (OSError, ValueError):
        return "another process"

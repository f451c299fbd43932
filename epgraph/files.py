"""Read and write files that the user names, without hanging and without losing data.

Only regular files are read, and every read has a bound: a pipe without a writer would block for ever, and a device such
as ``/dev/zero`` never ends. A file is written completely or not at all, and never over an input file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import BinaryIO

from epgraph.errors import Diagnostic, EpgraphError

_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a disk"),
)

_MAX_INPUTS = 10_000
"""Largest number of inputs to remember. Networks and plugins come first; data may have millions of images."""

_inputs: ContextVar[dict[tuple[int, int], str] | None] = ContextVar("inputs", default=None)
"""Files that were read within ``remembering_inputs``: (device, inode) → path."""

Stamp = tuple[int, int, int] | None
"""What tells two versions of a file apart: inode, time of the last change in nanoseconds, size. None: no file."""

_traced: ContextVar[dict[str, Stamp] | None] = ContextVar("traced", default=None)
"""Files that were looked for within ``tracing_inputs``, and how each was then."""

_CHUNK_BYTES = 2**20
"""Bytes per read, so that a large limit allocates no memory by itself."""

_SAVE_FIRST = "save what comes from a pipe or a device to a file first"


class FileError(EpgraphError):
    """A file that cannot be read; ``reason`` says why, without the path."""

    def __init__(self, problem: Diagnostic, reason: str) -> None:
        super().__init__(problem)
        self.reason = reason


def read_bytes(path: str | os.PathLike[str], limit: int, hint: str = "", rule: str = "file") -> bytes:
    """Return the content of a regular file, or of the regular file behind a link.

    Parameters
    ----------
    limit
        Largest size in bytes.
    hint
        Advice if the file is missing or cannot be read, e.g. ``"give the path of a YAML file"``.
    rule
        Kind of mistake, one of ``errors.RULES``.

    Raises
    ------
    FileError
        If the file cannot be opened or read, is no regular file, or is larger than ``limit``.
    """
    content = bytearray()
    with open_regular(path, hint, rule) as file:
        try:
            while len(content) <= limit and (part := file.read(min(_CHUNK_BYTES, limit + 1 - len(content)))):
                content += part
        except OSError as error:
            raise _unreadable(path, _reason(error), hint, rule) from None
    if len(content) > limit:
        raise _unreadable(path, f"it is larger than {size_text(limit)}", hint, rule)
    return bytes(content)


def open_regular(path: str | os.PathLike[str], hint: str = "", rule: str = "file") -> BinaryIO:
    """Open a regular file for reading bytes; errors as ``read_bytes``. The caller must bound its reads."""
    look_for(path)
    try:
        # Check before opening, because opening a device may start it …
        _demand_regular(path, os.stat(path).st_mode, hint, rule)
        # … and again after opening, because the file may have been replaced. O_NONBLOCK: opening a pipe would wait.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(path, flags)
        try:
            status = os.fstat(descriptor)
            _demand_regular(path, status.st_mode, hint, rule)
            inputs = _inputs.get()
            if inputs is not None and len(inputs) < _MAX_INPUTS:
                inputs.setdefault((status.st_dev, status.st_ino), os.fspath(path))
            return os.fdopen(descriptor, "rb")
        except BaseException:
            os.close(descriptor)
            raise
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL or a lone surrogate
        raise _unreadable(path, _reason(error), hint, rule) from None


def regular_file(path: str | os.PathLike[str], hint: str = "", rule: str = "file") -> None:
    """Raise FileError, as ``read_bytes``, unless there is a regular file; it is not opened."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        raise _unreadable(path, _reason(error), hint, rule) from None
    _demand_regular(path, mode, hint, rule)


def stamp(path: str | os.PathLike[str]) -> Stamp:
    """Return how a file is now."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


@contextmanager
def tracing_inputs() -> Iterator[dict[str, Stamp]]:
    """Note how every file is that is opened, or is missing, in this context, before it is read."""
    found: dict[str, Stamp] = {}
    token = _traced.set(found)
    try:
        yield found
    finally:
        _traced.reset(token)


@contextmanager
def untraced() -> Iterator[None]:
    """Read files that are no inputs: ``tracing_inputs`` does not note them."""
    token = _traced.set(None)
    try:
        yield
    finally:
        _traced.reset(token)


def look_for(path: str | os.PathLike[str]) -> None:
    """Note for ``tracing_inputs`` that a file is looked for; ``open_regular`` does so by itself."""
    traced = _traced.get()
    if traced is not None and len(traced) < _MAX_INPUTS:
        traced.setdefault(os.fspath(path), stamp(path))


@contextmanager
def remembering_inputs() -> Iterator[None]:
    """Remember all files that are opened in this context: ``check_writable`` refuses to overwrite them."""
    token = _inputs.set({})
    try:
        yield
    finally:
        _inputs.reset(token)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Refuse a path to which no file should be written.

    Raises
    ------
    EpgraphError
        If it is empty, a directory, a link to a file, a disk or a socket, or a file that was read within
        ``remembering_inputs``, under any path or link.
    """
    try:
        if not os.path.lexists(path):
            if not Path(path).name or os.fspath(path).endswith(os.sep):
                raise _unwritable(path, "it names no file")
            return
        if os.path.islink(path) and (os.path.isfile(path) or not os.path.exists(path)):
            raise _unwritable(path, f"it is a link to {os.readlink(path)}", "name the file itself")
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise _unwritable(path, _reason(error)) from None
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISCHR(status.st_mode) or stat.S_ISFIFO(status.st_mode)):
        raise _unwritable(path, f"it is {_kind(status.st_mode)}")
    read = (_inputs.get() or {}).get((status.st_dev, status.st_ino))
    if read is not None:
        same = "it" if read == os.fspath(path) else f"it is {read}, which"
        raise _unwritable(path, f"{same} was read as an input", "name another file")


def write_bytes(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write a file, create its directories, and return its path; on failure an old file stays as it is.

    Raises
    ------
    EpgraphError
        If the file cannot be written; as ``check_writable``.
    """
    check_writable(path)
    path = Path(path)
    # In the same directory, so that the last step is a rename within one file system.
    partial = path.with_name(f".{os.getpid()}.{path.name[:60]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            path.write_bytes(content)  # a terminal or a pipe, which must not be replaced by a file
            return path
        try:
            partial.unlink(missing_ok=True)
            with partial.open("xb") as file:
                file.write(content)
            if path.exists():
                os.chmod(partial, stat.S_IMODE(path.stat().st_mode))
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        reason = _reason(error)
        if isinstance(error, FileExistsError):  # mkdir found a file
            reason = f"{path.parent} is not a directory"
        raise _unwritable(path, reason) from None
    return path


def size_text(size: int) -> str:
    """Write a number of bytes as ``8 MiB``."""
    power = min(max(0, size.bit_length() - 1) // 10, 3)
    return f"{round(size / 1024**power, 1):,g} {('bytes', 'KiB', 'MiB', 'GiB')[power]}"


def _demand_regular(path: str | os.PathLike[str], mode: int, hint: str, rule: str) -> None:
    if not stat.S_ISREG(mode):
        advice = hint if stat.S_ISDIR(mode) else _SAVE_FIRST
        raise _unreadable(path, f"it is {_kind(mode)}", advice, rule)


def _kind(mode: int) -> str:
    return next((name for test, name in _KINDS if test(mode)), "no regular file")


def _reason(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)


def _unreadable(path: str | os.PathLike[str], reason: str, hint: str, rule: str) -> FileError:
    return FileError(Diagnostic(f"{_shortened(path)}: cannot be read: {reason}", hint, rule=rule), reason)


def _unwritable(
    path: str | os.PathLike[str], reason: str, hint: str = "give a path that can be written"
) -> EpgraphError:
    return EpgraphError(f"{_shortened(path)}: cannot be written: {reason}", hint)


def _shortened(path: str | os.PathLike[str]) -> str:
    text = os.fspath(path)
    return text if len(text) <= 200 else f"{text[:200]}…"

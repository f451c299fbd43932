"""Files that the user names: only regular files are opened, and every read has a bound.

A pipe that nobody writes to would block for ever, and a device such as ``/dev/zero`` never ends.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import BinaryIO

from epgraph.errors import Diagnostic, EpgraphError

_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)

_PIECE = 2**20
"""Bytes that are read at once, so that a large limit takes no memory by itself."""

_SAVE_FIRST = "save what comes from a pipe or a device to a file first"


class FileError(EpgraphError):
    """A file that cannot be read; ``reason`` says why without naming it."""

    def __init__(self, problem: Diagnostic, reason: str) -> None:
        super().__init__(problem)
        self.reason = reason


def read_bytes(path: str | os.PathLike[str], limit: int, hint: str = "", rule: str = "file") -> bytes:
    """Return the content of a regular file, or of one that a link leads to.

    Parameters
    ----------
    limit
        Most bytes that the file may have.
    hint
        What to do where the file is missing or cannot be read, e.g. ``"give the path of a YAML file"``.
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
            while len(content) <= limit and (part := file.read(min(_PIECE, limit + 1 - len(content)))):
                content += part
        except OSError as error:
            raise _unreadable(path, _reason(error), hint, rule) from None
    if len(content) > limit:
        raise _unreadable(path, f"it is larger than {size_text(limit)}", hint, rule)
    return bytes(content)


def open_regular(path: str | os.PathLike[str], hint: str = "", rule: str = "file") -> BinaryIO:
    """Open a regular file for reading bytes; as ``read_bytes`` for what is none. The caller bounds what it reads."""
    try:
        # Looked at before it is opened, since opening alone may set a device in motion …
        _demand_regular(path, os.stat(path).st_mode, hint, rule)
        # … and again once it is open, since another file may have taken its place. O_NONBLOCK: a pipe would wait.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(path, flags)
        try:
            _demand_regular(path, os.fstat(descriptor).st_mode, hint, rule)
            return os.fdopen(descriptor, "rb")
        except BaseException:
            os.close(descriptor)
            raise
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL or half of a character in it
        raise _unreadable(path, _reason(error), hint, rule) from None


def regular_file(path: str | os.PathLike[str], hint: str = "", rule: str = "file") -> None:
    """Raise FileError, as ``read_bytes`` does, where there is no regular file; nothing is opened."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        raise _unreadable(path, _reason(error), hint, rule) from None
    _demand_regular(path, mode, hint, rule)


def size_text(size: int) -> str:
    """Write a number of bytes as ``8 MiB``."""
    power = min(max(0, size.bit_length() - 1) // 10, 3)
    return f"{round(size / 1024**power, 1):,g} {('bytes', 'KiB', 'MiB', 'GiB')[power]}"


def _demand_regular(path: str | os.PathLike[str], mode: int, hint: str, rule: str) -> None:
    if not stat.S_ISREG(mode):
        kind = next((name for test, name in _KINDS if test(mode)), "no regular file")
        advice = hint if stat.S_ISDIR(mode) else _SAVE_FIRST
        raise _unreadable(path, f"it is {kind}", advice, rule)


def _reason(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)


def _unreadable(path: str | os.PathLike[str], reason: str, hint: str, rule: str) -> FileError:
    return FileError(Diagnostic(f"{_shortened(path)}: cannot be read: {reason}", hint, rule=rule), reason)


def _shortened(path: str | os.PathLike[str]) -> str:
    text = os.fspath(path)
    return text if len(text) <= 200 else f"{text[:200]}…"

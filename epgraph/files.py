"""Files that the user names: what is read and written, so that nothing hangs and nothing is lost.

Only regular files are read, and every read has a bound: a pipe that nobody writes to would block for ever, and a device
such as ``/dev/zero`` never ends. A file is written whole or not at all, and never over a file that was read.
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

_MOST_INPUTS = 10_000
"""Inputs that are remembered. Networks and plugins are read before data, whose images may be millions."""

_inputs: ContextVar[dict[tuple[int, int], str] | None] = ContextVar("inputs", default=None)
"""What has been read within ``remembering_inputs``: device and number of each file, and its path."""

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
            status = os.fstat(descriptor)
            _demand_regular(path, status.st_mode, hint, rule)
            inputs = _inputs.get()
            if inputs is not None and len(inputs) < _MOST_INPUTS:
                inputs.setdefault((status.st_dev, status.st_ino), os.fspath(path))
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


@contextmanager
def remembering_inputs() -> Iterator[None]:
    """Remember every file that is opened meanwhile; ``check_writable`` refuses to write over them."""
    token = _inputs.set({})
    try:
        yield
    finally:
        _inputs.reset(token)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Refuse a path that no file should be written to.

    Raises
    ------
    EpgraphError
        If it is empty, a directory, a link to a file, a disk or a socket; or, by whatever path or link, a file that was
        read within ``remembering_inputs``.
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
    """Write a file, making its directories, and return its path; what stood there before stays on failure.

    Raises
    ------
    EpgraphError
        Where the file cannot be written; as ``check_writable``.
    """
    check_writable(path)
    path = Path(path)
    # Beside its destination, so that the last step is a rename within one file system.
    partial = path.with_name(f".{os.getpid()}.{path.name[:60]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            path.write_bytes(content)  # a terminal or a pipe, which a file must not take the place of
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
        if isinstance(error, FileExistsError):  # which is how making a directory finds a file in its place
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

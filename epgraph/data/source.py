"""Sources of image files: a directory, or a zip archive that is read in place."""

from __future__ import annotations

import os
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from epgraph.data.image import is_image, unreadable
from epgraph.errors import EpgraphError
from epgraph.files import open_regular, read_bytes

PARTS = ("train", "test")
MAX_BYTES = 64 * 2**20
"""Larger files are refused: a small archive can declare an enormous member."""
TOO_LARGE = f"it is larger than {MAX_BYTES // 2**20} MiB"


@dataclass(frozen=True)
class Entry:
    """An entry below ``train/`` or ``test/``; ``path`` are the names on the way to it, beginning with the part.

    ``kind`` is ``other`` for anything but a folder or a regular file: a pipe, a device, a broken link.
    """

    path: tuple[str, ...]
    kind: Literal["folder", "file", "other"]


class Readable(Protocol):
    """Files by name."""

    def where(self, file: str) -> Path:
        """Return the path of a file, for messages."""

    def read(self, file: str) -> bytes:
        """Return the content."""


class Source(Readable, Protocol):
    """Files of both parts, by their paths relative to the folder that has ``train`` and ``test``."""

    path: Path

    def entries(self) -> Iterator[Entry]:
        """List ``train``, ``test`` and everything in them that is not hidden."""

    def size(self, file: str) -> int:
        """Return the size in bytes."""

    def stamp(self, file: str) -> int:
        """Return a number that changes with the content."""


class Files:
    """Files by their own paths."""

    def where(self, file: str) -> Path:
        """Return the path."""
        return Path(file)

    def read(self, file: str) -> bytes:
        """Return the content."""
        return read_bytes(file, MAX_BYTES)


def open_source(path: Path) -> Source:
    """Return the source of the files in a directory or a zip archive.

    Raises
    ------
    EpgraphError
        If nothing is at ``path``, or it is no archive.
    """
    if not os.path.exists(path):
        raise EpgraphError(f"there is no folder or archive {path}", "give a directory or a .zip after 'folder:'")
    return DirectorySource(path) if path.is_dir() else ZipSource(path)


class DirectorySource:
    """A directory with ``train/`` and ``test/``, or with one directory that has them."""

    def __init__(self, path: Path) -> None:
        self.path = self._base = path
        if not any((path / part).is_dir() for part in PARTS):
            inside = [entry.name for entry in os.scandir(path) if entry.is_dir() and not _hidden(entry.name)]
            self._base = path / inside[0] if len(inside) == 1 else path

    def entries(self) -> Iterator[Entry]:
        """List ``train``, ``test`` and everything in them; links are followed, each folder once per class."""
        for part in PARTS:
            if (self._base / part).is_dir():
                yield Entry((part,), "folder")
                yield from self._inside(part)

    def _inside(self, part: str) -> Iterator[Entry]:
        visited: set[tuple[str, int, int]] = set()
        pending: list[tuple[str, ...]] = [(part,)]
        while pending:
            path = pending.pop()
            with os.scandir(self._base.joinpath(*path)) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
            for entry in entries:
                if _hidden(entry.name):
                    continue
                inner = (*path, entry.name)
                if not entry.is_dir():
                    yield Entry(inner, "file" if entry.is_file() else "other")
                    continue
                yield Entry(inner, "folder")
                status = entry.stat()
                # A link may point to a folder that contains it.
                folder = (inner[1], status.st_dev, status.st_ino)
                if folder not in visited:
                    visited.add(folder)
                    pending.append(inner)

    def where(self, file: str) -> Path:
        """Return the path of a file."""
        return self._base / file

    def size(self, file: str) -> int:
        """Return the size in bytes."""
        return self.where(file).stat().st_size

    def stamp(self, file: str) -> int:
        """Return when the file was changed."""
        return self.where(file).stat().st_mtime_ns

    def read(self, file: str) -> bytes:
        """Return the content."""
        return read_bytes(self.where(file), MAX_BYTES)


class ZipSource:
    """A zip archive, never unpacked to disk; each process has its own handle.

    Raises
    ------
    EpgraphError
        If it is no archive, or an image in it is too large, encrypted or compressed in an unusual way.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened: tuple[int, zipfile.ZipFile] | None = None
        self._lock = threading.Lock()
        try:
            with open_regular(path, "give a directory or a .zip") as opened, zipfile.ZipFile(opened) as archive:
                members = archive.infolist()
        # ValueError: a name in an unknown encoding.
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise EpgraphError(f"{path} is not a zip archive: {error}", "give a directory or a .zip") from error
        members_by_path: dict[tuple[str, ...], zipfile.ZipInfo] = {}
        for member in members:
            names = tuple(name for name in member.filename.split("/") if name not in ("", "."))
            # This also leaves out paths with '..', which begins with a dot.
            if names and not any(map(_hidden, names)):
                members_by_path[names] = member  # of two members with one name the last counts
        tops = {names[0] for names, member in members_by_path.items() if len(names) > 1 or member.is_dir()}
        enclosed = len(tops) == 1 and not tops & set(PARTS)
        self._members: dict[str, str] = {}
        self._folders: set[tuple[str, ...]] = set()
        for names, member in members_by_path.items():
            inner = names[1:] if enclosed else names
            if not inner or inner[0] not in PARTS:
                continue
            self._folders |= {inner[:depth] for depth in range(1, len(inner) + member.is_dir())}
            if not member.is_dir():
                self._members["/".join(inner)] = member.filename
                if len(inner) > 2 and is_image(inner[-1]):
                    _refuse_unusual(member, path)

    def entries(self) -> Iterator[Entry]:
        """List ``train``, ``test`` and everything in them."""
        yield from (Entry(path, "folder") for path in self._folders)
        yield from (Entry(tuple(file.split("/")), "file") for file in self._members)

    def where(self, file: str) -> Path:
        """Return the path of a file."""
        return self.path / self._members[file]

    def size(self, file: str) -> int:
        """Return the size in bytes that the archive declares."""
        with self._lock:
            return self._archive().getinfo(self._members[file]).file_size

    def stamp(self, file: str) -> int:
        """Return the checksum that the archive declares."""
        with self._lock:
            return self._archive().getinfo(self._members[file]).CRC

    def read(self, file: str) -> bytes:
        """Return the content."""
        # ZipFile.read decompresses everything before it compares the declared size.
        with self._lock, self._archive().open(self._members[file]) as member:
            return member.read(MAX_BYTES)

    def _archive(self) -> zipfile.ZipFile:
        # After a fork, parent and child would share the position of one handle.
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), zipfile.ZipFile(open_regular(self.path)))
        return self._opened[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= {**state, "_lock": threading.Lock()}


def _hidden(name: str) -> bool:
    """Whether a file or folder is skipped silently: hidden ones, and those that macOS adds."""
    return name.startswith(".") or name == "__MACOSX"


def _refuse_unusual(member: zipfile.ZipInfo, archive: Path) -> None:
    where = archive / member.filename
    if member.file_size > MAX_BYTES:
        raise unreadable(where, TOO_LARGE)
    # The other methods decompress without a bound, whatever the declared size is.
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise unreadable(where, "it is neither stored nor deflated")
    if member.flag_bits & 1:
        raise unreadable(where, "it is encrypted")

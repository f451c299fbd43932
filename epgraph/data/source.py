"""Where the files of a folder of images lie: a directory, or a zip archive that is read in place."""

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
    """What stands below ``train/`` or ``test/``, by the names on the way to it, that of the part first.

    ``kind`` is ``other`` for what is neither a folder nor a regular file: a pipe, a device, a link to nothing.
    """

    path: tuple[str, ...]
    kind: Literal["folder", "file", "other"]


class Source(Protocol):
    """Files of both parts, by their paths from the folder that has ``train`` and ``test``."""

    path: Path

    def entries(self) -> Iterator[Entry]:
        """List ``train``, ``test`` and all that is in them, except what is hidden."""

    def where(self, file: str) -> Path:
        """Return where a file lies, for messages."""

    def size(self, file: str) -> int:
        """Return the number of its bytes."""

    def read(self, file: str) -> bytes:
        """Return its content."""


def open_source(path: Path) -> Source:
    """Return the source of the files in a directory or a zip archive.

    Raises
    ------
    EpgraphError
        When there is nothing at ``path``, or it is no archive.
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
        """List ``train``, ``test`` and all that is in them; links are followed, but within a class no folder twice."""
        for part in PARTS:
            if (self._base / part).is_dir():
                yield Entry((part,), "folder")
                yield from self._inside(part)

    def _inside(self, part: str) -> Iterator[Entry]:
        seen: set[tuple[str, int, int]] = set()
        pending: list[tuple[str, ...]] = [(part,)]
        while pending:
            path = pending.pop()
            with os.scandir(self._base.joinpath(*path)) as found:
                entries = sorted(found, key=lambda entry: entry.name)
            for entry in entries:
                if _hidden(entry.name):
                    continue
                inner = (*path, entry.name)
                if not entry.is_dir():
                    yield Entry(inner, "file" if entry.is_file() else "other")
                    continue
                yield Entry(inner, "folder")
                status = entry.stat()
                # A link may lead to a folder that it stands in.
                folder = (inner[1], status.st_dev, status.st_ino)
                if folder not in seen:
                    seen.add(folder)
                    pending.append(inner)

    def where(self, file: str) -> Path:
        """Return where a file lies."""
        return self._base / file

    def size(self, file: str) -> int:
        """Return the number of its bytes."""
        return self.where(file).stat().st_size

    def read(self, file: str) -> bytes:
        """Return its content."""
        return read_bytes(self.where(file), MAX_BYTES)


class ZipSource:
    """A zip archive, never unpacked to disk; each process reads it through a handle of its own.

    Raises
    ------
    EpgraphError
        When it is no archive, or an image in it is too large, encrypted or compressed in an unusual way.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened: tuple[int, zipfile.ZipFile] | None = None
        self._lock = threading.Lock()
        try:
            with open_regular(path, "give a directory or a .zip") as opened, zipfile.ZipFile(opened) as archive:
                members = archive.infolist()
        # ValueError is how a name in no known encoding shows.
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise EpgraphError(f"{path} is not a zip archive: {error}", "give a directory or a .zip") from error
        found: dict[tuple[str, ...], zipfile.ZipInfo] = {}
        for member in members:
            names = tuple(name for name in member.filename.split("/") if name not in ("", "."))
            # Paths that climb are no images of ours either; '..' begins with a dot.
            if names and not any(map(_hidden, names)):
                found[names] = member  # an archive may hold two members of one name; the last is the one that counts
        tops = {names[0] for names, member in found.items() if len(names) > 1 or member.is_dir()}
        enclosed = len(tops) == 1 and not tops & set(PARTS)
        self._members: dict[str, str] = {}
        self._folders: set[tuple[str, ...]] = set()
        for names, member in found.items():
            inner = names[1:] if enclosed else names
            if not inner or inner[0] not in PARTS:
                continue
            self._folders |= {inner[:depth] for depth in range(1, len(inner) + member.is_dir())}
            if not member.is_dir():
                self._members["/".join(inner)] = member.filename
                if len(inner) > 2 and is_image(inner[-1]):
                    _refuse_unusual(member, path)

    def entries(self) -> Iterator[Entry]:
        """List ``train``, ``test`` and all that is in them."""
        yield from (Entry(path, "folder") for path in self._folders)
        yield from (Entry(tuple(file.split("/")), "file") for file in self._members)

    def where(self, file: str) -> Path:
        """Return where a file lies."""
        return self.path / self._members[file]

    def size(self, file: str) -> int:
        """Return the number of its bytes, as the archive declares it."""
        with self._lock:
            return self._archive().getinfo(self._members[file]).file_size

    def read(self, file: str) -> bytes:
        """Return its content."""
        # ZipFile.read would decompress everything before it looks at the declared size.
        with self._lock, self._archive().open(self._members[file]) as member:
            return member.read(MAX_BYTES)

    def _archive(self) -> zipfile.ZipFile:
        # A handle inherited by fork shares its position with the parent's.
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), zipfile.ZipFile(open_regular(self.path)))
        return self._opened[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= {**state, "_lock": threading.Lock()}


def _hidden(name: str) -> bool:
    """Whether a file or folder is passed over without a word: hidden ones, and what macOS adds."""
    return name.startswith(".") or name == "__MACOSX"


def _refuse_unusual(member: zipfile.ZipInfo, archive: Path) -> None:
    where = archive / member.filename
    if member.file_size > MAX_BYTES:
        raise unreadable(where, TOO_LARGE)
    # The other methods decompress without a bound, whatever size is declared.
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise unreadable(where, "it is neither stored nor deflated")
    if member.flag_bits & 1:
        raise unreadable(where, "it is encrypted")

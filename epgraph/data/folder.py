"""Images in class folders, in a directory or a zip archive that is read in place."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from epgraph.errors import EpgraphError
from epgraph.files import FileError, open_regular, read_bytes

if TYPE_CHECKING:
    from PIL.Image import Image

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".webp")
# Only these decoders see the bytes, whatever the name says.
DECODERS = ("PNG", "JPEG", "BMP", "PPM", "WEBP")
MAX_BYTES = 64 * 2**20
"""Larger files are refused: a small archive can declare an enormous member."""
TOO_LARGE = f"it is larger than {MAX_BYTES // 2**20} MiB"

ARRANGE = "arrange the images as train/<class>/*.png and test/<class>/*.png"

Listing = dict[str, dict[str, list[str]]]
"""Files by part (``train``, ``test``) and class; a class may have none."""


class ImageError(EpgraphError):
    """An image that cannot be decoded.

    A DataLoader raises a worker's exception again with the worker's traceback for its only argument. The last
    line of it is the message, and the only line that is of use to whoever has to replace the image.
    """

    def __init__(self, problem: str, hint: str = "") -> None:
        if "\nOriginal Traceback" in problem:
            problem = problem.strip().splitlines()[-1].partition(": ")[2]
        super().__init__(problem, hint)


class Source(Protocol):
    """Where image files lie."""

    path: Path

    def listing(self) -> Listing:
        """Return the files of both parts by class."""

    def read(self, file: str) -> bytes:
        """Return the content of a listed file."""


class DirectorySource:
    """A directory with ``train/`` and ``test/``, or with one directory that has them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def listing(self) -> Listing:
        """Return the files of both parts by class."""
        base = self.path
        if not any((base / part).is_dir() for part in ("train", "test")):
            inside = _directories(base)
            base = base / inside[0] if len(inside) == 1 else base
        inner = base.relative_to(self.path)
        return {
            part: {
                label: [
                    str(inner / part / label / file)
                    for file in sorted(os.listdir(base / part / label))
                    if _is_image(file)
                ]
                for label in _directories(base / part)
            }
            for part in ("train", "test")
            if (base / part).is_dir()
        }

    def read(self, file: str) -> bytes:
        """Return the content of a listed file."""
        return read_bytes(self.path / file, MAX_BYTES)


class ZipSource:
    """A zip archive, never unpacked to disk; each process reads it through a handle of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened: tuple[int, zipfile.ZipFile] | None = None

    def listing(self) -> Listing:
        """Return the files of both parts by class.

        Raises
        ------
        EpgraphError
            When it is no archive, or an image in it is too large or compressed in an unusual way.
        """
        try:
            with open_regular(self.path, "give a directory or a .zip") as opened, zipfile.ZipFile(opened) as archive:
                members = archive.infolist()
        # ValueError is how a name in no known encoding shows.
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise EpgraphError(f"{self.path} is not a zip archive: {error}", "give a directory or a .zip") from error
        found: list[tuple[list[str], zipfile.ZipInfo]] = []
        for member in members:
            parts = [part for part in member.filename.split("/") if part not in ("", ".")]
            # Hidden files and those that macOS adds. Paths that climb are no images of ours either.
            if parts and not any(part.startswith(".") or part == "__MACOSX" for part in parts):
                found.append((parts, member))
        tops = {parts[0] for parts, member in found if len(parts) > 1 or member.is_dir()}
        enclosed = len(tops) == 1 and not tops & {"train", "test"}
        listing: Listing = {}
        for parts, member in found:
            match parts[1:] if enclosed else parts:
                case [("train" | "test") as part, label] if member.is_dir():
                    listing.setdefault(part, {}).setdefault(label, [])
                case [("train" | "test") as part, label, file] if not member.is_dir():
                    files = listing.setdefault(part, {}).setdefault(label, [])
                    if _is_image(file):
                        if member.file_size > MAX_BYTES:
                            raise _unreadable(self, member.filename, TOO_LARGE)
                        # The other methods decompress without a bound, whatever size is declared.
                        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                            raise _unreadable(self, member.filename, "it is neither stored nor deflated")
                        files.append(member.filename)
                case [("train" | "test") as part, *_]:
                    listing.setdefault(part, {})
        # An archive may hold two members of one name; the last is the one that is read.
        return {
            part: {label: sorted(set(files)) for label, files in sorted(classes.items())}
            for part, classes in listing.items()
        }

    def read(self, file: str) -> bytes:
        """Return the content of a listed file."""
        # A handle inherited by fork shares its position with the parent's.
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), zipfile.ZipFile(open_regular(self.path)))
        # ZipFile.read would decompress everything before it looks at the declared size.
        with self._opened[1].open(file) as member:
            return member.read(MAX_BYTES)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_opened": None}


@dataclass(frozen=True)
class FileImages:
    """Images decoded when they are asked for, with ``shape`` (C, H, W)."""

    source: Source
    files: Sequence[str]
    shape: tuple[int, ...]

    def __getitem__(self, index: int) -> Image:
        from PIL import Image

        image = decode(self.source, self.files[index])
        channels, height, width = self.shape
        image = image.convert("L" if channels == 1 else "RGB")
        if image.size != (width, height):
            # PIL filters over the whole area when it shrinks: this is bilinear with antialiasing.
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        return image


@dataclass(frozen=True)
class Folder:
    """A folder of images: ``train`` and ``test`` are the files and the position of each one's class."""

    source: Source
    classes: tuple[str, ...]
    train: tuple[list[str], list[int]]
    test: tuple[list[str], list[int]]

    def first_shape(self) -> tuple[int, int, int]:
        """Return (C, H, W) of the first training image."""
        image = decode(self.source, self.train[0][0])
        return (1 if image.mode in ("1", "L", "LA") else 3, image.height, image.width)


def open_folder(path: Path) -> Folder:
    """List a directory or zip archive with ``train/<class>/`` and ``test/<class>/``; no image is decoded.

    Raises
    ------
    EpgraphError
        When there is nothing at ``path``, a part or its images are missing, or ``test/`` has another class.
    """
    if not os.path.exists(path):
        raise EpgraphError(f"there is no folder or archive {path}", "give a directory or a .zip after 'folder:'")
    source: Source = DirectorySource(path) if path.is_dir() else ZipSource(path)
    try:
        listing = source.listing()
    except OSError as error:
        raise EpgraphError(f"{path} cannot be listed: {error}", "make it readable") from error
    for part in ("train", "test"):
        if part not in listing:
            raise EpgraphError(f"{path} has no folder {part}/", ARRANGE)
        if not any(listing[part].values()):
            raise EpgraphError(
                f"{path} has no images in {part}/<class>/", f"{ARRANGE} (or {', '.join(EXTENSIONS[1:])})"
            )
    classes = tuple(sorted(listing["train"]))
    for label in classes:
        if not listing["train"][label]:
            raise EpgraphError(f"{path} has no images in train/{label}/", "add some, or remove the folder")
    for label, files in sorted(listing["test"].items()):
        if files and label not in classes:
            raise EpgraphError(
                f"{path} has the class '{label}' in test/ but not in train/",
                f"classes are the folders of train/: {_some(classes)}",
            )
    train, test = (
        (
            [file for label in classes for file in listing[part].get(label, [])],
            [position for position, label in enumerate(classes) for _ in listing[part].get(label, [])],
        )
        for part in ("train", "test")
    )
    return Folder(source, classes, train, test)


def decode(source: Source, file: str) -> Image:
    """Return the decoded image.

    Raises
    ------
    ImageError
        When the file cannot be read, is no image, or holds more than 8 bits a channel.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(source.read(file)), formats=DECODERS)
        if image.mode.startswith(("I", "F")):
            raise ValueError("it has more than 8 bits a channel")
        image.load()
    # Decoders meet damaged bytes with all sorts of exceptions, and each means that this file is at fault.
    except Exception as error:
        reason = str(error) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = "it is no image"
        elif isinstance(error, FileError):
            reason = error.reason
        raise _unreadable(source, file, reason) from error
    return image


def _unreadable(source: Source, file: str, reason: str) -> ImageError:
    # One line, whatever the file is called: see ImageError.
    text = f"the image {source.path / file} cannot be read: {reason}"
    return ImageError(" ".join(text.split()), "replace or remove it")


def _directories(path: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith("."))


def _is_image(file: str) -> bool:
    return file.lower().endswith(EXTENSIONS) and not file.startswith(".")


def _some(words: Sequence[str]) -> str:
    return ", ".join(words[:12]) + (", …" if len(words) > 12 else "")

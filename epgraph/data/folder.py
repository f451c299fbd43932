"""Images in class folders: which there are, what is wrong with how they are arranged, and reading one."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from epgraph.data.image import EXTENSIONS, ImageError, decode, is_image, unreadable
from epgraph.data.progress import in_threads, progress
from epgraph.data.source import PARTS, Source, open_source
from epgraph.errors import Diagnostic, EpgraphError, listed
from epgraph.files import FileError

if TYPE_CHECKING:
    from PIL.Image import Image

ARRANGE = "arrange the images as train/<class>/*.png and test/<class>/*.png"
READ = f"files are read that end in {', '.join(EXTENSIONS)}"

Classes = dict[str, list[tuple[str, ...]]]
"""Files of a part by class; a class may have none."""

Result = TypeVar("Result")

MOST_FILES, MOST_BYTES = 100_000, 2**30
"""What of a folder is read to identify it: all of it up to this size, else about this much."""


@dataclass(frozen=True)
class Folder:
    """A folder of images: ``train`` and ``test`` are the files and the position of each one's class.

    Classes are the folders in ``train/``, in the order of the code points of their names: ``10`` stands before ``2``.
    """

    source: Source
    classes: tuple[str, ...]
    train: tuple[list[str], list[int]]
    test: tuple[list[str], list[int]]
    warnings: tuple[Diagnostic, ...]

    def first_shape(self) -> tuple[int, int, int]:
        """Return (C, H, W) of the first training image."""
        image = read_image(self.source, self.train[0][0])
        return (1 if image.mode == "L" else 3, image.height, image.width)

    def sha256(self) -> tuple[str, str]:
        """Return a hash of the images of both parts, and what it was taken of.

        It is taken of the paths and sizes of all files, and of the bytes of all of them. Where there are more than
        ``MOST_FILES``, or they have more than ``MOST_BYTES``, it is taken of the bytes of evenly spaced ones.
        """
        files = [*self.train[0], *self.test[0]]
        sizes = [_naming(self.source, file, self.source.size) for file in files]
        step = max(1, math.ceil(len(files) / MOST_FILES), math.ceil(sum(sizes) / MOST_BYTES))
        found = hashlib.sha256()
        for file, size in zip(files, sizes, strict=True):
            found.update(f"{file}\0{size}\0".encode(errors="surrogateescape"))
        chosen = files[::step]
        # Not in threads: they wait for each other where files are small, and for the disk where they are large.
        for file in progress(chosen, len(chosen), "identify the data"):
            found.update(hashlib.sha256(_naming(self.source, file, self.source.read)).digest())
        return found.hexdigest(), "all bytes" if step == 1 else f"names and sizes, and the bytes of 1 file in {step}"


@dataclass(frozen=True)
class FileImages:
    """Images decoded when they are asked for, with ``shape`` (C, H, W)."""

    source: Source
    files: Sequence[str]
    shape: tuple[int, ...]

    def __getitem__(self, index: int) -> Image:
        from PIL import Image

        image = read_image(self.source, self.files[index])
        channels, height, width = self.shape
        mode = "L" if channels == 1 else "RGB"
        if image.mode != mode:
            image = image.convert(mode)
        if image.size != (width, height):
            # PIL filters over the whole area when it shrinks: this is bilinear with antialiasing.
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        return image

    def check(self, positions: Sequence[int]) -> None:
        """Decode the images at these positions once.

        Raises
        ------
        ImageError
            When some cannot be decoded; it names all of them.
        """
        found = in_threads(self._fault, [self.files[i] for i in positions], "check the test images")
        faults = [fault for fault in found if fault is not None]
        if faults:
            raise ImageError(tuple(faults))

    def _fault(self, file: str) -> Diagnostic | None:
        try:
            read_image(self.source, file)
        except ImageError as error:
            return error.diagnostics[0]
        return None


def open_folder(path: Path) -> Folder:
    """List a directory or zip archive with ``train/<class>/`` and ``test/<class>/``; no image is decoded.

    Images may stand deeper: ``train/<class>/<any>/*.png`` are images of the class too.

    Raises
    ------
    EpgraphError
        When there is nothing at ``path``, a part or its images are missing, or ``test/`` has images of a class
        without training images.
    """
    files: dict[str, Classes] = {}
    left_out = []
    try:
        source = open_source(path)
        for entry in source.entries():
            match entry.path:
                case [part, *inner] if entry.kind == "folder":
                    files.setdefault(part, {})
                    if inner:
                        files[part].setdefault(inner[0], [])
                case [part, label, *_, name] if entry.kind == "file" and is_image(name):
                    files[part][label].append(entry.path)
                case names:
                    left_out.append("/".join(names))
    except OSError as error:
        raise EpgraphError(f"{path} cannot be listed: {error}", "make it readable") from error
    left_out.sort()
    for part in PARTS:
        if part not in files:
            raise EpgraphError(f"{path} has no folder {part}/", ARRANGE)
        if not any(files[part].values()):
            besides = f", but {listed(left_out)}" if left_out else ""
            raise EpgraphError(f"{path} has no images in {part}/<class>/{besides}", f"{ARRANGE}; {READ}")
    train, test = (files[part] for part in PARTS)
    for label in sorted(test):
        if test[label] and not train.get(label):
            lacks = f"no images in train/{label}/" if label in train else "not in train/"
            raise EpgraphError(
                f"{path} has the class '{label}' in test/ but {lacks}",
                f"classes are the folders of train/: {listed(sorted(train), 12)}",
            )
    classes = tuple(sorted(train))
    doubts = tuple(_doubts(path, left_out, train, test))
    return Folder(source, classes, _labelled(train, classes), _labelled(test, classes), doubts)


def _labelled(images: Classes, classes: Sequence[str]) -> tuple[list[str], list[int]]:
    pairs = [(label, path) for label, name in enumerate(classes) for path in sorted(images.get(name, ()))]
    return ["/".join(path) for _, path in pairs], [label for label, _ in pairs]


def _doubts(path: Path, left_out: list[str], train: Classes, test: Classes) -> Iterator[Diagnostic]:
    """What is said of a folder that can be used."""
    if left_out:
        count = f"{len(left_out):,} files in {path} are" if len(left_out) > 1 else f"1 file in {path} is"
        yield _warning(f"{count} left out: {listed(left_out)}", f"in the folder of a class, {READ}")
    for part, images, then in (
        ("train", train, "add some, or remove the folder"),
        ("test", test, "the test error says nothing about them"),
    ):
        lacking = sorted(label for label in train if not images.get(label))
        if lacking:
            verb = "have" if len(lacking) > 1 else "has"
            share = f"{len(lacking)} of {len(train)} classes {verb} no images in {part}/ of {path}"
            yield _warning(f"{share}: {listed(lacking)}", then)


def _warning(message: str, hint: str) -> Diagnostic:
    return Diagnostic(message, hint, severity="warning", rule="data")


def read_image(source: Source, file: str) -> Image:
    """Return a decoded image, of mode ``L`` or ``RGB``.

    Raises
    ------
    ImageError
        When the file cannot be read, or its content cannot be decoded.
    """
    return _naming(source, file, lambda file: decode(source.read(file)))


def _naming(source: Source, file: str, act: Callable[[str], Result]) -> Result:
    """Return what ``act`` makes of a file; whatever it raises becomes an ImageError that names the file."""
    try:
        return act(file)
    except MemoryError:
        problem = f"there is not enough memory to read the image {source.where(file)}"
        raise ImageError(problem, "use fewer --workers, or a smaller image") from None
    # Decoders meet damaged bytes with all sorts of exceptions, and each means that this file is at fault.
    except Exception as error:
        reason = error.reason if isinstance(error, FileError) else getattr(error, "strerror", None) or str(error)
        reason = reason or type(error).__name__
        raise unreadable(source.where(file), reason) from error

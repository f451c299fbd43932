"""Images in class folders: list them, check their arrangement, read one."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from epgraph.data.image import EXTENSIONS, ImageError, decode, is_image, unreadable
from epgraph.data.source import PARTS, Readable, Source, open_source
from epgraph.data.threads import in_threads
from epgraph.errors import Diagnostic, EpgraphError, listed
from epgraph.files import FileError
from epgraph.progress import tracked

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image
    from torch import Tensor

    Bytes = np.ndarray[Any, np.dtype[np.uint8]]

ARRANGE = "arrange the images as train/<class>/*.png and test/<class>/*.png"
READ = f"files are read that end in {', '.join(EXTENSIONS)}"

Classes = dict[str, list[tuple[str, ...]]]
"""Files of a part by class; a class may have none."""

Result = TypeVar("Result")

WHOLE = "all bytes"
"""What a hash covers that leaves nothing out."""

MAX_HASHED_FILES, MAX_HASHED_BYTES = 100_000, 2**30
"""Up to this size a folder is hashed whole; of a larger one about this much is hashed."""


@dataclass(frozen=True)
class Folder:
    """A folder of images: ``train`` and ``test`` are the files and the position of each one's class.

    Classes are the folders in ``train/``, ordered by the code points of their names: ``10`` comes before ``2``.
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
        """Return a hash of the images of both parts, and a description of what it covers.

        It covers the paths and sizes of all files, and their bytes. With more than ``MAX_HASHED_FILES`` files or
        ``MAX_HASHED_BYTES`` bytes, it covers the bytes of evenly spaced files only.
        """
        files = [*self.train[0], *self.test[0]]
        sizes = [_naming(self.source, file, self.source.size) for file in files]
        step = max(1, math.ceil(len(files) / MAX_HASHED_FILES), math.ceil(sum(sizes) / MAX_HASHED_BYTES))
        digest = hashlib.sha256()
        for file, size in zip(files, sizes, strict=True):
            digest.update(f"{file}\0{size}\0".encode(errors="surrogateescape"))
        sample = files[::step]
        # Not in threads: with small files they wait for each other, with large ones for the disk.
        for file in tracked(sample, len(sample), "identify the data", "images"):
            digest.update(hashlib.sha256(_naming(self.source, file, self.source.read)).digest())
        return digest.hexdigest(), WHOLE if step == 1 else f"names and sizes, and the bytes of 1 file in {step}"


@dataclass(frozen=True)
class FileImages:
    """Images of ``shape`` (C, H, W), each decoded on access."""

    source: Source
    files: Sequence[str]
    shape: tuple[int, ...]

    def batch(self, positions: Sequence[int]) -> Tensor:
        """Return the images at these positions, (B, C, H, W)."""
        import torch

        return torch.stack([torch.from_numpy(self.decoded(position)) for position in positions])

    def decoded(self, position: int) -> Bytes:
        """Return one image, (C, H, W).

        Raises
        ------
        ImageError
            If its file cannot be decoded; it is named.
        """
        return fitted(read_image(self.source, self.files[position]), self.shape)

    def check(self, positions: Sequence[int]) -> None:
        """Decode the images at these positions once.

        Raises
        ------
        ImageError
            If some cannot be decoded; it names all of them.
        """
        diagnostics = in_threads(self._fault, [self.files[i] for i in positions], "check the test images")
        faults = [fault for fault in diagnostics if fault is not None]
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

    Images may be in subfolders: ``train/<class>/<any>/*.png`` are images of the class too.

    Raises
    ------
    EpgraphError
        If nothing is at ``path``, a part or its images are missing, or ``test/`` has images of a class without
        training images.
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
    return Folder(source, classes, _labeled(train, classes), _labeled(test, classes), doubts)


def _labeled(images: Classes, classes: Sequence[str]) -> tuple[list[str], list[int]]:
    pairs = [(label, path) for label, name in enumerate(classes) for path in sorted(images.get(name, ()))]
    return ["/".join(path) for _, path in pairs], [label for label, _ in pairs]


def _doubts(path: Path, left_out: list[str], train: Classes, test: Classes) -> Iterator[Diagnostic]:
    """Yield warnings about a folder that can be used."""
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


def fitted(image: Image, shape: Sequence[int]) -> Bytes:
    """Return an image as ``shape``, (C, H, W): converted to gray or RGB, and resized."""
    import numpy as np
    from PIL import Image

    channels, height, width = shape
    mode = "L" if channels == 1 else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    if image.size != (width, height):
        # When PIL shrinks an image, it filters over the whole area: this is bilinear with antialiasing.
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.array(image)
    return pixels[None] if channels == 1 else np.moveaxis(pixels, -1, 0)


def read_image(source: Readable, file: str) -> Image:
    """Return a decoded image, of mode ``L`` or ``RGB``.

    Raises
    ------
    ImageError
        If the file cannot be read, or its content cannot be decoded.
    """
    return _naming(source, file, lambda file: decode(source.read(file)))


def _naming(source: Readable, file: str, act: Callable[[str], Result]) -> Result:
    """Return ``act(file)``; any exception becomes an ImageError that names the file."""
    try:
        return act(file)
    except MemoryError:
        problem = f"there is not enough memory to read the image {source.where(file)}"
        raise ImageError(problem, "use fewer --workers, or a smaller image") from None
    # Decoders raise all sorts of exceptions at damaged bytes. Each means that this file is at fault.
    except Exception as error:
        reason = error.reason if isinstance(error, FileError) else getattr(error, "strerror", None) or str(error)
        reason = reason or type(error).__name__
        raise unreadable(source.where(file), reason) from error

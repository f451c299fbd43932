"""Decoded images of a folder, kept as one memory-mapped file of bytes, so that each is decoded once."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL
from filelock import BaseFileLock, FileLock, Timeout

from epgraph.data.examples import ArrayImages, Examples
from epgraph.data.folder import WHOLE, FileImages
from epgraph.data.image import ImageError
from epgraph.data.threads import in_threads
from epgraph.errors import Diagnostic
from epgraph.files import size_text
from epgraph.progress import Progress

if TYPE_CHECKING:
    from epgraph.data.folder import Bytes

VERSION = 1
"""Version of the decoding: another one decodes anew."""


PATIENCE = 1.0
"""Seconds to wait for another process between two looks at how far it is, and before the first one."""


def folder() -> Path:
    """Folder of the files: ``$XDG_CACHE_HOME/epgraph/images``, by default below ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "epgraph" / "images"


def keep(parts: Sequence[Examples], sha256: Callable[[], tuple[str, str]]) -> list[Diagnostic]:
    """Decode the images of files of every part, and keep them; return a warning where they cannot be kept.

    Several processes may ask at once: one decodes, the others wait for its file. A file is written beside its place
    and moved there when it is whole.

    Parameters
    ----------
    sha256
        Returns the hash of the content of all files, and what it covers.

    Raises
    ------
    ImageError
        If images cannot be decoded; it names all of them.
    """
    for part in parts:
        images = part.images
        assert isinstance(images, FileImages), "images in memory are kept already"
        path = folder() / f"{_key(images, part.order, *sha256())}.npy"
        shape = (len(part), *images.shape)
        try:
            array = _opened(path, shape)
            if array is None:
                path.parent.mkdir(parents=True, exist_ok=True)
                with _alone(path, shape):
                    array = _opened(path, shape)
                    if array is None:
                        _write(path, shape, images, part.order)
                        array = np.load(path, mmap_mode="r")
        except OSError as error:
            return [_not_kept(path.parent, error.strerror or str(error))]
        part.images, part.targets, part.order = ArrayImages(array), part.targets[list(part.order)], range(len(part))
    return []


@contextmanager
def _alone(path: Path, shape: tuple[int, ...]) -> Iterator[None]:
    """Hold the lock of a file; while another process holds it, show how far that one is, by the size of its file."""
    lock = FileLock(path.with_suffix(".lock"))
    if not _acquired(lock):
        each = int(np.prod(shape[1:]))
        with Progress("decode the images", shape[0], "images") as shown:
            shown.begin("in another process", slow=True)
            while not _acquired(lock):
                shown.step(max(0, _written(path) // each - shown.done))
    try:
        yield
    finally:
        lock.release()


def _acquired(lock: BaseFileLock) -> bool:
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        return False
    return True


def _written(path: Path) -> int:
    """Bytes in the files that are being written for a path."""
    sizes = []
    for partial in path.parent.glob(f"{path.stem}.[0-9]*"):
        with suppress(OSError):  # it has just been moved to its place
            sizes.append(partial.stat().st_size)
    return max(sizes, default=0)


def _key(images: FileImages, positions: Sequence[int], content: str, covered: str) -> str:
    digest = hashlib.sha256(f"{VERSION} {PIL.__version__} {content} {images.shape}".encode())
    for position in positions:
        file = images.files[position]
        # A hash that leaves bytes out does not see every change.
        stamp = "" if covered == WHOLE else images.source.stamp(file)
        digest.update(f"\0{file}\0{stamp}".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _opened(path: Path, shape: tuple[int, ...]) -> Bytes | None:
    """Return what a file holds; None where there is none, or it is damaged."""
    try:
        array: Bytes = np.load(path, mmap_mode="r")
    except (FileNotFoundError, EOFError, ValueError):
        return None
    return array if array.shape == shape and array.dtype == np.uint8 else None


def _not_kept(where: Path, reason: str) -> Diagnostic:
    return Diagnostic(
        f"decoded images cannot be kept in {where}: {reason}; each is decoded whenever it is used",
        "make room there, or name another folder with XDG_CACHE_HOME",
        severity="warning",
        rule="data",
    )


def _write(path: Path, shape: tuple[int, ...], images: FileImages, positions: Sequence[int]) -> None:
    """Decode into a file that appears when it is whole.

    Written as a stream: a full disk is an error then, and would be a signal under a memory map.
    """
    size, room = int(np.prod(shape)), shutil.disk_usage(path.parent).free
    if size > room:
        raise OSError(f"they need {size_text(size)}, and {size_text(room)} are free")
    for left in path.parent.glob(f"{path.stem}.[0-9]*"):  # by a process that was killed
        left.unlink(missing_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    faults: list[Diagnostic] = []

    def decoded(position: int) -> Bytes | Diagnostic:
        try:
            return images.decoded(position)
        except ImageError as error:
            return error.diagnostics[0]

    try:
        with partial.open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for image in in_threads(decoded, positions, "decode the images"):
                if isinstance(image, Diagnostic):
                    faults.append(image)
                elif not faults:
                    file.write(np.ascontiguousarray(image).data)
            file.flush()
            os.fsync(file.fileno())
        if faults:
            raise ImageError(tuple(faults))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)

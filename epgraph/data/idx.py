"""Read IDX, the file format of MNIST and its variants, compressed or not, without unpacking to disk."""

from __future__ import annotations

import gzip
import zlib
from math import prod
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from epgraph.errors import EpgraphError
from epgraph.files import FileError, open_regular

if TYPE_CHECKING:
    import numpy as np

    Bytes = np.ndarray[Any, np.dtype[np.uint8]]

UNSIGNED_BYTE = 0x08
MAX_BYTES = 2**30
"""Largest array that is read, beyond any set in this format: reading allocates what the header declares."""


def find_idx(folder: Path, stem: str) -> Path | None:
    """Return the path of an IDX file, or of its compressed form if only that exists."""
    return next((p for p in (folder / stem, folder / f"{stem}.gz") if p.is_file()), None)


def read_idx(path: Path, dimensions: int) -> Bytes:
    """Return the unsigned bytes of an IDX file as an array with this number of dimensions.

    Raises
    ------
    EpgraphError
        If the file is incomplete, damaged or in another format.
    """
    import numpy as np

    try:
        with open_regular(path) as raw, _unpacked(raw, path) as file:
            # Two zero bytes, the type, the number of dimensions, then each dimension as a big-endian int32.
            magic = file.read(4)
            if magic != bytes([0, 0, UNSIGNED_BYTE, dimensions]):
                raise ValueError(f"not an IDX file of bytes in {dimensions} dimensions")
            header = file.read(4 * dimensions)
            shape = tuple(int.from_bytes(header[i : i + 4], "big") for i in range(0, len(header), 4))
            if prod(shape) > MAX_BYTES:
                raise ValueError(f"it declares {prod(shape)} bytes")
            content = file.read(prod(shape))
        if len(header) < 4 * dimensions or len(content) < prod(shape):
            raise ValueError("it is cut short")
    except FileError as error:
        raise _unreadable(path, error.reason) from None
    # gzip reports damage by any of the first three types.
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise _unreadable(path, str(error)) from error
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def read_labeled(folder: Path, part: str, classes: int) -> tuple[Bytes, Bytes]:
    """Return images (N, H, W) and labels (N,) of the part ``train`` or ``t10k``; both files must exist."""
    images_at = find_idx(folder, f"{part}-images-idx3-ubyte")
    labels_at = find_idx(folder, f"{part}-labels-idx1-ubyte")
    assert images_at is not None, "the caller has looked"
    assert labels_at is not None, "the caller has looked"
    images, labels = read_idx(images_at, 3), read_idx(labels_at, 1)
    if len(images) != len(labels):
        raise _unreadable(labels_at, f"it has {len(labels)} labels for {len(images)} images")
    if len(labels) == 0:
        raise _unreadable(labels_at, "it is empty")
    if labels.max() >= classes:
        raise _unreadable(labels_at, f"it has the label {labels.max()}, and there are {classes} classes")
    return images, labels


def _unpacked(file: IO[bytes], path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(file, "rb")) if path.suffix == ".gz" else file


def _unreadable(path: Path, reason: str) -> EpgraphError:
    return EpgraphError(f"{path} cannot be read: {reason}", "remove it, then pass --download or put it there again")

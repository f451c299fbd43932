"""Images and labels of both parts of a data set, before any preparation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epgraph.data.recipes import Recipe
from epgraph.errors import Diagnostic

if TYPE_CHECKING:
    from epgraph.data.examples import Images


@dataclass(frozen=True)
class Pictures:
    """Images of both parts of a data set with their labels (N,) or targets (N, …), before any preparation.

    ``sha256`` returns their hash and a description of what it covers.
    """

    train: tuple[Images, Any]
    test: tuple[Images, Any]
    classes: tuple[str, ...]
    sha256: Callable[[], tuple[str, str]]
    warnings: tuple[Diagnostic, ...] = ()


@dataclass(frozen=True)
class DataSet:
    """A data set with a name: the recipe that turns images into examples, and the function that reads them.

    Attributes
    ----------
    read
        A function of the folder of ``--data-root``, and of whether it may download files into it. It raises
        EpgraphError if files are missing or damaged.
    examples
        Number of training examples and of test examples, for the documentation; None if unknown.
    description
        What it is, and where its recipe is from, for the documentation.
    """

    recipe: Recipe
    read: Callable[[Path, bool], Pictures]
    examples: tuple[int, int] | None = None
    description: str = ""


def array_pictures(
    train: tuple[Any, Sequence[int]], test: tuple[Any, Sequence[int]], classes: Sequence[str]
) -> Pictures:
    """Return pictures in memory.

    Parameters
    ----------
    train, test
        Images, (N, H, W) or (N, H, W, 3), as bytes or as float32 fractions, and their labels.
    classes
        Name of each label.
    """
    import numpy as np

    from epgraph.data.examples import ArrayImages

    def stored(images: Any) -> ArrayImages:
        return ArrayImages(images[:, None] if images.ndim == 3 else np.moveaxis(images, -1, 1))

    sha256 = hashed(*train, *test)
    return Pictures((stored(train[0]), train[1]), (stored(test[0]), test[1]), tuple(classes), sha256)


def hashed(*arrays: Any) -> Callable[[], tuple[str, str]]:
    """Return the function that hashes images and labels in turn, once."""

    @cache
    def sha256() -> tuple[str, str]:
        import numpy as np

        digest = hashlib.sha256()
        for images, labels in zip(arrays[::2], arrays[1::2], strict=True):
            digest.update(f"{images.shape} {images.dtype.str}".encode())
            targets = np.asarray(labels)
            for values in (images, targets if targets.dtype.kind == "f" else targets.astype("<i8")):
                digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest(), "all bytes"

    return sha256

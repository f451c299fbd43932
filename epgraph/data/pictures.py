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
    """Images and labels of both parts of a data set, before any preparation.

    ``sha256`` returns their hash and a description of what it covers.
    """

    train: tuple[Images, Sequence[int]]
    test: tuple[Images, Sequence[int]]
    classes: tuple[str, ...]
    sha256: Callable[[], tuple[str, str]]
    warnings: tuple[Diagnostic, ...] = ()


@dataclass(frozen=True)
class DataSet:
    """A data set with a name: the recipe that turns images into examples, and the function that reads them.

    ``read`` takes the folder of ``--data-root`` and whether it may download files into it. It raises EpgraphError
    if files are missing or damaged.
    """

    recipe: Recipe
    read: Callable[[Path, bool], Pictures]


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

    @cache
    def sha256() -> tuple[str, str]:
        digest = hashlib.sha256()
        for images, labels in (train, test):
            digest.update(f"{images.shape} {images.dtype.str}".encode())
            for values in (images, np.asarray(labels, dtype="<i8")):
                digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest(), "all bytes"

    def stored(images: Any) -> ArrayImages:
        return ArrayImages(images[:, None] if images.ndim == 3 else np.moveaxis(images, -1, 1))

    return Pictures((stored(train[0]), train[1]), (stored(test[0]), test[1]), tuple(classes), sha256)

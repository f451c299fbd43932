"""Data sets by name: the built-in ones, which are found in the files of ``named/``, and those of the user's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from epgraph.arguments import flag, instance, number, several, shown, text, whole_number
from epgraph.augmentation import NO_AUGMENTATION, Augmentation
from epgraph.data import named
from epgraph.data.pictures import DataSet, Pictures, array_pictures
from epgraph.data.recipes import Recipe, Shape
from epgraph.discovery import entries_by_name
from epgraph.errors import EpgraphError

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")

DATA_SETS: dict[str, DataSet] = dict(
    sorted(entries_by_name(named.__name__, "DATA_SETS").items(), key=lambda entry: entry[1].recipe.shape)
)
"""Every data set with a name: the built-in ones first, from the smallest images to the largest."""

_BUILT_IN = frozenset(DATA_SETS)


def register_dataset(
    name: str,
    read: Callable[[Path, bool], Any],
    *,
    shape: Shape,
    classes: int | Sequence[str],
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    augmentation: Augmentation = NO_AUGMENTATION,
    bytes: bool = True,
) -> None:
    """Let ``--data name`` stand for a data set of your own. A name registered before is replaced.

    Parameters
    ----------
    read
        Function of the data root and of whether it may download. It returns ``(x, y), (x_test, y_test)``: NumPy
        arrays of images, (N, H, W) or (N, H, W, 3), and of whole-number labels, (N,).
    shape
        (C, H, W) of an image.
    classes
        Their number, or their names.
    mean, std
        Mean and standard deviation of pixels in [0, 1], one per channel; without them pixels are not normalized.
    augmentation
        Random changes of the training images, used where the network's file says ``augment: published``.
    bytes
        Whether pixels are stored as bytes (uint8), or else as fractions (float32).

    Raises
    ------
    EpgraphError
        If the name is built in or illegal, or an argument is invalid. Later, when the data set is loaded: if ``read``
        fails or returns something else.
    """
    name = text("the name to register", name, "e.g. 'birds'")
    if not _NAME.fullmatch(name):
        hint = "a name is a letter followed by at most 63 letters, digits, '_' or '-'"
        raise EpgraphError(f"data set '{name[:64]}' cannot be registered: it is not a name", hint, "plugin")
    if name in _BUILT_IN:
        raise EpgraphError(f"data set '{name}' cannot be registered: it is built in", "choose another name", "plugin")
    if not callable(read):
        raise EpgraphError(
            f"data set '{name}' cannot be registered: expected a function, found {shown(read)}", "", "plugin"
        )
    sizes = tuple(whole_number("a size of the shape", size, 1) for size in several("shape", shape))
    if len(sizes) != 3 or sizes[0] not in (1, 3):
        raise EpgraphError(f"shape must be (1, H, W) or (3, H, W), found {sizes}", "", "plugin")
    if isinstance(classes, int):
        names = tuple(map(str, range(whole_number("classes", classes, 1))))
    else:
        names = tuple(text("the name of a class", one) for one in several("classes", classes))
    means, deviations = (
        tuple(number(f"an entry of {what}", value) for value in several(what, values))
        for what, values in (("mean", mean), ("std", std))
    )
    if {len(means), len(deviations)} not in ({0}, {sizes[0]}) or not all(value > 0 for value in deviations):
        raise EpgraphError(f"mean and std need one number a channel ({sizes[0]}), and those of std are positive")
    instance("augmentation", augmentation, Augmentation)

    recipe = Recipe(sizes, len(names), means, deviations, augmentation, bytes=flag("bytes", bytes))
    DATA_SETS[name] = DataSet(recipe, partial(_read, name, recipe, names, read))


def _read(
    name: str,
    recipe: Recipe,
    classes: Sequence[str],
    read: Callable[[Path, bool], Any],
    root: Path,
    download: bool,
) -> Pictures:
    """Call the user's function, and check that its result has the registered shape, type and labels."""
    import numpy as np

    try:
        train, test = ((np.asarray(images), np.asarray(labels)) for images, labels in read(root, download))
    except EpgraphError:
        raise
    except Exception as error:  # it is the user's own code
        raise EpgraphError(
            f"data set '{name}' cannot be read: {type(error).__name__}: {error}", "", "plugin"
        ) from error
    channels, *sides = recipe.shape
    stored = (*sides, 3) if channels == 3 else tuple(sides)
    dtype = "uint8" if recipe.bytes else "float32"
    for images, labels in (train, test):
        if images.shape[1:] != stored or images.dtype != dtype:
            raise EpgraphError(
                f"data set '{name}' has for images {shown(images)}",
                f"its images should be of shape (N, {', '.join(map(str, stored))}) and {dtype}",
                "plugin",
            )
        whole = labels.ndim == 1 and labels.dtype.kind in "iu" and len(labels) == len(images) > 0
        if not (whole and labels.min() >= 0 and labels.max() < len(classes)):
            message = f"data set '{name}' should have a label from 0 to {len(classes) - 1} for each of its images"
            raise EpgraphError(message, "labels are whole numbers, (N,)", "plugin")
    return array_pictures((train[0], train[1].tolist()), (test[0], test[1].tolist()), classes)

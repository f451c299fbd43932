"""From the name of a data set to training and test examples that fit a network."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from epgraph.arguments import flag, path, several, text, whole_number
from epgraph.data.folder import FileImages, open_folder
from epgraph.data.published import Pictures, read_published
from epgraph.data.recipes import RECIPES, Recipe, Shape, folder_recipe, make_transform, misfits
from epgraph.errors import Diagnostic, EpgraphError, nearest

if TYPE_CHECKING:
    from epgraph.data.examples import Examples

FOLDER = "folder:"
DATA_SETS = (*RECIPES, FOLDER + "PATH")
"""What may be given as the name of a data set."""


@dataclass(frozen=True)
class Data:
    """Training and test examples, each a pair of a float32 tensor of ``shape`` and an integer label."""

    name: str
    train: Examples
    test: Examples
    classes: tuple[str, ...]
    shape: Shape


def load_data(
    name: str,
    *,
    shape: Shape,
    classes: int,
    root: str | os.PathLike[str] = "data",
    download: bool = False,
    augment: bool = True,
    limit: int | None = None,
) -> Data:
    """Load a data set for a network, prepared and augmented as in the published results.

    Augmentation draws from torch's global generator only, so a seeded ``DataLoader`` repeats itself.

    Parameters
    ----------
    name
        One of ``DATA_SETS``: ``digits``, ``mnist``, ``fashion-mnist``, ``cifar10``, ``cifar100``, or
        ``folder:PATH`` for a directory or zip archive with ``train/<class>/`` and ``test/<class>/``.
    shape
        Shape of the network's input, (C, H, W); or (N,) with the same number of values, for flat examples.
        The images of a folder are converted and resized to it; where it is flat, to the size of the first.
    classes
        Number of the network's outputs.
    root
        Where the files are, in torchvision's layout. Only a download writes there.
    augment
        Whether training examples are augmented; test examples never are.
    limit
        Use this many training examples and at most as many test examples, a fixed choice with even classes.

    Raises
    ------
    EpgraphError
        When the name is unknown, the data set does not fit the network, or its files are missing or damaged.
        An image of a folder is decoded, and so found to be damaged, when it is first used.
    """
    name = text("name", name, f"one of: {', '.join(DATA_SETS)}")
    shape = tuple(whole_number("a size of the shape", size, 1) for size in several("shape", shape))
    classes = whole_number("classes", classes, 1)
    root, download = path("root", root).expanduser(), flag("download", download)
    limit = None if limit is None else whole_number("limit", limit, 1)
    if name.startswith(FOLDER):
        recipe, pictures = _folder(name, shape, classes)
    elif name in RECIPES:
        recipe = RECIPES[name]
        if problems := misfits(name, recipe, shape, classes):
            raise EpgraphError(problems)
        pictures = read_published(name, root, download=download)
    else:
        hint = f"write {FOLDER}{name}" if os.path.exists(name) else nearest(name.lower(), DATA_SETS)
        raise EpgraphError(f"there is no data set '{name[:200]}'", hint)

    from epgraph.data.examples import Examples

    return Data(
        name,
        Examples(*pictures.train, make_transform(recipe, shape, augment=augment), limit),
        Examples(*pictures.test, make_transform(recipe, shape, augment=False), limit),
        pictures.classes,
        shape,
    )


def _folder(name: str, shape: Shape, classes: int) -> tuple[Recipe, Pictures]:
    where = name.removeprefix(FOLDER)
    if not where:
        raise EpgraphError(f"'{FOLDER}' lacks a path", f"write {FOLDER}PATH, a directory or a .zip")
    folder = open_folder(Path(where).expanduser())
    if len(shape) == 1:
        image = folder.first_shape()
    elif len(shape) == 3 and shape[0] in (1, 3):
        image = shape
    else:
        channels = 1 if len(shape) == 2 else 3
        raise EpgraphError(
            Diagnostic(
                f"{name} has examples of shape [1, H, W] (grey) or [3, H, W] (RGB), "
                f"but the network's input is {list(shape)}",
                f"write input: {{shape: {[channels, *shape[-2:]]}}}",
                at=("input", "shape"),
            )
        )
    recipe = folder_recipe(image, len(folder.classes))
    if problems := misfits(name, recipe, shape, classes):
        raise EpgraphError(problems)
    train, test = ((FileImages(folder.source, files, image), labels) for files, labels in (folder.train, folder.test))
    return recipe, Pictures(train, test, folder.classes)

"""Name of a data set → training and test examples that fit a network."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epgraph.arguments import flag, path, several, text, whole_number
from epgraph.augmentation import NO_AUGMENTATION, Augmentation
from epgraph.data.folder import FileImages, open_folder
from epgraph.data.pictures import Pictures
from epgraph.data.recipes import (
    Recipe,
    Shape,
    cannot_augment,
    folder_recipe,
    image_shape,
    make_transform,
    misfits,
)
from epgraph.data.registry import DATA_SETS
from epgraph.errors import Diagnostic, EpgraphError, listed, nearest, visible

if TYPE_CHECKING:
    from epgraph.data.examples import Examples

FOLDER = "folder:"


def data_set_names() -> tuple[str, ...]:
    """Return the possible names of a data set."""
    return (*DATA_SETS, FOLDER + "PATH")


@dataclass(frozen=True)
class Data:
    """Training and test examples, each a pair of a float32 tensor of ``shape`` and an integer label.

    Attributes
    ----------
    classes
        Names of the classes; a label is a position in them.
    recipe
        Preparation of an image, apart from augmentation; None if unknown.
    augmentation
        Random changes of the training examples.
    limit
        Requested maximum of examples of each part.
    identify
        Returns a hash of the stored images and labels, and a description of what it covers; None if unknown.
    warnings
        Warnings about the data.
    """

    name: str
    train: Examples
    test: Examples
    classes: tuple[str, ...]
    shape: Shape
    recipe: Recipe | None = None
    augmentation: Augmentation = NO_AUGMENTATION
    limit: int | None = None
    identify: Callable[[], tuple[str, str]] | None = None
    warnings: tuple[Diagnostic, ...] = ()

    @property
    def pad(self) -> int:
        """Zeros on each side of an image."""
        recipe = self.recipe
        return 0 if recipe is None or image_shape(recipe, self.shape) == recipe.shape else recipe.pad

    def facts(self) -> dict[str, Any]:
        """Describe the examples and their preparation, as plain values for JSON.

        ``sha256`` identifies the stored images and labels of both parts, whatever the limit, the shape and the
        augmentation; ``sha256_of`` describes what it covers. An example is (pixel − ``mean``) / ``std``, with pixels
        from 0 to 1 and ``pad`` zeros on each side. Unknown values are None. This reads all stored files.

        Raises
        ------
        ImageError
            If a file of a folder cannot be read.
        """
        digest, what = self.identify() if self.identify else (None, None)
        mean, std = self.recipe.normalization() if self.recipe else (None, None)
        return {
            "name": _unicode(self.name),
            "sha256": digest,
            "sha256_of": what,
            "train": len(self.train),
            "test": len(self.test),
            "limit": self.limit,
            "shape": list(self.shape),
            "classes": [_unicode(name) for name in self.classes],
            "mean": mean,
            "std": std,
            "pad": self.pad,
            "augment": self.augmentation.facts(),
        }

    def sentence(self) -> str:
        """Describe the examples and their preparation in one line for a person."""
        limit = f" (limit {self.limit:,})" if self.limit is not None else ""
        classes = f"{len(self.classes)} classes ({listed(self.classes)})" if len(self.classes) > 1 else "1 class"
        parts = [
            f"{self.name}: {len(self.train):,} training and {len(self.test):,} test examples{limit} "
            f"of shape {list(self.shape)}, {classes}"
        ]
        if self.recipe is not None:
            if self.name.startswith(FOLDER):
                channels, height, width = self.recipe.shape
                parts.append(f"images as {height}×{width} {'grey' if channels == 1 else 'RGB'}")
            if self.pad:
                parts.append(f"{self.pad} zeros on each side")
            mean, std = self.recipe.normalization()
            plain = not self.recipe.mean
            parts.append("pixels from 0 to 1" if plain else f"mean {_numbers(mean)}, deviation {_numbers(std)}")
        augment = ", ".join(f"{key} {value:g}" for key, value in self.augmentation.facts().items())
        parts.append(f"augmented by {augment}" if augment else "not augmented")
        return visible("; ".join(parts))


def load_data(
    name: str,
    *,
    shape: Shape,
    classes: int,
    root: str | os.PathLike[str] = "data",
    download: bool = False,
    augment: Augmentation | bool = True,
    limit: int | None = None,
    check: bool = True,
) -> Data:
    """Load a data set for a network, prepared as in the published results (docs/data.md).

    Augmentation uses torch's global generator only, so a seeded ``DataLoader`` is reproducible.

    Parameters
    ----------
    name
        ``digits``, ``mnist``, ``fashion-mnist``, ``cifar10``, ``cifar100``, a registered name, or
        ``folder:PATH`` for a directory or zip archive with ``train/<class>/`` and ``test/<class>/``.
    shape
        Shape of the network's input, (C, H, W); or (N,) with the same number of values, for flat examples.
        Images of a folder are converted and resized to it, or to the size of the first one if it is flat.
    classes
        Number of the network's outputs.
    root
        Folder of the files, in torchvision's layout. Only a download writes there.
    augment
        True: the augmentation published for the data set (none for a folder). False: none. Or an ``Augmentation``.
        Test examples are never augmented.
    limit
        Maximum of training examples and of test examples: a fixed choice with even classes.
    check
        Whether to decode every test image of a folder once, to report damaged ones before the first epoch.

    Raises
    ------
    EpgraphError
        If the name is unknown, the data set does not fit the network or the augmentation, or files are missing or
        damaged. A training image of a folder is first decoded when it is first used.
    """
    name = text("name", name, f"one of: {', '.join(data_set_names())}")
    shape = tuple(whole_number("a size of the shape", size, 1) for size in several("shape", shape))
    classes = whole_number("classes", classes, 1)
    root, download = path("root", root).expanduser(), flag("download", download)
    limit = None if limit is None else whole_number("limit", limit, 1)
    if name.startswith(FOLDER):
        recipe, pictures = _folder(name, shape, classes)
    elif name in DATA_SETS:
        recipe = DATA_SETS[name].recipe
        if problems := misfits(name, recipe, shape, classes):
            raise EpgraphError(problems)
        pictures = DATA_SETS[name].read(root, download)
    else:
        hint = f"write {FOLDER}{name}" if os.path.exists(name) else nearest(name.lower(), data_set_names())
        raise EpgraphError(f"there is no data set '{name[:200]}'", hint)

    if isinstance(augment, bool):
        augment = recipe.augmentation if augment else NO_AUGMENTATION
    if problems := cannot_augment(name, recipe, augment):
        raise EpgraphError(problems)

    from epgraph.data.examples import Examples

    train = Examples(*pictures.train, make_transform(recipe, shape, augment), limit)
    test = Examples(*pictures.test, make_transform(recipe, shape, NO_AUGMENTATION), limit)
    if check and isinstance(test.images, FileImages):
        test.images.check(test.order)
    return Data(name, train, test, pictures.classes, shape, recipe, augment, limit, pictures.sha256, pictures.warnings)


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
    return recipe, Pictures(train, test, folder.classes, folder.sha256, folder.warnings)


def _numbers(values: Sequence[float]) -> str:
    different = values if len(set(values)) > 1 else values[:1]
    return "/".join(f"{value:.4g}" for value in different)


def _unicode(text: str) -> str:
    """Write bytes of a file name that are not UTF-8 as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")

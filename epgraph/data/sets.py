"""Name of a data set → training and test examples that fit a network."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epgraph.arguments import flag, number, path, several, text, whole_number
from epgraph.augmentation import NO_AUGMENTATION, Augmentation
from epgraph.data.folder import FileImages, open_folder
from epgraph.data.pictures import DataSet, Pictures
from epgraph.data.recipes import (
    Recipe,
    Shape,
    cannot_augment,
    folder_recipe,
    image_shape,
    misfits,
    normalized,
)
from epgraph.data.registry import DATA_SETS
from epgraph.data.tensors import open_tensors
from epgraph.errors import Diagnostic, EpgraphError, listed, nearest, visible

if TYPE_CHECKING:
    from epgraph.data.examples import Examples
    from epgraph.data.prepare import Preparation

FOLDER = "folder:"
TENSORS = "tensors:"
_IN_FILES = {"folder": "folder:PATH, a directory or a .zip", "tensors": "tensors:PATH, a .npz or a .pt"}
"""Prefix of a name that has a path in it, and what is written."""


def data_set_names() -> tuple[str, ...]:
    """Return the possible names of a data set."""
    return (*DATA_SETS, FOLDER + "PATH", TENSORS + "PATH")


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
    validation
        Validation examples, a part of the training examples that chooses the best epoch; None where the test examples
        choose it.
    seed
        Seed of the choice of these.
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
    validation: Examples | None = None
    seed: int = 0

    @property
    def pad(self) -> int:
        """Zeros on each side of an image."""
        recipe = self.recipe
        return 0 if recipe is None or image_shape(recipe, self.shape) == recipe.shape else recipe.pad

    def facts(self) -> dict[str, Any]:
        """Describe the examples and their preparation, as plain values for JSON.

        ``sha256`` identifies the stored images and labels of both parts, whatever the limit, the shape and the
        augmentation; ``sha256_of`` describes what it covers. An example is (pixel − ``mean``) / ``std``, with pixels
        from 0 to 1 and ``pad`` zeros on each side. ``stored`` is the shape before, and ``bytes`` whether pixels are
        bytes. ``largest_class`` is the share of the most frequent class among the test examples. Unknown values are
        None. This reads all stored files.

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
            **({} if self.validation is None else {"validation": len(self.validation), "seed": self.seed}),
            "limit": self.limit,
            "shape": list(self.shape),
            "classes": [_unicode(name) for name in self.classes],
            "largest_class": self._largest_class(),
            "mean": mean,
            "std": std,
            "pad": self.pad,
            "stored": None if self.recipe is None else list(self.recipe.shape),
            "bytes": None if self.recipe is None else self.recipe.bytes,
            "augment": self.augmentation.facts(),
        }

    def _largest_class(self) -> float | None:
        order = getattr(self.test, "order", None)
        if not self.classes or not order:
            return None
        counts = Counter(self.test.targets[list(order)].tolist())
        return max(counts.values()) / counts.total()

    def sentence(self) -> str:
        """Describe the examples and their preparation in one line for a person."""
        limit = f" (limit {self.limit:,})" if self.limit is not None else ""
        held = f", {len(self.validation):,} validation" if self.validation is not None else ""
        classes = f"{len(self.classes)} classes ({listed(self.classes)})" if len(self.classes) > 1 else "1 class"
        if not self.classes:
            classes = "with targets"
        parts = [
            f"{self.name}: {len(self.train):,} training{held} and {len(self.test):,} test examples{limit} "
            f"of shape {list(self.shape)}, {classes}"
        ]
        if self.recipe is not None:
            if self.name.startswith(FOLDER):
                channels, height, width = self.recipe.shape
                parts.append(f"images as {height}×{width} {'gray' if channels == 1 else 'RGB'}")
            if self.pad:
                parts.append(f"{self.pad} zeros on each side")
            mean, std = self.recipe.normalization()
            plain = not self.recipe.mean
            unchanged = self.name.startswith(TENSORS) and not self.recipe.bytes
            as_read = "inputs as they are" if unchanged else "pixels from 0 to 1"
            parts.append(as_read if plain else f"mean {_numbers(mean)}, deviation {_numbers(std)}")
        augment = ", ".join(f"{key} {value:g}" for key, value in self.augmentation.facts().items())
        parts.append(f"augmented by {augment}" if augment else "not augmented")
        return visible("; ".join(parts))


def load_data(
    name: str,
    *,
    shape: Shape,
    classes: int | None = None,
    targets: Shape | None = None,
    root: str | os.PathLike[str] = "data",
    download: bool = False,
    augment: Augmentation | bool = True,
    normalize: tuple[Sequence[float], Sequence[float]] | bool = True,
    limit: int | None = None,
    validation: float | None = None,
    seed: int = 0,
    check: bool = True,
) -> Data:
    """Load a data set for a network, prepared as in the published results (docs/data.md).

    What a single example takes at random comes from torch's global generator, so a seeded ``DataLoader`` is
    reproducible.

    Parameters
    ----------
    name
        A name of ``DATA_SETS`` such as ``cifar10``, ``tensors:PATH`` for a file of arrays, or ``folder:PATH`` for a
        directory or zip archive with ``train/<class>/`` and ``test/<class>/``.
    shape
        Shape of the network's input, (C, H, W); or (N,) with the same number of values, for flat examples.
        Images of a folder are converted and resized to it, or to the size of the first one if it is flat.
    classes, targets
        Number of the network's outputs, for labels; or their shape, for other targets.
    root
        Folder of the files, in torchvision's layout. Only a download writes there.
    augment
        True: the augmentation published for the data set (none for a folder). False: none. Or an ``Augmentation``.
        Test examples are never augmented.
    normalize
        True: the mean and deviation published for the data set. False: none. Or both, a number for every channel.
    limit
        Maximum of examples of each part: a fixed choice with even classes.
    validation
        Training examples to take as validation examples, as a fraction or a whole number; None: none.
    seed
        Seed of the choice of these.
    check
        Whether to decode every image of a folder before the first epoch, and keep them all (docs/data.md); else each
        is decoded when it is used.

    Raises
    ------
    EpgraphError
        If the name is unknown, the data set does not fit the network, the augmentation or the normalization, too many
        examples are held out, or files are missing or damaged.
    """
    name = text("name", name, f"one of: {', '.join(data_set_names())}")
    shape = tuple(whole_number("a size of the shape", size, 1) for size in several("shape", shape))
    output: int | Shape
    if targets is None:
        output = whole_number("classes", classes, 1)
    else:
        output = tuple(whole_number("a size of the targets", size, 1) for size in several("targets", targets))
    root, download = path("root", root).expanduser(), flag("download", download)
    limit = None if limit is None else whole_number("limit", limit, 1)
    validation = None if validation is None else number("validation", validation, positive=True)
    if validation is not None and validation > 1 and not validation.is_integer():
        message = f"validation expects a fraction between 0 and 1, or a number of examples, found {validation:g}"
        raise EpgraphError(message, "e.g. 0.1, or 5000", "out-of-range")
    seed = whole_number("seed", seed, 0, 2**32 - 1)
    from epgraph.data.prepare import Preparation

    recipe, pictures = _in_files(name, shape, output) if in_files(name) else (data_named(name).recipe, None)
    recipe, augment, problems = adapted(name, recipe, shape, output, augment, normalize)
    if problems:
        raise EpgraphError(problems)
    if pictures is None:
        pictures = data_named(name).read(root, download)
    train, held, test = _parts(name, pictures, Preparation(recipe, shape, augment), limit, validation, seed)
    warnings = list(pictures.warnings)
    if check and isinstance(test.images, FileImages):
        from epgraph.data.cache import keep

        warnings += keep([part for part in (train, held, test) if part is not None], pictures.sha256)
        if isinstance(test.images, FileImages):
            test.images.check(test.order)
    rest = (pictures.classes, shape, recipe, augment, limit, pictures.sha256, tuple(warnings), held, seed)
    return Data(name, train, test, *rest)


def _parts(
    name: str, pictures: Pictures, preparation: Preparation, limit: int | None, validation: float | None, seed: int
) -> tuple[Examples, Examples | None, Examples]:
    """Return the training, validation and test examples."""
    from epgraph.data.examples import Examples, chosen, held_out

    plain = replace(preparation, augmentation=NO_AUGMENTATION)
    labels = pictures.train[1]
    rest, out = None, None
    if validation is not None:
        rest, out = held_out(labels, _count(name, validation, len(labels)), seed)
    return (
        Examples(*pictures.train, preparation, chosen(labels, limit, rest)),
        None if out is None else Examples(*pictures.train, plain, chosen(labels, limit, out)),
        Examples(*pictures.test, plain, chosen(pictures.test[1], limit)),
    )


def _count(name: str, validation: float, examples: int) -> int:
    """Return the number of validation examples, of a fraction or a number."""
    count = round(validation * examples) if validation < 1 else int(validation)
    if not 0 < count < examples:
        raise EpgraphError(
            Diagnostic(
                f"{count:,} of the {examples:,} training examples of {name} cannot be validation examples",
                "take some, and leave some to train on",
                ("data", "validation"),
                rule="data",
            )
        )
    return count


def in_files(name: str) -> bool:
    """Whether a name has the path of the data in it, so that nothing is known before the files are read."""
    return name.partition(":")[0] in _IN_FILES and ":" in name


def data_named(name: str) -> DataSet:
    """Return the data set with a name.

    Raises
    ------
    EpgraphError
        If there is no such data set.
    """
    if name not in DATA_SETS:
        hint = f"write {FOLDER}{name}" if os.path.exists(name) else nearest(name.lower(), data_set_names())
        raise EpgraphError(f"there is no data set '{name[:200]}'", hint, "data")
    return DATA_SETS[name]


def adapted(
    name: str,
    recipe: Recipe,
    shape: Shape,
    output: int | Shape,
    augment: Augmentation | bool,
    normalize: tuple[Sequence[float], Sequence[float]] | bool,
) -> tuple[Recipe, Augmentation, list[Diagnostic]]:
    """Return the recipe and the augmentation as a network wants them, and the reasons why it cannot have them."""
    problems = misfits(name, recipe, shape, output)
    if isinstance(augment, bool):
        augment = recipe.augmentation if augment else NO_AUGMENTATION
    problems += cannot_augment(name, recipe, augment)
    if normalize is not True:
        mean, std = ((), ()) if normalize is False else map(tuple, normalize)
        recipe, more = normalized(name, recipe, mean, std)
        problems += more
    return recipe, augment, problems


def _in_files(name: str, shape: Shape, output: int | Shape) -> tuple[Recipe, Pictures]:
    """Return the recipe and the pictures of a data set whose name has the path of its files."""
    prefix, _, where = name.partition(":")
    if not where:
        raise EpgraphError(f"'{prefix}:' lacks a path", f"write {_IN_FILES[prefix]}")
    path = Path(where).expanduser()
    return _folder(name, path, shape, output) if prefix == "folder" else open_tensors(path, shape, output)


def _folder(name: str, where: Path, shape: Shape, output: int | Shape) -> tuple[Recipe, Pictures]:
    folder = open_folder(where)
    if len(shape) == 1:
        image = folder.first_shape()
    elif len(shape) == 3 and shape[0] in (1, 3):
        image = shape
    else:
        channels = 1 if len(shape) == 2 else 3
        raise EpgraphError(
            Diagnostic(
                f"{name} has examples of shape [1, H, W] (gray) or [3, H, W] (RGB), "
                f"but the network's input is {list(shape)}",
                f"write input: {{shape: {[channels, *shape[-2:]]}}}",
                at=("input", "shape"),
            )
        )
    recipe = folder_recipe(image, len(folder.classes))
    if problems := misfits(name, recipe, shape, output):
        raise EpgraphError(problems)
    train, test = ((FileImages(folder.source, files, image), labels) for files, labels in (folder.train, folder.test))
    return recipe, Pictures(train, test, folder.classes, cache(folder.sha256), folder.warnings)


def _numbers(values: Sequence[float]) -> str:
    different = values if len(set(values)) > 1 else values[:1]
    return "/".join(f"{value:.4g}" for value in different)


def _unicode(text: str) -> str:
    """Write bytes of a file name that are not UTF-8 as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")

"""The preparation of each data set: geometry, normalization, published augmentation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from epgraph.augmentation import NO_AUGMENTATION, Augmentation
from epgraph.errors import Diagnostic

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Recipe:
    """Preparation of a data set: how an image becomes an example.

    Attributes
    ----------
    shape
        (C, H, W) of the images as stored.
    output
        Number of classes; or the shape of targets that are no labels.
    mean, std
        Per channel, of pixels in [0, 1]; empty for no normalization.
    augmentation
        Published augmentation of the training images. It may crop before it flips: the distribution is the same.
    pad
        Zeros on each side of the image, added where the network's input is that much larger.
    bytes
        Whether pixels are stored as bytes, or else as fractions.
    """

    shape: Shape
    output: int | Shape
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    augmentation: Augmentation = NO_AUGMENTATION
    pad: int = 0
    bytes: bool = True

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Possible shapes of the examples, the stored one first."""
        if not self.pad:
            return (self.shape,)
        c, h, w = self.shape
        return (self.shape, (c, h + 2 * self.pad, w + 2 * self.pad))

    @property
    def images(self) -> bool:
        """Whether inputs are images, gray or RGB."""
        return len(self.shape) == 3 and self.shape[0] in (1, 3)

    def normalization(self) -> tuple[list[float], list[float]]:
        """Return mean and standard deviation of every channel; 0 and 1 without normalization."""
        channels = self.shape[0] if self.images else 1
        return list(self.mean or (0.0,) * channels), list(self.std or (1.0,) * channels)


def folder_recipe(shape: Shape, classes: int) -> Recipe:
    """Return the recipe of a folder of images that are converted to ``shape``, (C, H, W).

    It has no augmentation: a mirrored image may belong to another class.
    """
    half = (0.5,) * shape[0]
    return Recipe(shape, classes, half, half)


def image_shape(recipe: Recipe, shape: Shape) -> Shape | None:
    """Return the (C, H, W) that fits an input of ``shape``, or None; a flat input fits if its length does."""
    for candidate in recipe.shapes:
        if shape in (candidate, (prod(candidate),)):
            return candidate
    return None


def misfits(name: str, recipe: Recipe, shape: Shape, output: int | Shape) -> list[Diagnostic]:
    """Return the reasons why a network cannot use the data set.

    ``shape`` is that of its input; ``output`` the number of its classes, or the shape of its targets.
    """
    problems = []
    if image_shape(recipe, shape) is None:
        options = [(prod(s),) if len(shape) == 1 else s for s in recipe.shapes]
        problems.append(
            Diagnostic(
                f"{name} has examples of shape {list(recipe.shape)}, but the network's input is {list(shape)}",
                "write input: " + " or ".join(f"{{shape: {list(option)}}}" for option in options),
                at=("input", "shape"),
            )
        )
    if output != recipe.output:
        problems.append(
            Diagnostic(
                f"{name} has {_output(recipe.output)}, but the network's output has {_output(output)}",
                f"write output: {_written(recipe.output)}",
                at=("output", "classes" if isinstance(output, int) else "shape"),
            )
        )
    return problems


def _written(output: int | Shape) -> str:
    return f"{{classes: {output}}}" if isinstance(output, int) else f"{{shape: {list(output)}}}"


def _output(output: int | Shape) -> str:
    return f"{output} classes" if isinstance(output, int) else f"targets of shape {list(output)}"


def cannot_augment(name: str, recipe: Recipe, augmentation: Augmentation) -> list[Diagnostic]:
    """Return the reasons why the images of a data set cannot have this augmentation."""
    problems = []
    if not recipe.images:
        return [_no_images(name, recipe, "augment")] if augmentation.facts() else []
    sides = recipe.shape[1:]
    if augmentation.crop >= min(sides):
        problems.append(
            Diagnostic(
                f"'crop' is {augmentation.crop}, and the images of {name} have {sides[0]}×{sides[1]} pixels: "
                "a crop could show nothing of them",
                f"write at most {min(sides) - 1}; an eighth of the width is common",
                at=("data", "augment", "crop"),
                rule="data",
            )
        )
    if augmentation.randaugment and not recipe.bytes:
        problems.append(
            Diagnostic(
                f"RandAugment works on images of bytes, and the pixels of {name} are fractions",
                "remove randaugment; flip and crop can be used",
                at=("data", "augment", "randaugment"),
                rule="data",
            )
        )
    return problems


def normalized(
    name: str, recipe: Recipe, mean: tuple[float, ...], std: tuple[float, ...]
) -> tuple[Recipe, list[Diagnostic]]:
    """Return the recipe with another mean and deviation, and the reasons why it cannot have them."""
    problems = []
    if mean and not recipe.images:
        problems.append(_no_images(name, recipe, "normalization"))
    elif mean and len(mean) != recipe.shape[0]:
        problems.append(
            Diagnostic(
                f"'mean' has {len(mean)} numbers, and the images of {name} have {recipe.shape[0]} channels",
                "write one number for every channel",
                at=("data", "normalization", "mean"),
                rule="data",
            )
        )
    return replace(recipe, mean=mean, std=std), problems


def _no_images(name: str, recipe: Recipe, key: str) -> Diagnostic:
    message = f"'{key}' is for images, gray or RGB, and {name} has inputs of shape {list(recipe.shape)}"
    return Diagnostic(message, f"write {key}: none", at=("data", key), rule="data")

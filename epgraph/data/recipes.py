"""The preparation of each data set: geometry, normalization, published augmentation. docs/data.md has the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from epgraph.augmentation import NO_AUGMENTATION, Augmentation
from epgraph.errors import Diagnostic

if TYPE_CHECKING:
    from torch import Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Recipe:
    """Preparation of a data set: how an image becomes an example.

    Attributes
    ----------
    shape
        (C, H, W) of the images as stored.
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
    classes: int
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    augmentation: Augmentation = NO_AUGMENTATION
    pad: int = 0
    bytes: bool = True

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Possible shapes of the examples, the stored one first."""
        c, h, w = self.shape
        return (self.shape, (c, h + 2 * self.pad, w + 2 * self.pad)) if self.pad else (self.shape,)

    def normalization(self) -> tuple[list[float], list[float]]:
        """Return mean and standard deviation of every channel; 0 and 1 without normalization."""
        channels = self.shape[0]
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


def misfits(name: str, recipe: Recipe, shape: Shape, classes: int) -> list[Diagnostic]:
    """Return the reasons why a network with this input and output cannot use the data set."""
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
    if recipe.classes != classes:
        problems.append(
            Diagnostic(
                f"{name} has {recipe.classes} classes, but the network's output has {classes}",
                f"write output: {{classes: {recipe.classes}}}",
                at=("output", "classes"),
            )
        )
    return problems


def cannot_augment(name: str, recipe: Recipe, augmentation: Augmentation) -> list[Diagnostic]:
    """Return the reasons why the images of a data set cannot have this augmentation."""
    problems = []
    sides = recipe.shape[1:]
    if augmentation.crop >= min(sides):
        problems.append(
            Diagnostic(
                f"'crop' is {augmentation.crop}, and the images of {name} have {sides[0]}×{sides[1]} pixels: "
                "a crop could show nothing of them",
                f"write at most {min(sides) - 1}; an eighth of the width is common",
                at=("training", "augment", "crop"),
                rule="data",
            )
        )
    if augmentation.randaugment and not recipe.bytes:
        problems.append(
            Diagnostic(
                f"RandAugment works on images of bytes, and the pixels of {name} are fractions",
                "remove randaugment; flip and crop can be used",
                at=("training", "augment", "randaugment"),
                rule="data",
            )
        )
    return problems


def make_transform(recipe: Recipe, shape: Shape, augmentation: Augmentation) -> Callable[[Any], Tensor]:
    """Return the map from an image of ``recipe.shape`` to a float32 example of ``shape``.

    Every random draw comes from torch's global generator. The result can be pickled for worker processes.
    """
    from torch.nn import Flatten
    from torchvision import transforms

    image = image_shape(recipe, shape)
    assert image is not None, "misfits() comes first"
    steps: list[Callable[[Any], Any]] = []
    if image != recipe.shape:
        steps.append(transforms.Pad(recipe.pad))
    if augmentation.flip:
        steps.append(transforms.RandomHorizontalFlip(augmentation.flip))
    if augmentation.randaugment:
        steps.append(transforms.RandAugment(augmentation.randaugment, augmentation.magnitude))
    if augmentation.crop:
        steps.append(transforms.RandomCrop(list(image[1:]), padding=augmentation.crop, padding_mode="edge"))
    # Images of bytes are augmented before ToTensor, which is faster. Fractions can only be augmented as tensors.
    steps.insert(len(steps) if recipe.bytes else 0, transforms.ToTensor())
    if recipe.mean:
        steps.append(transforms.Normalize(recipe.mean, recipe.std))
    if len(shape) == 1:
        steps.append(Flatten(start_dim=0))
    compose: Callable[[Any], Tensor] = transforms.Compose(steps)
    return compose

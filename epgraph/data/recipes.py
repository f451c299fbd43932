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
    """How the images of a data set become examples.

    Attributes
    ----------
    shape
        (C, H, W) of the images as stored.
    mean, std
        Per channel, of pixels in [0, 1]; empty for no normalization.
    augmentation
        What is published for the training images. There a crop may come before a flip; that has the same distribution.
    pad
        Zeros that may be put around the image: where the input is that much larger, they are.
    bytes
        Whether pixels are stored as bytes, and not as fractions.
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
        """Shapes in which the examples can be had, the stored one first."""
        c, h, w = self.shape
        return (self.shape, (c, h + 2 * self.pad, w + 2 * self.pad)) if self.pad else (self.shape,)

    def normalization(self) -> tuple[list[float], list[float]]:
        """Return mean and deviation of every channel: 0 and 1 where pixels stay as they are."""
        channels = self.shape[0]
        return list(self.mean or (0.0,) * channels), list(self.std or (1.0,) * channels)


def folder_recipe(shape: Shape, classes: int) -> Recipe:
    """Return the recipe of a folder of images that are brought to ``shape``, (C, H, W).

    They are not augmented: nobody knows whether a mirrored image of theirs still shows the same.
    """
    half = (0.5,) * shape[0]
    return Recipe(shape, classes, half, half)


def image_shape(recipe: Recipe, shape: Shape) -> Shape | None:
    """Return the (C, H, W) that fits an input of ``shape``, or ``None``; a flat input fits by its length."""
    for candidate in recipe.shapes:
        if shape in (candidate, (prod(candidate),)):
            return candidate
    return None


def misfits(name: str, recipe: Recipe, shape: Shape, classes: int) -> list[Diagnostic]:
    """Return what keeps the data set from being shown to a network with this input and output."""
    found = []
    if image_shape(recipe, shape) is None:
        options = [(prod(s),) if len(shape) == 1 else s for s in recipe.shapes]
        found.append(
            Diagnostic(
                f"{name} has examples of shape {list(recipe.shape)}, but the network's input is {list(shape)}",
                "write input: " + " or ".join(f"{{shape: {list(option)}}}" for option in options),
                at=("input", "shape"),
            )
        )
    if recipe.classes != classes:
        found.append(
            Diagnostic(
                f"{name} has {recipe.classes} classes, but the network's output has {classes}",
                f"write output: {{classes: {recipe.classes}}}",
                at=("output", "classes"),
            )
        )
    return found


def cannot_augment(name: str, recipe: Recipe, augmentation: Augmentation) -> list[Diagnostic]:
    """Return what keeps the images of a data set from being augmented so."""
    found = []
    sides = recipe.shape[1:]
    if augmentation.crop >= min(sides):
        found.append(
            Diagnostic(
                f"'crop' is {augmentation.crop}, and the images of {name} have {sides[0]}×{sides[1]} pixels: "
                "a crop could show nothing of them",
                f"write at most {min(sides) - 1}; an eighth of the width is common",
                at=("training", "augment", "crop"),
                rule="data",
            )
        )
    if augmentation.randaugment and not recipe.bytes:
        found.append(
            Diagnostic(
                f"RandAugment works on images of bytes, and the pixels of {name} are fractions",
                "remove randaugment; flip and crop can be used",
                at=("training", "augment", "randaugment"),
                rule="data",
            )
        )
    return found


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
    # Bytes are changed as they are, which is faster; fractions only as tensors.
    steps.insert(len(steps) if recipe.bytes else 0, transforms.ToTensor())
    if recipe.mean:
        steps.append(transforms.Normalize(recipe.mean, recipe.std))
    if len(shape) == 1:
        steps.append(Flatten(start_dim=0))
    compose: Callable[[Any], Tensor] = transforms.Compose(steps)
    return compose

"""The published preparation of each data set: geometry, augmentation and normalisation (peers.md §2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Literal

from epgraph.errors import Diagnostic

if TYPE_CHECKING:
    from torch import Tensor

Shape = tuple[int, ...]
Step = tuple[Literal["flip", "randaugment", "crop"], float]
"""Probability of a flip, number of RandAugment operations, or pixels of edge padding before a crop."""

RANDAUGMENT_MAGNITUDE = 9


@dataclass(frozen=True)
class Recipe:
    """How the images of a data set become examples.

    Attributes
    ----------
    shape
        (C, H, W) of the images as stored.
    mean, std
        Per channel, of pixels in [0, 1]; empty for no normalisation.
    augmentation
        Steps on training images, in order.
    pad
        Zeros that may be put around the image: where the input is that much larger, they are.
    """

    shape: Shape
    classes: int
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    augmentation: tuple[Step, ...] = ()
    pad: int = 0

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Shapes in which the examples can be had, the stored one first."""
        c, h, w = self.shape
        return (self.shape, (c, h + 2 * self.pad, w + 2 * self.pad)) if self.pad else (self.shape,)


RECIPES: dict[str, Recipe] = {
    "digits": Recipe((1, 8, 8), 10),
    # No flip: a mirrored digit is another sign.
    "mnist": Recipe((1, 28, 28), 10, (0.1307,), (0.3081,), (("crop", 2),), pad=2),
    "fashion-mnist": Recipe((1, 28, 28), 10, (0.2860,), (0.3530,), (("crop", 2), ("flip", 0.5)), pad=2),
    "cifar10": Recipe(
        (3, 32, 32),
        10,
        (0.4914, 0.4822, 0.4465),
        # Three times the deviation of the pixels, as in the official code.
        (3 * 0.2023, 3 * 0.1994, 3 * 0.2010),
        (("flip", 0.5), ("randaugment", 3), ("crop", 4)),
    ),
    "cifar100": Recipe(
        (3, 32, 32),
        100,
        (0.5071, 0.4867, 0.4408),
        (0.2675, 0.2565, 0.2761),
        (("flip", 0.5), ("randaugment", 4), ("crop", 4)),
    ),
}
"""The recipe of every data set that has a name of its own."""


def folder_recipe(shape: Shape, classes: int) -> Recipe:
    """Return the recipe of a folder of images that are brought to ``shape``, (C, H, W)."""
    half = (0.5,) * shape[0]
    return Recipe(shape, classes, half, half, (("flip", 0.5), ("crop", min(shape[1:]) // 8)))


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


def make_transform(recipe: Recipe, shape: Shape, *, augment: bool) -> Callable[[Any], Tensor]:
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
    for kind, amount in recipe.augmentation if augment else ():
        if kind == "flip":
            steps.append(transforms.RandomHorizontalFlip(amount))
        elif kind == "randaugment":
            steps.append(transforms.RandAugment(int(amount), RANDAUGMENT_MAGNITUDE))
        else:
            steps.append(transforms.RandomCrop(list(image[1:]), padding=int(amount), padding_mode="edge"))
    steps.append(transforms.ToTensor())
    if recipe.mean:
        steps.append(transforms.Normalize(recipe.mean, recipe.std))
    if len(shape) == 1:
        steps.append(Flatten(start_dim=0))
    compose: Callable[[Any], Tensor] = transforms.Compose(steps)
    return compose

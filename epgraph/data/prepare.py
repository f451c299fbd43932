"""The preparation of a batch: padding, random changes, normalization, on whatever device the batch is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from epgraph.augmentation import Augmentation
from epgraph.data.recipes import Recipe, Shape, image_shape


@dataclass(frozen=True)
class Preparation:
    """The map from stored images to float32 examples of ``shape``."""

    recipe: Recipe
    shape: Shape
    augmentation: Augmentation

    @property
    def random(self) -> bool:
        """Whether examples change from one epoch to the next."""
        return bool(self.augmentation.facts())

    def draw(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw what changes each of ``count`` examples: whether it is mirrored, the corner of its crop, operations.

        Returns
        -------
        Tensor
            (count, 3 + 2n) for n operations of RandAugment: the mirror, the row and the column of the corner, the
            operations, and the sign of each. Left out, ``generator`` is torch's global one.
        """
        a = self.augmentation
        flip = torch.rand((count, 1), generator=generator) < a.flip
        corner = torch.randint(2 * a.crop + 1, (count, 2), generator=generator)
        parts = [flip.long(), corner]
        if a.randaugment:
            from epgraph.data.randaugment import OPERATIONS

            parts += [torch.randint(n, (count, a.randaugment), generator=generator) for n in (len(OPERATIONS), 2)]
        return torch.cat(parts, 1).short()

    def __call__(self, x: Tensor, draws: Tensor | None = None) -> Tensor:
        """Prepare stored images, (B, C, H, W), or arrays of any shape that are not images.

        ``draws`` are rows of what ``draw`` returns, on the CPU; None leaves random changes out.
        """
        recipe, image = self.recipe, image_shape(self.recipe, self.shape)
        if image != recipe.shape:
            x = pad(x, (recipe.pad,) * 4)
        if draws is not None:
            x = self._changed(x, draws.long())
        # The order of operations of torchvision's ToTensor and Normalize, and so their rounding.
        x = x.float() if recipe.bytes else x.to(torch.float32, copy=True)
        if recipe.bytes:
            x.div_(255)
        if recipe.mean:
            mean, std = (torch.tensor(v, device=x.device).view(-1, 1, 1) for v in (recipe.mean, recipe.std))
            x.sub_(mean).div_(std)
        return x.reshape(len(x), *self.shape)

    def _changed(self, x: Tensor, draws: Tensor) -> Tensor:
        a, n = self.augmentation, self.augmentation.randaugment
        if a.flip:
            mirrored = draws[:, 0].bool().to(x.device).view(-1, 1, 1, 1)
            x = torch.where(mirrored, x.flip(-1), x)
        if n:
            from epgraph.data.randaugment import randaugment

            x = randaugment(x, draws[:, 3 : 3 + n], draws[:, 3 + n :], a.magnitude)
        return _cropped(x, draws[:, 1:3].to(x.device) - a.crop) if a.crop else x


def _cropped(x: Tensor, corner: Tensor) -> Tensor:
    """Move each image by its offset, (B, 2): what comes in repeats the edge."""
    height, width = x.shape[2:]
    rows, columns = (
        (torch.arange(size, device=x.device) + corner[:, axis, None]).clamp(0, size - 1)
        for axis, size in ((0, height), (1, width))
    )
    source = rows[:, :, None] * width + columns[:, None, :]
    flat = x.flatten(2)
    return flat.gather(2, source.flatten(1)[:, None].expand_as(flat)).view_as(x)

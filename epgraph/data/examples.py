"""Images with labels as a torch data set, and the choice of a balanced subset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset


class Images(Protocol):
    """Images by position, each a PIL image or an array that torchvision's ``ToTensor`` takes."""

    def __getitem__(self, index: int, /) -> Any: ...


@dataclass(frozen=True)
class ArrayImages:
    """Images in memory, (N, H, W) or (N, H, W, 3). An item is a PIL image if pixels are bytes, else an array."""

    array: np.ndarray[Any, np.dtype[np.uint8 | np.float32]]

    def __getitem__(self, index: int) -> Any:
        image = self.array[index]
        return Image.fromarray(image) if image.dtype == np.uint8 else image


class Examples(Dataset[tuple[Tensor, int]]):
    """Pairs of a float32 example and its label; ``order`` lists the positions of the images."""

    def __init__(
        self,
        images: Images,
        labels: Sequence[int],
        transform: Callable[[Any], Tensor],
        limit: int | None = None,
    ) -> None:
        self.images = images
        self.labels = labels
        self.transform = transform
        self.order: Sequence[int] = range(len(labels)) if limit is None else balanced(labels, limit)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        # A `for` loop over the data set stops at this line's IndexError.
        position = self.order[index]
        return self.transform(self.images[position]), int(self.labels[position])


def balanced(labels: Sequence[int], limit: int) -> list[int]:
    """Return ``limit`` positions, always the same, with the classes as even as the labels allow.

    The positions are shuffled. The first of every class come first, then the second of every class, and so on. So a
    smaller limit chooses a subset of a larger one.
    """
    # RandomState, unlike Generator and torch, guarantees the same stream in every version.
    shuffled = np.random.RandomState(0).permutation(len(labels)).tolist()
    counts: Counter[int] = Counter()
    turn = {}
    for position in shuffled:
        label = int(labels[position])
        turn[position] = counts[label]
        counts[label] += 1
    return sorted(shuffled, key=turn.__getitem__)[:limit]

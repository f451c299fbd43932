"""Images with labels as a torch data set, and the choice of the examples of each part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from epgraph.data.prepare import Preparation


class Images(Protocol):
    """Images by position, all of one shape."""

    def batch(self, positions: Sequence[int], /) -> Tensor:
        """Return the images at these positions, (B, C, H, W), as they are stored."""


@dataclass(frozen=True)
class ArrayImages:
    """Images in memory or in a memory-mapped file, (N, C, H, W), or arrays (N, …) that are no images."""

    array: np.ndarray[Any, np.dtype[np.uint8 | np.float32]]

    def batch(self, positions: Sequence[int]) -> Tensor:
        """Return the images at these positions."""
        return torch.from_numpy(self.array[positions])


class Examples(Dataset[tuple[Tensor, Any]]):
    """Pairs of a float32 example and its label or target; ``order`` lists the positions of the images."""

    def __init__(self, images: Images, targets: Any, preparation: Preparation, order: Sequence[int]) -> None:
        self.images = images
        self.targets = np.asarray(targets)
        self.preparation = preparation
        self.order = order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        # A `for` loop over the data set stops at this line's IndexError.
        position = self.order[index]
        draws = self.preparation.draw(1) if self.preparation.random else None
        target = self.targets[position]
        label = int(target) if target.ndim == 0 else torch.from_numpy(target)
        return self.preparation(self.images.batch([position]), draws)[0], label

    @property
    def in_memory(self) -> bool:
        """Whether no image has to be decoded."""
        return isinstance(self.images, ArrayImages)

    def stored(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return images as they are stored, and their targets."""
        positions = [self.order[index] for index in indices]
        return self.images.batch(positions), torch.from_numpy(self.targets[positions])


def chosen(targets: Any, limit: int | None, among: Sequence[int] | None = None) -> Sequence[int]:
    """Return the positions of a part: ``among`` some or all, as many as ``limit`` allows, with classes as even."""
    among = range(len(targets)) if among is None else among
    return among if limit is None else balanced(targets, limit, among)


def balanced(targets: Any, limit: int, among: Sequence[int] | None = None) -> list[int]:
    """Return ``limit`` positions, always the same, with the classes as even as the labels allow.

    The positions are shuffled. The first of every class come first, then the second of every class, and so on. So a
    smaller limit chooses a subset of a larger one.
    """
    # RandomState, unlike Generator and torch, guarantees the same stream in every version.
    shuffled = np.random.RandomState(0).permutation(len(targets)).tolist()
    if among is not None and len(among) < len(targets):
        kept = set(among)
        shuffled = [position for position in shuffled if position in kept]
    turn, _ = _turns(targets, shuffled)
    return sorted(shuffled, key=turn.__getitem__)[:limit]


def held_out(targets: Any, count: int, seed: int) -> tuple[list[int], list[int]]:
    """Split positions into training examples and ``count`` validation examples, each class by its share."""
    shuffled = np.random.RandomState(seed).permutation(len(targets)).tolist()
    turn, counts = _turns(targets, shuffled)
    # The middles of the steps of a class from 0 to 1: below any threshold lies the same share of every class.
    share = {p: (turn[p] + 0.5) / counts[_class(targets[p])] for p in shuffled}
    out = sorted(shuffled, key=share.__getitem__)[:count]
    return sorted(set(shuffled) - set(out)), sorted(out)


def _turns(targets: Any, positions: Sequence[int]) -> tuple[dict[int, int], Counter[int]]:
    """Return how many of its class come before each position, and the size of every class."""
    counts: Counter[int] = Counter()
    turn = {}
    for position in positions:
        label = _class(targets[position])
        turn[position] = counts[label]
        counts[label] += 1
    return turn, counts


def _class(target: Any) -> int:
    """Return a label; targets that are no labels are of one class."""
    return int(target) if np.ndim(target) == 0 else 0

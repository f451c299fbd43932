"""Batches of a data set, and the progress bar over them."""

from __future__ import annotations

import os
from collections.abc import Sized
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

Batches = DataLoader[tuple[Tensor, Tensor]]


def batches(
    dataset: Any,
    size: int,
    *,
    device: torch.device,
    workers: int = 0,
    shuffle: torch.Generator | None = None,
) -> Batches:
    """Iterate over a data set in batches, the short last one included; shuffled if a generator is given."""
    return DataLoader(
        dataset,
        batch_size=size,
        shuffle=shuffle is not None,
        generator=shuffle,
        num_workers=workers,
        pin_memory=device.type == "cuda",
    )


def bar(loader: Batches, what: str, show: bool = True) -> tqdm[tuple[Tensor, Tensor]]:
    """Wrap batches in a progress bar, which shows on a terminal only."""
    return tqdm(loader, desc=what, unit="batch", leave=False, disable=None if show else True)


def default_workers(dataset: object) -> int:
    """Processes worth having: none for a small set, else one for every core but one, at most eight."""
    small = len(cast(Sized, dataset)) < 5_000
    return 0 if small else min(8, max(1, (os.cpu_count() or 1) - 1))

"""Batches of a data set: their order and their augmentation are functions of seed and epoch alone."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable, Iterator, Sequence, Sized
from numbers import Number
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from epgraph.arguments import shown, whole_number
from epgraph.data.examples import Examples
from epgraph.errors import Diagnostic, EpgraphError
from epgraph.runs.stop import ignore_signals


class Batches:
    """Batches (x, y) of a data set, the short last one included.

    Those of ``Examples`` are taken as they are stored, and prepared whole on the device. Any other data set gives its
    examples one at a time. Of several processes each has its share of every batch; a share without an example is a
    pair of empty tensors. ``sizes`` are those of the shares.
    """

    def __init__(
        self, dataset: Any, loader: DataLoader[Any], device: torch.device, draws: Tensor | None, sizes: Sequence[int]
    ) -> None:
        self._dataset, self._loader, self._device, self._draws = dataset, loader, device, draws
        self._sizes = sizes

    def __len__(self) -> int:
        return len(self._sizes)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        filled = self._filled()
        for size in self._sizes:
            yield next(filled) if size else (torch.empty(0), torch.empty(0))

    def _filled(self) -> Iterator[tuple[Tensor, Tensor]]:
        if not isinstance(self._dataset, Examples):
            for pair in self._loader:
                if isinstance(pair, Diagnostic):
                    raise EpgraphError(pair)
                yield pair
            return
        for x, y, index in self._loader:
            x = x.to(self._device, non_blocking=True)
            draws = None if self._draws is None else self._draws[index]
            yield self._dataset.preparation(x, draws), y.to(self._device, non_blocking=True)


def batches(
    dataset: Any,
    size: int,
    *,
    device: torch.device,
    workers: int = 0,
    order: Sequence[int] | None = None,
    draw: tuple[int, int] | None = None,
    share: Callable[[int], slice] = slice,
) -> Batches:
    """Iterate over a data set in batches; in ``order`` if one is given.

    Parameters
    ----------
    workers
        Processes that load data. Images in memory need none.
    draw
        Seed and epoch, on which with the example alone depends what is random in it; None: torch's generator draws.
    share
        Which of the examples of a batch are wanted, by their number; left out, all.

    Raises
    ------
    EpgraphError
        If ``size`` is no whole number above 0, or ``workers`` none from 0 on.
    """
    size, workers = whole_number("size", size, 1), whole_number("workers", workers, 0)
    draws = None
    if isinstance(dataset, Examples):
        if dataset.preparation.random:
            # One row for every example of the data set, whichever of them follow.
            seeded = None if draw is None else torch.Generator().manual_seed(mixed(*draw, "augment"))
            draws = dataset.preparation.draw(len(dataset), seeded)
        workers = 0 if dataset.in_memory else workers
    elif draw is not None:
        dataset = Seeded(dataset, *draw)
    stored = isinstance(dataset, Examples)
    order = range(len(dataset)) if order is None else order
    whole = [order[i : i + size] for i in range(0, len(order), size)]
    shares = [list(batch[share(len(batch))]) for batch in whole]
    loader = DataLoader(
        Stored(dataset) if stored else dataset,
        batch_sampler=[indices for indices in shares if indices],
        num_workers=workers,
        collate_fn=_as_it_is if stored else _joined,
        pin_memory=device.type == "cuda",
        worker_init_fn=_start_worker,
        # A generator of its own: making an iterator draws a number, and torch's global one belongs to the training.
        generator=torch.Generator(),
    )
    return Batches(dataset, loader, device, draws, [len(indices) for indices in shares])


class Stored(Dataset[Any]):
    """Batches of examples as they are stored, with their positions."""

    def __init__(self, examples: Examples) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Return images (B, C, H, W), targets (B, …) and positions (B,); torch's loader calls this for a batch."""
        return (*self._examples.stored(indices), torch.tensor(indices))


def _as_it_is(batch: Any) -> Any:
    return batch


def _joined(examples: list[Any]) -> Any:
    """Join the pairs of a batch; return what is wrong where they cannot be: a worker's exception loses its text."""
    try:
        pair = default_collate(examples)
    except Exception:  # torch raises half a dozen types, with texts that depend on where it joins
        pair = [None]
    if all(isinstance(part, Tensor) for part in pair):
        return pair
    kinds = dict.fromkeys(" and ".join(map(_kind, one)) if isinstance(one, tuple) else _kind(one) for one in examples)
    message = f"the examples of a batch cannot be joined: they are {'; '.join(list(kinds)[:2])}"
    return Diagnostic(message, _ALIKE, rule="data")


def _kind(part: object) -> str:
    return "a number" if isinstance(part, Number) else shown(part)


_ALIKE = "give tensors of one shape, and a whole number or a tensor of one shape as label or target"


def shuffled(count: int, seed: int, epoch: int) -> list[int]:
    """Order of the examples in an epoch."""
    generator = torch.Generator().manual_seed(mixed(seed, epoch, "order"))
    order: list[int] = torch.randperm(count, generator=generator).tolist()
    return order


class Seeded(Dataset[tuple[Tensor, int]]):
    """A data set whose random augmentation depends on seed, epoch and example, and not on who loads it when."""

    def __init__(self, dataset: Any, seed: int, epoch: int) -> None:
        self._dataset, self._seed, self._epoch = dataset, seed, epoch

    def __len__(self) -> int:
        return len(cast(Sized, self._dataset))

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        # Of the CPU alone: `torch.manual_seed` would also reset the generator that draws the noise of states on a GPU.
        generator = torch.default_generator
        # Python and NumPy have generators of their own, and many augmentations draw from those.
        before, others = generator.get_state(), (random.getstate(), np.random.get_state())
        seed = mixed(self._seed, self._epoch, str(index))
        try:
            generator.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)
            pair: tuple[Tensor, int] = self._dataset[index]
            return pair
        finally:
            generator.set_state(before)
            random.setstate(others[0])
            np.random.set_state(others[1])


def mixed(seed: int, epoch: int, what: str) -> int:
    """A seed for one purpose in one epoch, (0, 2⁶³)."""
    digest = hashlib.blake2b(f"{seed}/{epoch}/{what}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def fetched(loader: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Iterate over batches; a process that loads data and dies is named.

    Raises
    ------
    EpgraphError
        If such a process was killed.
    """
    try:
        yield from loader
    except RuntimeError as error:
        if "DataLoader worker" not in str(error) or isinstance(error, EpgraphError):
            raise
        raise EpgraphError(
            "a process that loads data was killed, often for want of memory", "use fewer of them: --workers 0"
        ) from None


def default_workers(dataset: object) -> int:
    """Processes worth having: none for images in memory or a small set, else every core but one, at most eight."""
    small = len(cast(Sized, dataset)) < 5_000 or (isinstance(dataset, Examples) and dataset.in_memory)
    return 0 if small else min(8, max(1, (os.cpu_count() or 1) - 1))


def _start_worker(_: int) -> None:
    ignore_signals()

"""Going through many files: with a progress bar where it takes more than a second, and in threads where that helps."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

PATIENCE = 1.0
"""Seconds after which a progress bar shows."""


def progress(items: Iterable[Item], count: int, what: str) -> Iterable[Item]:
    """Return the items again, with a progress bar on a terminal while they are gone through."""
    from tqdm import tqdm

    # Without a standard error stream there is nowhere to show it; None disables it where that is no terminal.
    hidden = True if sys.stderr is None else None
    return tqdm(items, total=count, desc=what, unit="image", delay=PATIENCE, leave=False, disable=hidden)


def in_threads(function: Callable[[Item], Result], items: Sequence[Item], what: str) -> Iterator[Result]:
    """Yield ``function`` of each item, in their order, with a progress bar."""
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        yield from progress(pool.map(function, items), len(items), what)
    finally:
        # After an error or an interrupt nobody waits for the rest.
        pool.shutdown(cancel_futures=True)

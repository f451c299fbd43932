"""Iterate over many files: with a progress bar after a second, and in threads if that helps."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

BAR_DELAY_SECONDS = 1.0
"""Seconds until a progress bar appears."""

PART = 4096
"""Largest number of items that wait for a thread."""


def progress(items: Iterable[Item], count: int, what: str) -> Iterable[Item]:
    """Iterate over the items, with a progress bar on a terminal."""
    from tqdm import tqdm

    # Without a standard error stream the bar must be disabled. None disables it where the stream is no terminal.
    hidden = True if sys.stderr is None else None
    return tqdm(items, total=count, desc=what, unit="image", delay=BAR_DELAY_SECONDS, leave=False, disable=hidden)


def in_threads(function: Callable[[Item], Result], items: Sequence[Item], what: str) -> Iterator[Result]:
    """Yield ``function`` of each item, in their order, with a progress bar."""
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        # Not all at once: each that waits takes memory.
        parts = (items[start : start + PART] for start in range(0, len(items), PART))
        yield from progress((done for part in parts for done in pool.map(function, part)), len(items), what)
    finally:
        # After an error or an interrupt, drop the remaining items.
        pool.shutdown(cancel_futures=True)

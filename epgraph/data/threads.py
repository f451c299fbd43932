"""Iterate over many files in threads, and show how far it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from epgraph.progress import tracked

Item = TypeVar("Item")
Result = TypeVar("Result")

PART = 4096
"""Largest number of items that wait for a thread."""


def in_threads(function: Callable[[Item], Result], items: Sequence[Item], what: str) -> Iterator[Result]:
    """Yield ``function`` of each image, in their order."""
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        # Not all at once: each that waits takes memory.
        parts = (items[start : start + PART] for start in range(0, len(items), PART))
        yield from tracked((done for part in parts for done in pool.map(function, part)), len(items), what, "images")
    finally:
        # After an error or an interrupt, drop the remaining items.
        pool.shutdown(cancel_futures=True)

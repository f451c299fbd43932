"""Functions that go through ``torch.compile``, which takes seconds to minutes at the first call: it is said then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from epgraph.progress import Progress


class Compiled:
    """A function that is compiled when it is first called with tensors of some shapes.

    Parameters
    ----------
    function
        The function; its code belongs to nothing else.
    name
        What it is called in messages.
    place, total
        Its place among the functions that are compiled with it, from 0, and their number.
    """

    def __init__(self, function: Any, name: str, place: int, total: int) -> None:
        # torch.compile counts what it has compiled by code, which like engines share.
        function.__code__ = function.__code__.replace()
        self._function: Callable[..., tuple[Tensor, ...]] = torch.compile(function, dynamic=False)
        self._name, self._place, self._total = name, place, total
        self._seen: set[tuple[torch.Size | None, ...]] = set()

    def __call__(self, *arguments: Any) -> tuple[Tensor, ...]:
        """Call the function; other shapes than before compile it anew, and progress is shown."""
        shapes = tuple(one.shape if isinstance(one, Tensor) else None for one in arguments)
        if shapes in self._seen:
            return self._function(*arguments)
        with Progress("compile the sweeps", self._total, "functions", done=self._place) as shown:
            shown.begin(self._name, slow=True)
            results = self._function(*arguments)
        self._seen.add(shapes)
        return results

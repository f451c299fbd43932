"""A stand-in for CUDA graphs on the CPU: it does captured work again, and checks that memory stays where it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from epgraph.compiler import cuda_graphs as replay

WAITS = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal")
"""Operations that wait for the device."""


@cache
def waits(function: Any) -> bool:
    return any(name in function.name() for name in WAITS)


def _leaves(value: Any) -> Iterator[Any]:
    """What lists, tuples and mappings of arguments hold; torch's own way of finding out takes longer than the work."""
    if isinstance(value, list | tuple):
        for part in value:
            yield from _leaves(part)
    elif isinstance(value, dict):
        yield from _leaves(list(value.values()))
    else:
        yield value


class Watch(TorchDispatchMode):
    """Addresses of the tensors that work takes from outside and writes into, and a ban on waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.outside: list[tuple[int, tuple[int, ...]]] = []
        self._made: set[int] = set()
        self._kept: list[Any] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert not waits(function), function
        given = [leaf for leaf in _leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        before = [leaf.untyped_storage().data_ptr() for leaf in given]
        found = zip(before, given, strict=True)
        self.outside += [(leaf.data_ptr(), leaf.stride()) for memory, leaf in found if memory not in self._made]
        result = function(*args, **(kwargs or {}))
        for leaf in _leaves(result):
            if isinstance(leaf, Tensor) and leaf.untyped_storage().data_ptr() not in before:
                self._made.add(leaf.untyped_storage().data_ptr())
                self._kept.append(leaf)  # so that its address is not given to another
        return result


class FakeGraph:
    """Does the work anew, and checks that it touches the memory that it did at its capture."""

    made = 0
    replayed = 0

    def __init__(self, work: Callable[[], None], beside: replay.Graph | None) -> None:
        FakeGraph.made += 1
        self.work = work
        self.seen = self._watched()

    def _watched(self) -> list[Any]:
        with Watch() as watch:
            self.work()
        return watch.outside

    def replay(self) -> None:
        FakeGraph.replayed += 1
        assert self._watched() == self.seen

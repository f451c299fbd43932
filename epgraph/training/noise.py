"""Noise of states under several processes: drawn for the whole batch, of which each process takes its share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class SharedNoise(TorchFunctionMode):
    """What ``torch.randn`` draws for a share of a batch is that share of what it would draw for all of it.

    The generators of all processes then stay equal, and the noise does not depend on how many there are. Where a share
    is taken in pieces, they draw from a generator of the process's own.

    Parameters
    ----------
    share, examples
        The share of a batch of so many examples.
    seed
        Seed of the generator for pieces; another one for each process and batch.
    """

    def __init__(self, share: slice, examples: int, seed: int) -> None:
        super().__init__()
        self._share, self._examples, self._seed = share, examples, seed
        self._own: torch.Generator | None = None

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is torch.randn and len(args) == 1 and isinstance(args[0], torch.Size):
            return self._drawn(args[0], dict(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _drawn(self, shape: torch.Size, options: dict[str, Any]) -> Tensor:
        copies, rest = divmod(shape[0], self._share.stop - self._share.start)
        if rest or not copies:
            if self._own is None:
                self._own = torch.Generator(options["device"]).manual_seed(self._seed)
            return torch.randn(shape, generator=self._own, **options)
        drawn = torch.randn((copies, self._examples, *shape[1:]), **options)
        return drawn[:, self._share].reshape(shape)

"""What a caller has switched on in torch (autograd, inference mode, autocast) does not reach into the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import torch

from epgraph.errors import EpgraphError


class Placed(Protocol):
    """What runs on a device."""

    @property
    def device(self) -> torch.device:
        """The device."""


P = ParamSpec("P")
Result = TypeVar("Result")
Owner = TypeVar("Owner", bound=Placed)


@contextmanager
def apart(kind: str) -> Iterator[None]:
    """Compute on a kind of device (``cpu``, ``cuda``) with autograd, inference mode and autocast off.

    What is made in inference mode could never be written into again: neither ``.grad`` by an optimizer, nor the memory
    of captured graphs. And an engine has a precision of its own, in which its sums are accumulated in place.
    """
    refuse_meta(kind)
    # In this order: to leave inference mode is to record again.
    with torch.inference_mode(False), torch.no_grad(), torch.autocast(kind, enabled=False):
        yield


def refuse_meta(kind: str) -> None:
    """Raise on torch's meta device, where tensors have shapes alone."""
    if kind == "meta":
        problem = "the engine is on torch's meta device, where nothing is computed"
        raise EpgraphError(problem, "compile it for another device, e.g. 'cpu'")


def unrecorded(method: Callable[Concatenate[Owner, P], Result]) -> Callable[Concatenate[Owner, P], Result]:
    """Let a method of an engine run ``apart``."""

    @wraps(method)
    def run(self: Owner, /, *args: P.args, **kwargs: P.kwargs) -> Result:
        with apart(self.device.type):
            return method(self, *args, **kwargs)

    return run

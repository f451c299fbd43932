"""A running average of the parameters, ``training.ema``, with which the network is evaluated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from epgraph.engine import Engine


class Average:
    """θ̄ ← d θ̄ + (1 − d) θ after every step, from the parameters after the first step on.

    Parameters
    ----------
    decay
        The factor d, ``training.ema``; None keeps no average.

    Attributes
    ----------
    values
        The average by the names of parameters, at least in float32: in 16 bits most of its steps would be rounded away.
    own
        The parameters themselves while the network has the averaged ones.
    """

    def __init__(self, engine: Engine, decay: float | None) -> None:
        self._on = decay is not None
        self._mix = get_ema_multi_avg_fn(decay or 0.0)  # type: ignore[no-untyped-call]
        self._parameters = {n: p for n, p in engine.named_parameters() if p.requires_grad} if self._on else {}
        self.values: dict[str, Tensor] = {}
        self.own: dict[str, Tensor] = {}

    def update(self) -> None:
        """Take in the parameters after a step."""
        if not self._parameters:
            return
        now = {name: wide(parameter.detach()) for name, parameter in self._parameters.items()}
        if not self.values:
            self.values = {name: value.clone() for name, value in now.items()}
            return
        self._mix(list(self.values.values()), list(now.values()), 0)

    def restore(self, values: Mapping[str, Tensor] | None) -> None:
        """Go on from the values of a checkpoint; without any, the average begins with the next step."""
        self.values = {}
        for name, parameter in self._parameters.items() if values else ():
            self.values[name] = wide((values or {}).get(name, parameter).detach()).to(parameter.device, copy=True)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the network have the averaged parameters for a while."""
        self.own = {name: self._parameters[name].detach().clone() for name in self.values}
        self._put(self.values)
        try:
            yield
        finally:
            self._put(self.own)
            self.own = {}

    def apply(self) -> None:
        """Give the network the averaged parameters for good."""
        self._put(self.values)

    def _put(self, values: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in values.items():
                self._parameters[name].copy_(value)


def wide(value: Tensor) -> Tensor:
    """Return a tensor in float32 at least."""
    return value.to(torch.promote_types(value.dtype, torch.float32))

"""Anderson acceleration of sweeps, per example, with a safeguard. Needs torch alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

REGULARISATION = 1e-10
"""Relative size of what is added to the normal equations, which turn singular as the differences become parallel."""

GROWTH = 1.0
"""Where the residual grows by more than this factor from one sweep to the next, history is forgotten."""


class Anderson:
    """Type-II Anderson mixing of a sweep S: the combination of its last results that would cancel their residuals.

    Mixing is done per example. An example whose residual grew forgets its history and takes the plain sweep; so does
    one whose energy the mixed state would raise, because the fixed point that mixing finds need not be a minimum
    (docs/references.md, note 3).

    Parameters
    ----------
    memory
        Number of past sweeps that are mixed.
    energy
        Energy per example, (batch,), of given states; None leaves that check out.
    box
        Brings given states back into the range of their activations, in place.
    """

    def __init__(
        self,
        memory: int,
        energy: Callable[[Sequence[Tensor]], Tensor] | None,
        box: Callable[[Sequence[Tensor]], None],
    ) -> None:
        self.memory = memory
        self.energy = energy
        self.box = box
        self._images: list[Tensor] = []
        self._residuals: list[Tensor] = []
        self._size: Tensor | None = None

    def step(self, before: Sequence[Tensor], after: Sequence[Tensor]) -> None:
        """Replace ``after`` = S(``before``), in place, by the mixed states."""
        image = _flat(after)
        residual = image - _flat(before)
        size = residual.norm(dim=1)
        if self._size is not None:
            grew = (size > GROWTH * self._size)[:, None]
            # A difference of zero takes no part in the mixing.
            self._images = [torch.where(grew, image, old) for old in self._images]
            self._residuals = [torch.where(grew, residual, old) for old in self._residuals]
        self._size = size
        if self._images:
            images = torch.stack([image - old for old in self._images], 2)
            residuals = torch.stack([residual - old for old in self._residuals], 2)
            normal = residuals.transpose(1, 2) @ residuals
            scale = normal.diagonal(dim1=1, dim2=2).sum(1).clamp_min(torch.finfo(image.dtype).tiny)
            normal += (REGULARISATION * scale)[:, None, None] * torch.eye(normal.shape[1]).to(normal)
            right = (residuals.transpose(1, 2) @ residual[:, :, None]).squeeze(2)
            weights = torch.linalg.solve_ex(normal, right)[0]
            mixed = image - (images @ weights[:, :, None]).squeeze(2)
            # Nothing to mix (a part that has not moved yet) leaves a singular system: the plain sweep.
            mixed = torch.where(torch.isfinite(mixed).all(dim=1, keepdim=True), mixed, image)
            self._put(mixed, image, after)
        self._images = [*self._images, image][-self.memory :]
        self._residuals = [*self._residuals, residual][-self.memory :]

    def _put(self, mixed: Tensor, image: Tensor, states: Sequence[Tensor]) -> None:
        plain = None if self.energy is None else self.energy(states)
        _unflatten(mixed, states)
        self.box(states)
        if self.energy is None or plain is None:
            return
        rejected = ~(self.energy(states) <= plain)
        for state, kept in zip(states, _parts(image, states), strict=True):
            state.copy_(torch.where(rejected.view(-1, *(1,) * (state.ndim - 1)), kept, state))


def _flat(states: Sequence[Tensor]) -> Tensor:
    precision = torch.promote_types(states[0].dtype, torch.float32)
    return torch.cat([s.flatten(1).to(precision) for s in states], 1)


def _parts(flat: Tensor, states: Sequence[Tensor]) -> list[Tensor]:
    sizes = [s[0].numel() for s in states]
    return [p.view(s.shape).to(s.dtype) for p, s in zip(torch.split(flat, sizes, 1), states, strict=True)]


def _unflatten(flat: Tensor, states: Sequence[Tensor]) -> None:
    for state, part in zip(states, _parts(flat, states), strict=True):
        state.copy_(part)

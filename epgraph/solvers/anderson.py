"""Anderson acceleration of sweeps, per example, with a safeguard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import Field

from epgraph.solvers.solver import Solver

if TYPE_CHECKING:
    from torch import Tensor

REGULARIZATION = 1e-10
"""Relative regularization of the normal equations, which become singular as the differences become parallel."""

GROWTH = 1.0
"""Largest growth of the residual from one sweep to the next; beyond it, history is dropped."""


class History(NamedTuple):
    """Results S(s) and residuals S(s) − s of past sweeps, (rows, units) each; norm of the last residual, (rows,)."""

    images: list[Tensor]
    residuals: list[Tensor]
    size: Tensor | None


class Anderson(Solver):
    """Type-II Anderson mixing: the combination of the last sweeps whose residuals cancel best.

    Each example is mixed separately. If the residual of an example grows, its history is dropped and it takes the plain
    sweep. It also takes the plain sweep if mixing would raise its energy, because the fixed point of mixing need not be
    a minimum (docs/references.md, note 3).
    """

    name = "anderson"

    memory: Annotated[int, Field(ge=1, le=50)] = Field(
        default=5, description="Number of past sweeps that are mixed.", examples=[5]
    )

    @property
    def title(self) -> str:
        """Name of the method."""
        return "Anderson acceleration"

    def init(self) -> History:
        """Return an empty history."""
        return History([], [], None)

    def step(self, memory: History, before: Tensor, after: Tensor) -> tuple[History, Tensor | None]:
        """Mix ``after`` with the results of the last sweeps."""
        import torch

        residual = after - before
        size = residual.norm(dim=1)
        images, residuals, last = memory
        if last is not None:
            grew = (size > GROWTH * last)[:, None]
            # A difference of zero has no effect on the mixture.
            images = [torch.where(grew, after, old) for old in images]
            residuals = [torch.where(grew, residual, old) for old in residuals]
        mixed = _mixed(after, residual, images, residuals) if images else None
        kept = ([*images, after][-self.memory :], [*residuals, residual][-self.memory :])
        return History(*kept, size), mixed


def _mixed(after: Tensor, residual: Tensor, images: list[Tensor], residuals: list[Tensor]) -> Tensor:
    """Combine past results with weights that sum to 1, such that their residuals cancel best, (rows, units).

    For a row that has not moved yet the system is singular. Its result is not finite, and the plain sweep is taken.
    """
    import torch

    differences = torch.stack([residual - old for old in residuals], 2)
    normal = differences.transpose(1, 2) @ differences
    scale = normal.diagonal(dim1=1, dim2=2).sum(1).clamp_min(torch.finfo(after.dtype).tiny)
    normal += (REGULARIZATION * scale)[:, None, None] * torch.eye(normal.shape[1]).to(normal)
    right = (differences.transpose(1, 2) @ residual[:, :, None]).squeeze(2)
    weights = torch.linalg.solve_ex(normal, right)[0]
    correction: Tensor = (torch.stack([after - old for old in images], 2) @ weights[:, :, None]).squeeze(2)
    return after - correction

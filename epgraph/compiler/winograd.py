"""Winograd's minimal filtering F(4×4, 3×3) in plain torch; emitted modules that use it carry a copy of this text.

An image is cut into 4×4 tiles; a tile with its border is a 6×6 window d. The convolution with a 3×3 kernel w is
Aᵀ[(G w Gᵀ) ⊙ (Bᵀ d B)]A: 36 products per tile and pair of channels, not 144 (A. Lavin and S. Gray, arXiv 1509.09308).
For all tiles together these are 36 matrix products, computed as one 1×1 convolution of 36 groups.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

TILE, WINDOW = 4, 6

TILES = 64
"""Tiles per multiplication, filled up with zeros. This number stays in the cache. With fewer tiles than the weights
were packed for, oneDNN may use a loop that is a hundred times slower."""

_B = (
    (4.0, 0.0, -5.0, 0.0, 1.0, 0.0),
    (0.0, -4.0, -4.0, 1.0, 1.0, 0.0),
    (0.0, 4.0, -4.0, -1.0, 1.0, 0.0),
    (0.0, -2.0, -1.0, 2.0, 1.0, 0.0),
    (0.0, 2.0, -1.0, -2.0, 1.0, 0.0),
    (0.0, 4.0, 0.0, -5.0, 0.0, 1.0),
)
_G = (
    (1 / 4, 0.0, 0.0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0.0, 0.0, 1.0),
)
_A = (
    (1.0, 1.0, 1.0, 1.0, 1.0, 0.0),
    (0.0, 1.0, -1.0, 2.0, -2.0, 0.0),
    (0.0, 1.0, 1.0, 4.0, 4.0, 0.0),
    (0.0, 1.0, -1.0, 8.0, -8.0, 1.0),
)


@lru_cache
def _twice(rows: tuple[tuple[float, ...], ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Matrix that transforms both the rows and the columns of a flattened tile."""
    one = torch.tensor(rows, dtype=torch.float64)
    return torch.kron(one, one).to(device, dtype)


def winograd_kernels(weight: Tensor) -> Tensor:
    """G w Gᵀ of all kernels, OIHW → (36·O, I, 1, 1)."""
    wanted, given = weight.shape[:2]
    flat = weight.permute(2, 3, 0, 1).reshape(9, wanted * given)
    return (_twice(_G, weight.dtype, weight.device) @ flat).view(WINDOW**2 * wanted, given, 1, 1)


def winograd(s: Tensor, kernels: Tensor) -> Tensor:
    """Convolution of (batch, channels, height, width), padded by one, with ``winograd_kernels``, channels last."""
    batch, _, height, width = s.shape
    made = s.new_zeros((batch, height, width, kernels.shape[0] // WINDOW**2)).permute(0, 3, 1, 2)
    return add_winograd_(made, s, kernels)


def add_winograd_(summed: Tensor, s: Tensor, kernels: Tensor) -> Tensor:
    """Add ``winograd(s, kernels)`` to ``summed`` in place, a few examples at a time."""
    batch, channels, height, width = s.shape
    down, across = height // TILE, width // TILE
    forth, back = (_twice(rows, s.dtype, s.device) for rows in (_B, _A))
    step = max(1, TILES // (down * across))
    for i in range(0, batch, step):
        padded = torch.nn.functional.pad(s[i : i + step].permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        windows = padded.unfold(1, WINDOW, TILE).unfold(2, WINDOW, TILE).permute(0, 1, 2, 4, 5, 3)
        products = _products(forth @ windows.reshape(-1, WINDOW**2, channels), kernels)
        made = (back @ products).view(-1, down, across, TILE, TILE, products.shape[-1])
        places = summed[i : i + step].permute(0, 2, 3, 1)
        places = torch.unflatten(torch.unflatten(places, 2, (across, TILE)), 1, (down, TILE))
        places.add_(made.permute(0, 1, 3, 2, 4, 5))
    return summed


def _products(tiles: Tensor, kernels: Tensor) -> Tensor:
    """(tiles, 36, input channels) → (tiles, 36, output channels)."""
    count = len(tiles)
    if count < TILES:
        tiles = torch.nn.functional.pad(tiles, (0, 0, 0, 0, 0, TILES - count))
    row = tiles.view(1, 1, len(tiles), -1).permute(0, 3, 1, 2)
    if kernels.is_mkldnn:
        operation = torch.ops.mkldnn._convolution_pointwise
        made: Tensor = operation(row, kernels, None, [0, 0], [1, 1], [1, 1], WINDOW**2, "none", [], "")
    else:
        made = torch.conv2d(row, kernels, groups=WINDOW**2)
    return made.permute(0, 2, 3, 1).reshape(len(tiles), WINDOW**2, -1)[:count]

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
def _matrix(rows: tuple[tuple[float, ...], ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).to(device, dtype)


def _transformed(rows: tuple[tuple[float, ...], ...], tiles: Tensor) -> Tensor:
    """Transform columns, then rows, of tiles (count, n, n, channels): two small products in place of one large one."""
    matrix = _matrix(rows, tiles.dtype, tiles.device)
    count, side, _, channels = tiles.shape
    made = matrix @ tiles.reshape(count, side, side * channels)
    made = matrix @ made.view(-1, side, channels)
    return made.view(count, len(rows), len(rows), channels)


def winograd_kernels(weight: Tensor) -> Tensor:
    """G w Gᵀ of all kernels, OIHW → (36·O, I, 1, 1)."""
    wanted, given = weight.shape[:2]
    taps = weight.permute(2, 3, 0, 1).reshape(1, 3, 3, wanted * given)
    return _transformed(_G, taps).view(WINDOW**2 * wanted, given, 1, 1)


def winograd(s: Tensor, kernels: Tensor) -> Tensor:
    """Convolution of (batch, channels, height, width), padded by one, with ``winograd_kernels``, channels last."""
    batch, _, height, width = s.shape
    made = s.new_zeros((batch, height, width, kernels.shape[0] // WINDOW**2)).permute(0, 3, 1, 2)
    return add_winograd_(made, s, kernels)


def add_winograd_(summed: Tensor, s: Tensor, kernels: Tensor) -> Tensor:
    """Add ``winograd(s, kernels)`` to ``summed`` in place, a few examples at a time."""
    batch, channels, height, width = s.shape
    down, across = height // TILE, width // TILE
    step = max(1, TILES // (down * across))
    for i in range(0, batch, step):
        padded = torch.nn.functional.pad(s[i : i + step].permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        windows = padded.unfold(1, WINDOW, TILE).unfold(2, WINDOW, TILE).permute(0, 1, 2, 4, 5, 3)
        tiles = _transformed(_B, windows.reshape(-1, WINDOW, WINDOW, channels))
        made = _transformed(_A, _products(tiles, kernels)).view(
            -1, down, across, TILE, TILE, kernels.shape[0] // WINDOW**2
        )
        places = summed[i : i + step].permute(0, 2, 3, 1)
        places = torch.unflatten(torch.unflatten(places, 2, (across, TILE)), 1, (down, TILE))
        places.add_(made.permute(0, 1, 3, 2, 4, 5))
    return summed


def _products(tiles: Tensor, kernels: Tensor) -> Tensor:
    """(tiles, 6, 6, input channels) → (tiles, 6, 6, output channels)."""
    count = len(tiles)
    tiles = tiles.flatten(1)
    if count < TILES:
        tiles = torch.nn.functional.pad(tiles, (0, 0, 0, TILES - count))
    row = tiles.view(1, 1, len(tiles), -1).permute(0, 3, 1, 2)
    if kernels.is_mkldnn:
        operation = torch.ops.mkldnn._convolution_pointwise
        made: Tensor = operation(row, kernels, None, [0, 0], [1, 1], [1, 1], WINDOW**2, "none", [], "")
    else:
        made = torch.conv2d(row, kernels, groups=WINDOW**2)
    return made.permute(0, 2, 3, 1).reshape(len(tiles), WINDOW, WINDOW, -1)[:count]

"""RandAugment on a batch of images of bytes, to the bit as torchvision applies it to each as a Pillow image.

The strength is the same for all images, so what an operation does to a pixel is a table: where it comes from (shear,
translation, rotation), what its value becomes (posterize, solarize), or what becomes of it beside another one, its
"degenerate" in Pillow's terms (brightness, color, contrast, sharpness). Tables are made once, by torchvision and Pillow
themselves. Only the operations that look at the histogram of an image have tables of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad
from torchvision.transforms import InterpolationMode, RandAugment, autoaugment

BINS = 31
"""Strengths that torchvision distinguishes."""

OPERATIONS = tuple(RandAugment()._augmentation_space(BINS, (1, 1)))
"""Names of the operations; one is drawn as a position in them."""

_MOVES = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
_BLENDS = ("Brightness", "Color", "Contrast", "Sharpness")
_POINTS = ("Posterize", "Solarize")

_GROUPS = (("Identity",), _MOVES, _POINTS, *((name,) for name in (*_BLENDS, "AutoContrast", "Equalize")))
"""Operations that are applied together."""

_GROUP = torch.tensor([next(i for i, names in enumerate(_GROUPS) if name in names) for name in OPERATIONS])


def apply(image: Image.Image, name: str, magnitude: int, negative: bool) -> Image.Image:
    """Apply one operation to one Pillow image, as torchvision's RandAugment of this magnitude does."""
    value = strength(name, magnitude, negative, (image.height, image.width))
    found: Image.Image = autoaugment._apply_op(image, name, value, InterpolationMode.NEAREST, None)
    return found


def strength(name: str, magnitude: int, negative: bool, size: tuple[int, int]) -> float:
    """Return the argument of an operation on images of ``size`` (H, W)."""
    values, signed = RandAugment()._augmentation_space(BINS, size)[name]
    value = float(values[magnitude]) if values.ndim else 0.0
    return -value if signed and negative else value


@dataclass(frozen=True)
class Tables:
    """What each operation does; the first axis is 2 · operation + sign.

    Attributes
    ----------
    source
        (28, H·W): the pixel that comes to each place, H·W for black.
    blend
        (28 · 256 · 256,): the value of a byte beside its degenerate.
    """

    source: Tensor
    blend: Tensor


@cache
def tables(magnitude: int, height: int, width: int, device: torch.device) -> Tables:
    """Return the tables for images of a size, made once."""
    # Black, 0, is what comes in from outside.
    places = Image.fromarray(np.arange(1, height * width + 1, dtype=np.int32).reshape(height, width))
    values, below = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    upper, lower = Image.fromarray(values), Image.fromarray(below)
    sources, blends = [], []
    for name in OPERATIONS:
        for negative in (False, True):
            moved = apply(places, name, magnitude, negative) if name in _MOVES else places
            source = np.asarray(moved).astype(np.int64).ravel() - 1
            sources.append(np.where(source < 0, height * width, source))
            if name in _BLENDS:
                table = Image.blend(lower, upper, 1.0 + strength(name, magnitude, negative, (height, width)))
            else:
                table = apply(upper, name, magnitude, negative) if name in _POINTS else upper
            blends.append(np.asarray(table).ravel())
    return Tables(*(torch.from_numpy(rows).to(device) for rows in (np.stack(sources), np.concatenate(blends))))


def randaugment(x: Tensor, operations: Tensor, negative: Tensor, magnitude: int) -> Tensor:
    """Apply operations to a batch of bytes.

    Parameters
    ----------
    x
        Images, (B, 1 or 3, H, W), uint8.
    operations, negative
        Positions in ``OPERATIONS`` and signs, (B, n) on the CPU, where they decide which images go together.
    magnitude
        Strength, from 0 to 30.
    """
    known = tables(magnitude, *x.shape[2:], x.device)
    order = torch.arange(len(x))
    for k in range(operations.shape[1]):
        # Images with operations of one group stand together, and are changed in place.
        drawn = operations[order, k].long()
        first = torch.argsort(_GROUP[drawn], stable=True)
        order, drawn = order[first], drawn[first]
        rows = (2 * drawn + negative[order, k].long()).to(x.device)
        x = x.index_select(0, first.to(x.device))
        start = 0
        for names, count in zip(_GROUPS, torch.bincount(_GROUP[drawn], minlength=len(_GROUPS)).tolist(), strict=True):
            part = slice(start, start + count)
            if count and names != ("Identity",):
                x[part] = _applied(names, x[part], rows[part], known)
            start += count
    return x.index_select(0, torch.argsort(order).to(x.device))


def _applied(names: tuple[str, ...], x: Tensor, rows: Tensor, known: Tables) -> Tensor:
    """Apply to each image one of the operations of a group; ``rows`` are those of the tables."""
    if names == _MOVES:
        return _moved(x, known.source[rows])
    if names in (("AutoContrast",), ("Equalize",)):
        table = _stretched(x) if names == ("AutoContrast",) else _equalized(x)
        return table.gather(2, x.flatten(2).long()).view_as(x)
    index = (rows.int().view(-1, 1, 1, 1) << 16) + x
    if names != _POINTS:
        index += _degenerate(x, names[0]) << 8
    return known.blend.index_select(0, index.flatten()).view_as(x)


def _moved(x: Tensor, source: Tensor) -> Tensor:
    flat = pad(x.flatten(2), (0, 1))
    return flat.gather(2, source[:, None].expand(-1, x.shape[1], -1)).view_as(x)


def _degenerate(x: Tensor, name: str) -> Tensor:
    """Return what Pillow blends an image with: black, its gray, its mean gray, or itself smoothed."""
    wide = x.int()
    if name == "Color":
        return _gray(wide)
    if name == "Contrast":
        pixels = x.shape[2] * x.shape[3]
        total = _gray(wide).sum((1, 2, 3), keepdim=True, dtype=torch.long)
        return ((2 * total + pixels) // (2 * pixels)).int()
    if name == "Sharpness":
        # The filter SMOOTH: all nine with weight 1, the one in the middle with 5. Pixels at the edge stay.
        rows = wide[:, :, :-2] + wide[:, :, 1:-1] + wide[:, :, 2:]
        total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * wide[:, :, 1:-1, 1:-1]
        wide[:, :, 1:-1, 1:-1] = (2 * total + 13) // 26
        return wide
    return torch.zeros_like(wide)


def _gray(wide: Tensor) -> Tensor:
    if wide.shape[1] == 1:
        return wide
    weighted = 19595 * wide[:, :1] + 38470 * wide[:, 1:2] + 7471 * wide[:, 2:]
    return (weighted + 0x8000) >> 16


def _stretched(x: Tensor) -> Tensor:
    """Return the table (B, C, 256) that stretches each channel to all values."""
    low, high = (edge.double()[..., None] for edge in x.flatten(2).aminmax(dim=2))
    scale = torch.full_like(low, 255.0) / (high - low)
    values = torch.arange(256, device=x.device)
    table = torch.where(high > low, (values * scale + -low * scale).nan_to_num(), values.double())
    return table.clamp(0, 255).byte()


def _equalized(x: Tensor) -> Tensor:
    """Return the table (B, C, 256) that makes the histogram of each channel even."""
    flat = x.flatten(2).long()
    counts = torch.zeros((*flat.shape[:2], 256), dtype=torch.long, device=x.device)
    counts.scatter_add_(2, flat, torch.ones_like(flat))
    last = counts.gather(2, flat.amax(2, keepdim=True))
    step = (flat.shape[2] - last) // 255
    table = (step // 2 + counts.cumsum(2) - counts) // step.clamp(min=1)
    return torch.where(step > 0, table.clamp(max=255), torch.arange(256, device=x.device)).byte()

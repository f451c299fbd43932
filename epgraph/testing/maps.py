"""The maps A_e of edges, written from their definitions in float64, and what an edge adds to Φ.

Of an edge kind only the *options* (stride, scale) are read. Equation numbers are the paper's.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from epgraph.graph import Edge
from epgraph.kinds import Conv, ConvTranspose, Dense, EdgeKind, Identity, Lateral, Memory, Pool, Self, Skip

Sides = tuple[int, int]
"""Rows and columns."""


def convolve(
    s: Tensor, weight: Tensor, stride: Sides, padding: Sides, dilation: Sides = (1, 1), groups: int = 1
) -> Tensor:
    """Write out w ⋆ s (Eq. 7).

    ``z[b, o, p, q] = Σ_{c,u,v} w[o, c, u, v] · s̄[b, c, p·stride + u·dilation, q·stride + v·dilation]``, with s̄ the
    source in a frame of ``padding`` zeros, and c in the group of channels that o belongs to.

    Parameters
    ----------
    s
        Source, (batch, channels, height, width).
    weight
        (O, channels of a group, kernel rows, kernel columns).

    Returns
    -------
    Tensor
        (batch, O, ⌊(height + 2·padding − dilation·(kernel − 1) − 1)/stride⌋ + 1, likewise for the width).
    """
    (up, left), (down, across), (apart, aside) = padding, stride, dilation
    tall, wide = (step * (taps - 1) + 1 for step, taps in zip(dilation, weight.shape[2:], strict=True))
    patches = pad(s, (left, left, up, up)).unfold(2, tall, down).unfold(3, wide, across)[..., ::apart, ::aside]
    patches = patches.permute(0, 2, 3, 1, 4, 5)
    # Not a matrix product: that rounds equal patches to different values, and then it is an accident which
    # pixel of a saturated, constant region max pooling picks.
    made = [
        (patch.flatten(3).unsqueeze(1) * part.flatten(1)[:, None, None]).sum(-1)
        for patch, part in zip(patches.chunk(groups, 3), weight.chunk(groups), strict=True)
    ]
    return torch.cat(made, 1)


def scatter(
    s: Tensor, weight: Tensor, size: Sides, stride: Sides, padding: Sides, dilation: Sides, groups: int
) -> Tensor:
    """Write out the transposed convolution: every source pixel puts its kernel into the target.

    ``z[b, o, p·stride + u·dilation − padding, …] += w[c, o, u, …] · s[b, c, p, …]``; what falls outside is lost.

    Parameters
    ----------
    s
        Source, (batch, channels, height, width).
    weight
        (channels, target channels of a group, kernel rows, kernel columns).
    size
        Height and width of the result.
    """
    (down, across), (up, left), (apart, aside) = stride, padding, dilation
    (rows, columns), (tall, wide) = s.shape[2:], weight.shape[2:]
    reach = max(size[0] + up, (rows - 1) * down + apart * (tall - 1) + 1)
    width = max(size[1] + left, (columns - 1) * across + aside * (wide - 1) + 1)
    made = []
    for part, own in zip(s.chunk(groups, 1), weight.chunk(groups), strict=True):
        frame = torch.zeros(len(s), own.shape[1], reach, width, dtype=s.dtype)
        for u in range(tall):
            for v in range(wide):
                put = (part.unsqueeze(2) * own[:, :, u, v][:, :, None, None]).sum(1)
                y, x = apart * u, aside * v
                places = (slice(y, y + down * (rows - 1) + 1, down), slice(x, x + across * (columns - 1) + 1, across))
                spread = torch.zeros_like(frame)
                spread[:, :, places[0], places[1]] = put
                frame = frame + spread
        made.append(frame[:, :, up : up + size[0], left : left + size[1]])
    return torch.cat(made, 1)


def pool(z: Tensor, how: Literal["max", "average"], window: Sides = (2, 2)) -> Tensor:
    """P(z): mean, or first largest value in row-major order, of each window.

    What fills no window belongs to none. ``z`` is (batch, channels, height, width).
    """
    (tall, wide) = window
    windows = z.unfold(2, tall, tall).unfold(3, wide, wide).flatten(4)
    if how == "average":
        return windows.mean(-1)
    first = windows.detach().argmax(-1, keepdim=True)
    return windows.gather(-1, first).squeeze(-1)


def sides(option: int | Sequence[int]) -> Sides:
    """Rows and columns of an option that is one number for both, or two."""
    rows, columns = [option] * 2 if isinstance(option, int) else option
    return rows, columns


def interaction(edge: Edge, weight: Tensor | None, s: Tensor, t: Tensor) -> Tensor:
    """Return ⟨t, A_e s⟩ of each example (Eq. 7, 9), the edge's contribution to Φ.

    Parameters
    ----------
    weight
        None for an identity edge.
    s, t
        Source and target state, (batch, *shape).

    Returns
    -------
    Tensor
        (batch,)
    """
    if isinstance(edge.kind, Self) and weight is not None:
        return quadratic(edge.kind, weight, s)
    if isinstance(edge.kind, Memory) and weight is not None:
        rows = s.flatten(2) if edge.kind.per_pixel else s.flatten(1).unsqueeze(2)
        scores = edge.kind.sharpness * torch.einsum("pc,bcn->bpn", weight, rows)
        return scores.logsumexp(1).sum(1) / edge.kind.sharpness
    image = mapped(edge.kind, weight, s, tuple(t.shape[1:]))
    return (t.flatten(1) * image.flatten(1)).sum(1)


def mapped(kind: EdgeKind, weight: Tensor | None, s: Tensor, target: tuple[int, ...]) -> Tensor:
    """A_e s of a source state (batch, *shape), in any shape with the units of ``target`` in their order."""
    if isinstance(kind, Identity):
        return kind.scale * s
    if isinstance(kind, Pool):
        return pool(s, kind.kind, sides(kind.size))
    if weight is None:
        raise TypeError(f"the oracle does not know the edge kind '{kind.name}'; write its A_e down here")
    if isinstance(kind, Dense) and kind.rank is not None:
        units = math.prod(target)
        u, v = weight[:units], weight[units:]
        return torch.einsum("ok,ik,bi->bo", u, v, s.flatten(1))
    if isinstance(kind, Dense) or (isinstance(kind, Lateral) and kind.kernel is None):
        return torch.einsum("oi,bi->bo", weight, s.flatten(1))
    if isinstance(kind, Lateral):
        tall, wide = weight.shape[2:]
        return convolve(s, weight, (1, 1), (tall // 2, wide // 2))
    if isinstance(kind, Skip):
        return convolve(s, weight, sides(kind.stride), (0, 0))
    if isinstance(kind, Conv):
        groups = s.shape[1] // weight.shape[1]
        dilation = sides(kind.dilation)
        if kind.padding == "same":
            tall, wide = (apart * (taps - 1) for apart, taps in zip(dilation, weight.shape[2:], strict=True))
            padding = (tall // 2, wide // 2)
        else:
            padding = sides(kind.padding)
        image = convolve(s, weight, sides(kind.stride), padding, dilation, groups)
        return pool(image, kind.pool) if kind.pool else image
    if isinstance(kind, ConvTranspose):
        groups = target[0] // weight.shape[1]
        stride, padding, dilation = (sides(option) for option in (kind.stride, kind.padding, kind.dilation))
        return scatter(s, weight, (target[1], target[2]), stride, padding, dilation, groups)
    raise TypeError(f"the oracle does not know the edge kind '{kind.name}'; write its A_e down here")


def quadratic(kind: Self, w: Tensor, s: Tensor) -> Tensor:
    """½⟨s, W s⟩ of each example, from w as it is: a quadratic form does not see what is not symmetric."""
    if kind.kernel is None:
        v = s.flatten(1)
        whole, own = torch.einsum("bi,ij,bj->b", v, w, v), (w.diagonal() * v**2).sum(1)
    else:
        middle = kind.kernel // 2
        whole = (s * convolve(s, w, (1, 1), (middle, middle))).flatten(1).sum(1)
        diagonal = w[:, :, middle, middle].diagonal()
        own = (s.flatten(2).square().sum(2) * diagonal).sum(1)
    return (whole - own if kind.zero_diagonal else whole) / 2


def concavity(kind: Self, w: Tensor, shape: tuple[int, ...]) -> float:
    """Return a bound of ‖W‖: (Σ |λ|³²)^{1/32} over the eigenvalues λ of W, or of its largest Fourier component.

    Those of a convolution are taken at the frequencies of a torus as large as the image and half of the kernel, whose
    taps reach from pixel to pixel of the image at most.
    """
    if kind.kernel is None:
        symbols, diagonal = [w.to(torch.complex128)], w.diagonal()
    else:
        middle = kind.kernel // 2
        diagonal = w[:, :, middle, middle].diagonal()
        offset = torch.arange(kind.kernel, dtype=torch.float64) - middle
        rows, columns = (n + min(middle, n - 1) for n in shape[1:])
        inside = (offset.abs()[:, None] < shape[1]) & (offset.abs() < shape[2])
        symbols = []
        for p, q in itertools.product(range(rows), range(columns)):
            angle = 2 * math.pi * (offset[:, None] * p / rows + offset * q / columns)
            symbols.append((w * torch.polar(inside.to(angle.dtype), angle)).sum((2, 3)))
    largest = 0.0
    for symbol in symbols:
        symmetric = (symbol + symbol.mH) / 2 - torch.diag(diagonal) * kind.zero_diagonal
        values = torch.linalg.eigvalsh(symmetric).abs()
        top = float(values.max())
        if top > 0:
            largest = max(largest, top * float(((values / top) ** 32).sum()) ** (1 / 32))
    return largest

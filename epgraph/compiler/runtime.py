"""What emitted code calls while it runs. Needs torch alone: emitted modules carry a copy of this text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

PIECE = 65_536
"""Numbers that an activation of a pair takes at a time on the CPU: its temporaries then stay in the cache."""


HALF = (torch.bfloat16, torch.float16)
"""Precisions whose sums and activations are computed in float32. A sweep adds up to a dozen contributions to a state,
and a rounding after each of them cost more digits of the gradient than anything else but the rounding of the weights.
"""


def total(constant: Tensor | None, first: Tensor, *rest: Tensor) -> Tensor:
    """Constant + Σ contributions, in the memory of the first contribution; in half precision rounded once."""
    summed = widened(first) if rest else first
    for part in rest:
        summed.add_(part)
    if constant is not None:
        summed.add_(constant)
    return first if summed is first else first.copy_(summed)


def total_pair(constant: Tensor | None, first: Tensor, *rest: Tensor) -> Tensor:
    """As ``total``, for the common and the odd part of two nudged phases: a constant has no odd part."""
    summed = widened(first) if rest else first
    for part in rest:
        summed.add_(part)
    if constant is not None:
        summed.chunk(2)[0].add_(constant)
    return first if summed is first else first.copy_(summed)


def wide_total(constant: Tensor | None, first: Tensor, *rest: Tensor) -> Tensor:
    """As ``total``, in float32, which is left to what follows to round."""
    return total(constant, first.float(), *rest)


def wide_total_pair(constant: Tensor | None, first: Tensor, *rest: Tensor) -> Tensor:
    """As ``total_pair``, in float32, which is left to what follows to round."""
    return total_pair(constant, first.float(), *rest)


def widened(value: Tensor) -> Tensor:
    """Return a copy in float32 of a value in half precision, and any other value itself."""
    return value.float() if value.dtype in HALF else value


def fill_(memory: Tensor, constant: Tensor | None) -> Tensor:
    """Start a sum in place: the constant, or zeros."""
    return memory.zero_() if constant is None else memory.copy_(constant.expand_as(memory))


def fill_pair_(memory: Tensor, constant: Tensor | None) -> Tensor:
    """Start the sum of a pair in place: the constant has no odd part."""
    common, odd = memory.chunk(2)
    fill_(common, constant)
    odd.zero_()
    return memory


def in_pieces(
    pair: Callable[[Tensor, Tensor, Any], tuple[Tensor, Tensor]], summed: Tensor, alpha: Any, out: Tensor
) -> Tensor:
    """Write the activation of a pair of sums to ``out`` (which may be the sums), a few examples at a time."""
    return by_rows(pair, alpha, out, summed)


def weighed(value: Tensor, weights: Tensor) -> Tensor:
    """Multiply every row by the weight of its example; a pair has two rows for each."""
    rows = weights.to(value.dtype).repeat(len(value) // max(1, len(weights)))
    return value * rows.view(-1, *(1,) * (value.ndim - 1))


def by_rows(
    function: Callable[..., tuple[Tensor, Tensor]], alpha: Any, out: Tensor | None, first: Tensor, *rest: Tensor
) -> Tensor:
    """Apply a function of single units to pairs, a few examples at a time; ``out`` has the shape of the first.

    In half precision the function computes in float32, and its results alone are rounded.
    """
    out = torch.empty_like(first) if out is None else out
    level = widened(alpha) if isinstance(alpha, Tensor) else alpha
    pairs = [pair.chunk(2) for pair in (first, *rest)]
    common, odd = out.chunk(2)
    rows = len(common)
    step = rows if first.is_cuda else max(1, PIECE * rows // max(1, common.numel()))
    for i in range(0, rows, step):
        c, o = function(*(widened(part[i : i + step]) for pair in pairs for part in pair), level)
        common[i : i + step].copy_(c)
        odd[i : i + step].copy_(o)
    return out


def noisy_(summed: Tensor, deviation: float) -> Tensor:
    """Add Gaussian noise, in place: the same for every memory layout."""
    return summed.add_(torch.randn(summed.shape, dtype=summed.dtype, device=summed.device), alpha=deviation)


def noisy_pair_(summed: Tensor, deviation: float) -> Tensor:
    """Add the same Gaussian noise to both nudged states: it has no odd part."""
    noisy_(summed.chunk(2)[0], deviation)
    return summed


def quantize_(state: Tensor, step: float | Tensor) -> Tensor:
    """Round a state to multiples of a step, in place."""
    return state.div_(step).round_().mul_(step)


def quantize_pair_(state: Tensor, step: float | Tensor) -> Tensor:
    """Round both nudged states of a pair to multiples of a step: they are formed, rounded, and parted again."""
    common, odd = state.chunk(2)
    plus, minus = quantize_(common + odd, step), quantize_(common - odd, step)
    common.copy_(plus).add_(minus).mul_(0.5)
    odd.copy_(plus.sub_(minus)).mul_(0.5)
    return state


def rounded(weight: Tensor, bits: int) -> Tensor:
    """Weight rounded to 2ᵇ − 1 multiples of max|w|/(2ᵇ⁻¹ − 1), positive, zero and negative."""
    step = weight.abs().amax() / (2 ** (bits - 1) - 1)
    # A weight of zeros stays one.
    multiples: Tensor = (weight / step.clamp_min(torch.finfo(weight.dtype).tiny)).round_()
    return multiples.mul_(step)


def inner(a: Tensor, b: Tensor) -> Tensor:
    """⟨a, b⟩ per example, (batch,)."""
    return (a * b).sum(dim=tuple(range(1, a.ndim)))


def swapped(weight: Tensor) -> Tensor:
    """Kernel with its channels exchanged, channels last.

    It is the transpose of one matrix, which torch copies block by block: eight times as fast as from axis to axis.
    """
    target, source, *kernel = weight.shape
    return weight.reshape(target, -1).t().contiguous().view(source, *kernel, target).permute(0, 3, 1, 2)


def taps(weight: Tensor, rows: Sequence[int], columns: Sequence[int]) -> Tensor:
    """Every second row and column of a kernel, named from last to first, in that order."""
    # Slices: an index by lists takes five times as long.
    ahead = weight[:, :, rows[-1] : rows[0] + 1 : 2, columns[-1] : columns[0] + 1 : 2]
    return ahead.flip(2, 3).contiguous(memory_format=torch.channels_last)


def interleave(rows: int, columns: int, *phases: Tensor | None) -> Tensor:
    """Put the four phases of a map of ``rows`` × ``columns`` pixels in their places; zeros where there is none."""
    found = next(phase for phase in phases if phase is not None)
    shape = (*found.shape[:2], rows, columns)
    made = torch.empty(shape, dtype=found.dtype, device=found.device, memory_format=_layout(found))
    for number, phase in enumerate(phases):
        place = _place(made, number)
        _ = place.zero_() if phase is None else place.copy_(phase)
    return made


def put_phase_(memory: Tensor, constant: Tensor | None, number: int, phase: Tensor) -> Tensor:
    """Start a sum with one of the four phases of a map, in its place: constant + phase (see ``interleave``)."""
    place = _place(memory, number)
    if constant is None:
        place.copy_(phase)
    else:
        torch.add(_place(constant.expand_as(memory), number), phase, out=place)
    return memory


def put_phase_pair_(memory: Tensor, constant: Tensor | None, number: int, phase: Tensor) -> Tensor:
    """As ``put_phase_``, for a pair: the constant has no odd part."""
    for part, own, known in zip(memory.chunk(2), phase.chunk(2), (constant, None), strict=True):
        put_phase_(part, known, number, own)
    return memory


def add_phase_(summed: Tensor, number: int, phase: Tensor) -> Tensor:
    """Add one of the four phases of a map to a sum, in its place (see ``interleave``)."""
    _place(summed, number).add_(phase)
    return summed


def _place(whole: Tensor, number: int) -> Tensor:
    return whole[:, :, number // 2 :: 2, number % 2 :: 2]


def _layout(t: Tensor) -> torch.memory_format:
    last = t.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format

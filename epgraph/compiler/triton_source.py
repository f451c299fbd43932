"""Text of a Triton kernel that computes one state's whole update in one launch.

The update s ← σ(c + Σ A s + Σ Aᵀ t) is one implicit matrix product. Its rows are the pixels of the state, its columns
the channels; the sum is over all input channels of all taps of all incident edges. All edges add to one tile in
registers. Constant, over-relaxation and clipping follow there, and the new state is stored once.

A transposed convolution of stride S reaches a pixel n through the taps k with n + padding − k divisible by S. So a
program handles pixels of one phase (y mod S, x mod S), and loops over the taps of that phase only.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm

Pair = tuple[int, int]
"""Height and width."""


@dataclass(frozen=True)
class Term:
    """One edge's contribution: a convolution, or a transposed one, of a source (batch, channels, *size).

    Its weight is packed as (taps, channels, channels of the updated state).
    """

    note: str
    channels: int
    size: Pair
    kernel: Pair
    stride: Pair
    padding: Pair
    transposed: bool


@dataclass(frozen=True)
class Update:
    """Description of a kernel.

    Attributes
    ----------
    name, state
        Names of the kernel and of the state.
    channels, size
        Shape of the state; a vector is one pixel.
    constant, rest
        Whether a constant is added, and the number of other tensors to add.
    relaxed
        Whether over-relaxation replaces the sum by s + ω(sum − s).
    alpha
        Clip level of ReLUα: a number, ``"tensor"`` for one per unit, None without clipping.
    pair
        Whether the state is a common part stacked on an odd one: two tiles, and the constant adds to the common part.
    """

    name: str
    state: str
    channels: int
    size: Pair
    terms: tuple[Term, ...]
    constant: bool
    rest: int
    relaxed: bool
    alpha: float | str | None
    pair: bool

    @property
    def phases(self) -> Pair:
        """Number of phases along each side."""
        transposed = [t.stride for t in self.terms if t.transposed]
        return lcm(*(s[0] for s in transposed)), lcm(*(s[1] for s in transposed))

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the strided tensors of the kernel; the first is its output."""
        return (
            "out",
            *["constant"] * self.constant,
            *["old"] * self.relaxed,
            *(f"rest_{i}" for i in range(self.rest)),
            *(f"source_{i}" for i in range(len(self.terms))),
        )

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the sums in registers."""
        return ("common", "odd") if self.pair else ("common",)


def kernel_text(update: Update) -> str:
    """Python text of the kernel."""
    arguments = [
        *update.tensors,
        *(f"weight_{i}" for i in range(len(update.terms))),
        *["omega"] * update.relaxed,
        *["alpha"] * (update.alpha == "tensor"),
        "batch",
        *(f"{tensor}_{axis}" for tensor in update.tensors for axis in "nyxc"),
        *(f"{name}: tl.constexpr" for name in ("PRECISION", "BLOCK_M", "BLOCK_N", "BLOCK_K")),
    ]
    lines = [
        f"# {_equation(update)}",
        *_pixels(update),
        "c = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)",
        f"wanted = valid[:, None] & (c < {update.channels})[None, :]",
        *(f"{part} = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)" for part in update.parts),
    ]
    for number, term in enumerate(update.terms):
        lines += _accumulate(update, number, term)
    lines += _finish(update)
    taken = "".join(f"    {argument},\n" for argument in arguments)
    return f"@triton.jit\ndef {update.name}(\n{taken}):\n" + "".join(f"    {line}\n" for line in lines)


def _pixels(update: Update) -> list[str]:
    """Example ``n`` and place ``y``, ``x`` of each of the program's pixels."""
    (height, width), (down, across) = update.size, update.phases
    if down == across == 1:
        return [
            "m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)",
            f"valid = m < batch * {height * width}",
            f"n = (m // {height * width}).to(tl.int64)",
            f"y, x = m % {height * width} // {width}, m % {width}",
        ]
    return [
        f"phase, tile = tl.program_id(0) % {down * across}, tl.program_id(0) // {down * across}",
        f"phase_y, phase_x = phase // {across}, phase % {across}",
        f"rows = ({height + down - 1} - phase_y) // {down}",
        f"columns = ({width + across - 1} - phase_x) // {across}",
        "m = tile * BLOCK_M + tl.arange(0, BLOCK_M)",
        "valid = m < batch * rows * columns",
        # A state smaller than the stride has phases without pixels.
        "columns = tl.maximum(columns, 1)",
        "area = tl.maximum(rows, 1) * columns",
        "n = (m // area).to(tl.int64)",
        f"y = phase_y + {down} * (m % area // columns)",
        f"x = phase_x + {across} * (m % columns)",
    ]


def _accumulate(update: Update, number: int, term: Term) -> list[str]:
    """Loop over the taps and the blocks of input channels of one edge."""
    (height, width), (up, left) = term.size, term.padding
    (tall, wide), (down, across) = term.kernel, term.stride
    kind = "transposed " if term.transposed else ""
    lines = [
        f"# {term.note}: {kind}{tall}×{wide}, stride {down}×{across}, {term.channels} → {update.channels} channels",
        f"blocks = ({term.channels - 1} + BLOCK_K) // BLOCK_K",
    ]
    if term.transposed and (down, across) == (1, 1):
        lines.append(f"count_i, count_j = {tall}, {wide}")
        place = [f"i, j = tap // {wide}, tap % {wide}", f"at_y, at_x = y + ({up} - i), x + ({left} - j)"]
    elif term.transposed:
        lines += [
            f"first_i, first_j = (phase_y + {up}) % {down}, (phase_x + {left}) % {across}",
            f"count_i, count_j = ({tall + down - 1} - first_i) // {down}, ({wide + across - 1} - first_j) // {across}",
        ]
        # Each division is exact for the taps of this phase.
        place = [
            f"i, j = first_i + {down} * (tap // count_j), first_j + {across} * (tap % count_j)",
            f"at_y, at_x = (y + {up} - i) // {down}, (x + {left} - j) // {across}",
        ]
    else:
        lines.append(f"count_i, count_j = {tall}, {wide}")
        place = [
            f"i, j = tap // {wide}, tap % {wide}",
            f"at_y, at_x = y * {down} + (i - {up}), x * {across} + (j - {left})",
        ]
    strided = [f"source_{number}_{axis}" for axis in "nyxc"]
    loop = [
        "tap = step // blocks",
        *place,
        "k = (step % blocks) * BLOCK_K + tl.arange(0, BLOCK_K)",
        f"seen = valid & (at_y >= 0) & (at_y < {height}) & (at_x >= 0) & (at_x < {width})",
        f"inside = seen[:, None] & (k < {term.channels})[None, :]",
        f"at = n * {strided[0]} + at_y * {strided[1]} + at_x * {strided[2]}",
        f"at_s = source_{number} + at[:, None] + (k * {strided[3]})[None, :]",
        f"row = (i * {wide} + j) * {term.channels} + k",
        f"at_w = weight_{number} + (row * {update.channels})[:, None] + c[None, :]",
        f"w = tl.load(at_w, mask=(k < {term.channels})[:, None] & (c < {update.channels})[None, :], other=0.0)",
        "s = tl.load(at_s, mask=inside, other=0.0)",
        "common = tl.dot(s, w, common, input_precision=PRECISION)",
    ]
    if update.pair:
        loop += [
            f"at = (n + batch) * {strided[0]} + at_y * {strided[1]} + at_x * {strided[2]}",
            f"at_s = source_{number} + at[:, None] + (k * {strided[3]})[None, :]",
            "s = tl.load(at_s, mask=inside, other=0.0)",
            "odd = tl.dot(s, w, odd, input_precision=PRECISION)",
        ]
    return [*lines, "for step in range(0, count_i * count_j * blocks):", *(f"    {line}" for line in loop)]


def _finish(update: Update) -> list[str]:
    """Lines after the sum: constants, over-relaxation, clipping, and the store."""

    def load(tensor: str, part: str) -> str:
        return f"tl.load({_place(tensor, part)}, mask=wanted, other=0.0).to(tl.float32)"

    lines = []
    if update.constant:
        lines.append(f"common += {load('constant', 'common')}")
    for part in update.parts:
        lines += [f"{part} += {load(f'rest_{i}', part)}" for i in range(update.rest)]
        if update.relaxed:
            lines += [f"before = {load('old', part)}", f"{part} = before + omega * ({part} - before)"]
    if update.alpha is not None:
        level = "tl.load(alpha).to(tl.float32)" if update.alpha == "tensor" else repr(update.alpha)
        lines += _clip_pair(level) if update.pair else [f"common = {_clip('common', level)}"]
    lines += [f"tl.store({_place('out', p)}, {p}.to(out.dtype.element_ty), mask=wanted)" for p in update.parts]
    return lines


def _equation(update: Update) -> str:
    parts = ["c"] * update.constant + [term.note for term in update.terms] + ["rest"] * bool(update.rest)
    summed = " + ".join(parts)
    if update.relaxed:
        summed = f"{update.state} + ω({summed} − {update.state})"
    return f"{update.state} ← " + (summed if update.alpha is None else f"relu({summed})")


def _place(tensor: str, part: str) -> str:
    # The odd parts of all examples follow the common parts.
    example = "(n + batch)" if part == "odd" else "n"
    pixel = f"({example} * {tensor}_n + y * {tensor}_y + x * {tensor}_x)"
    return f"{tensor} + {pixel}[:, None] + (c * {tensor}_c)[None, :]"


def _clip(value: str, level: str) -> str:
    # NaN must stay visible.
    kept = "propagate_nan=tl.PropagateNan.ALL"
    return f"tl.minimum(tl.maximum({value}, 0.0, {kept}), {level}, {kept})"


def _clip_pair(level: str) -> list[str]:
    """Common and odd part of σ(p+q), σ(p−q), without cancellation; see ``ReLU.pair``."""
    return [
        f"level = {level}",
        "size = tl.abs(odd)",
        "overlap = tl.minimum(0.5 * (tl.minimum(common, level - common) + size), size)",
        f"overlap = {_clip('overlap', '0.5 * level')}",
        f"common = 0.5 * ({_clip('common + odd', 'level')} + {_clip('common - odd', 'level')})",
        "odd = tl.where(odd < 0, -overlap, overlap)",
    ]

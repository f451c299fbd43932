"""Load generated Triton kernels from their text, choose block sizes, and launch."""

from __future__ import annotations

import linecache
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from epgraph.compiler.program import Passed
from epgraph.compiler.triton_source import Update, kernel_text


@dataclass(frozen=True)
class Blocks:
    """Pixels, channels and input channels of a program, and its numbers of warps and stages."""

    m: int
    n: int
    k: int
    warps: int
    stages: int


CANDIDATES = (
    Blocks(64, 64, 32, 4, 3),
    Blocks(128, 64, 32, 4, 3),
    Blocks(128, 128, 32, 8, 3),
    Blocks(64, 128, 64, 4, 3),
)
"""Block sizes to try on a CUDA device, once per kernel and batch size."""

INTERPRETED = Blocks(256, 16, 16, 4, 1)
"""Block sizes for the interpreter, whose time grows with the number of programs."""

TRIALS = 10
"""Launches in one timing."""


def interpreted() -> bool:
    """Whether Triton runs its kernels in Python (TRITON_INTERPRET=1)."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def unavailable(device: torch.device, dtype: torch.dtype) -> str:
    """Return why no Triton kernel can run on a device; empty if one can."""
    if find_spec("triton") is None:
        return "triton is not installed"
    if device.type != "cuda" and not interpreted():
        return f"Triton kernels run on CUDA devices, not on {device.type}"
    if dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return f"its kernels add up in float32, which is less than {str(dtype).removeprefix('torch.')}"
    return ""


class Kernel(Passed):
    """One state's update as one launch."""

    def __init__(self, update: Update) -> None:
        self.update = update
        self.identifier = update.name
        self.text = kernel_text(update)
        self._compiled: Any = None
        self._blocks: dict[int, Blocks] = {}

    def __call__(
        self,
        out: Tensor | None,
        state: Tensor,
        constant: Tensor | None,
        omega: float | None,
        alpha: Tensor | None,
        rest: Sequence[Tensor],
        sources: Sequence[Tensor],
        weights: Sequence[Tensor],
    ) -> Tensor:
        """Compute the new ``state``, (batch, *shape), into ``out``, or into a new tensor if that is None."""
        out = torch.empty_like(state) if out is None else out
        if out.numel() == 0:  # an empty batch, with which passes infer shapes
            return out
        rows = len(state) // (2 if self.update.pair else 1)
        given = [out, *[constant] * self.update.constant, *[state] * self.update.relaxed, *rest, *sources]
        strides = [n for name, t in zip(self.update.tensors, given, strict=True) for n in self._strides(name, t, rows)]
        numbers = [omega] * self.update.relaxed + [alpha] * (self.update.alpha == "tensor")

        def launch(blocks: Blocks, into: Tensor) -> None:
            self._launch(blocks, [into, *given[1:], *weights, *numbers, rows, *strides], rows)

        if rows not in self._blocks:
            self._blocks[rows] = self._choose(launch, out)
        launch(self._blocks[rows], out)
        return out

    def _strides(self, name: str, tensor: Tensor | None, rows: int) -> tuple[int, int, int, int]:
        """Strides of examples, rows, columns and channels; zero along broadcast axes."""
        assert tensor is not None
        if name == "constant":
            vector = tensor.ndim == 2
            shape = (rows, self.update.channels, *(() if vector else self.update.size))
            tensor = tensor.expand(shape)
        if tensor.ndim == 2:
            return tensor.stride(0), 0, 0, tensor.stride(1)
        n, c, y, x = tensor.stride()
        return n, y, x, c

    def _launch(self, blocks: Blocks, arguments: list[Any], rows: int) -> None:
        if self._compiled is None:
            self._compiled = _load(self.update.name, self.text)
        (height, width), (down, across) = self.update.size, self.update.phases
        pixels = rows * -(-height // down) * -(-width // across)
        grid = (down * across * -(-pixels // blocks.m), -(-self.update.channels // blocks.n))
        tf32 = torch.backends.cuda.matmul.fp32_precision == "tf32"
        options = {"num_warps": blocks.warps, "num_stages": blocks.stages}
        with torch.cuda.device_of(arguments[0]):  # type: ignore[no-untyped-call]
            self._compiled[grid](
                *arguments,
                PRECISION="tf32" if tf32 else "ieee",
                BLOCK_M=blocks.m,
                BLOCK_N=blocks.n,
                BLOCK_K=blocks.k,
                **options,
            )

    def _choose(self, launch: Callable[[Blocks, Tensor], None], out: Tensor) -> Blocks:
        """Fastest blocks for a batch size. Timing writes to a separate tensor, as a relaxed update reads its output."""
        if interpreted():
            return INTERPRETED
        into = torch.empty_like(out)
        times = {blocks: _seconds(lambda blocks=blocks: launch(blocks, into)) for blocks in CANDIDATES}  # type: ignore[misc]
        return min(times, key=times.__getitem__)


def launch(kernel: Kernel, *arguments: Any) -> Tensor:
    """Update a state by one kernel; see ``Kernel.__call__``."""
    return kernel(*arguments)


def _seconds(work: Callable[[], None]) -> float:
    """Device time of ``TRIALS`` calls; infinite if the kernel does not fit the device."""
    try:
        work()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        for _ in range(TRIALS):
            work()
        end.record()
        end.synchronize()
    except RuntimeError:
        return float("inf")
    elapsed: float = start.elapsed_time(end)
    return elapsed


def _load(name: str, text: str) -> Any:
    """Compile the kernel's Python text. Triton reads the source through ``linecache``, under a unique file name."""
    import triton
    import triton.language as tl

    file = f"<epgraph {name} {hash(text):x}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    names: dict[str, Any] = {"triton": triton, "tl": tl, "__name__": "epgraph.compiler.generated"}
    exec(compile(text, file, "exec"), names)
    return names[name]

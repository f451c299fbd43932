"""CUDA graphs: chunks of sweeps that are captured once and replayed without the host.

A graph reads and writes the addresses of its capture. So all inputs of a sweep (parameters, constants of the batch,
targets, states) are copied to fixed addresses (``Static``). Python numbers (β, ω) are part of the graph: each value
has its own graph.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Protocol

import torch
from torch import Tensor

from epgraph.compiler.loading import Memory, Phase
from epgraph.compiler.program import CompiledProgram
from epgraph.compiler.sweep import SWEEPS_BETWEEN_LOOKS, missing, run, run_with_residual
from epgraph.errors import EpgraphError

CHUNK = 10
"""Sweeps per graph without a tolerance, enough to make the cost of a launch negligible."""

KEPT = 12
"""Number of graphs in the cache: free and paired phase, chunk and remainder, for three batch sizes."""


class Static(Memory):
    """Buffers at fixed addresses, one per name. A small batch, or the first half of a pair, uses the start of it.

    ``forget`` is called before a buffer moves: graphs that use it must not be replayed any more.
    """

    def __init__(self, forget: Callable[[], None]) -> None:
        self._forget = forget
        self._flat: dict[tuple[str, torch.dtype], Tensor] = {}

    def empty(self, name: str, shape: Sequence[int], like: Tensor, layout: torch.memory_format) -> Tensor:
        """Buffer for the value ``name``, uninitialized if it is new."""
        form = torch.empty(tuple(shape), dtype=like.dtype, device="meta", memory_format=layout)
        return self._place(name, form, like.device)

    def hold(self, name: str, value: Tensor) -> Tensor:
        """Copy a value to its fixed address."""
        return self._place(name, torch.empty_like(value, device="meta"), value.device).copy_(value)

    def _place(self, name: str, form: Tensor, device: torch.device) -> Tensor:
        size = prod(form.shape)
        key = (name, form.dtype)
        if key in self._flat and self._flat[key].numel() < size:
            self._forget()
            del self._flat[key]
        if key not in self._flat:
            self._flat[key] = torch.empty(size, dtype=form.dtype, device=device)
        return self._flat[key].as_strided(form.shape, form.stride())


class Graph(Protocol):
    """Captured work."""

    def replay(self) -> None:
        """Run the captured work again, on the same buffers."""


Capture = Callable[[Callable[[], None], Graph | None], Graph]
"""Captures work. It may share scratch memory with another graph that never runs at the same time."""


class CudaGraph:
    """Work captured as a CUDA graph, after a warm-up run in which libraries choose kernels and allocate workspaces."""

    def __init__(self, work: Callable[[], None], beside: Graph | None, device: torch.device) -> None:
        self.device = device
        self.graph = torch.cuda.CUDAGraph()
        pool = beside.graph.pool() if isinstance(beside, CudaGraph) else None
        with torch.cuda.device(device):
            side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                work()
            torch.cuda.current_stream().wait_stream(side)
            # ``graph`` first releases the memory of the warm-up run, which would else be allocated twice.
            # thread_local: threads of a data loader that pin memory may continue.
            with torch.cuda.graph(self.graph, pool=pool, stream=side, capture_error_mode="thread_local"):
                work()

    def replay(self) -> None:
        """Launch the graph on the current stream."""
        with torch.cuda.device(self.device):
            self.graph.replay()


def capture_for(device: torch.device) -> Capture | None:
    """Return the function that captures work on a device; None for a device without graphs."""
    if device.type != "cuda":
        return None
    return lambda work, beside: CudaGraph(work, beside, device)


class Replay:
    """Runs the sweeps of one set of programs as replayed graphs.

    Parameters
    ----------
    capture
        ``capture_for`` a device, or a stand-in for it.
    """

    def __init__(self, capture: Capture) -> None:
        self.capture = capture
        self._graphs: OrderedDict[Any, Graph] = OrderedDict()
        self._memory = Static(self._drop)

    def forget(self) -> None:
        """Free all graphs and buffers."""
        self._drop()
        self._memory = Static(self._drop)

    def __deepcopy__(self, memo: dict[int, Any]) -> Replay:
        # A graph belongs to the buffers of its capture, which are not copied.
        return Replay(self.capture)

    def run(
        self,
        program: CompiledProgram,
        load: Callable[[Memory], dict[str, Any]],
        states: Sequence[str],
        steps: int,
        *,
        tolerance: float,
        pair: bool,
    ) -> tuple[dict[str, Any], Tensor, int]:
        """Take ``steps`` sweeps, at least one, or stop once every residual is at most ``tolerance``.

        ``load`` puts the initial values into a memory. ``states`` are the names of the states in the residual, which
        is checked every ``SWEEPS_BETWEEN_LOOKS`` sweeps if there is a tolerance.

        Returns
        -------
        tuple
            All values after the last sweep, the residuals (batch,), and the number of sweeps. The next run overwrites
            all of them.
        """
        chunks = _chunks(steps, tolerated=tolerance > 0)
        moving = self._load(program.phase, load)
        like = moving[states[0]]
        rows = len(like) // (2 if pair else 1)
        wide = torch.empty(0, dtype=torch.promote_types(like.dtype, torch.float32), device=like.device)
        residuals = self._memory.empty("residuals", (rows,), wide, torch.contiguous_format)
        form = _form(moving)
        keys = [(program.program.key, pair, chunk, form, _precision()) for chunk in chunks]
        captured = False
        for key, (count, look) in zip(keys, chunks, strict=True):
            if key not in self._graphs:
                work = _work(program.phase, moving, states, count, residuals if look else None, pair)
                self._graphs[key] = self._captured(work)
                captured = True
            self._graphs.move_to_end(key)
        if captured:
            # The warm-up sweeps of the capture changed the states.
            moving = self._load(program.phase, load)
        taken = 0
        for key, (count, look) in zip(keys, chunks, strict=True):
            self._graphs[key].replay()
            taken += count
            if look and tolerance > 0 and bool((residuals <= tolerance).all()):
                break
        while len(self._graphs) > KEPT:
            _wait()
            self._graphs.popitem(last=False)
        return moving, residuals, taken

    def _load(self, phase: Phase, load: Callable[[Memory], dict[str, Any]]) -> dict[str, Any]:
        moving = load(self._memory)
        first = dict(moving)
        warm = missing(phase.warm, first)
        run(warm, first)
        handed = {name: self._memory.hold(name, first[name]) for _, _, results in warm for name in results}
        return {**moving, **handed}

    def _captured(self, work: Callable[[], None]) -> Graph:
        beside = next(iter(self._graphs.values()), None)
        try:
            return self.capture(work, beside)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise EpgraphError(
                f"sweeps cannot be captured as a CUDA graph: {str(error).splitlines()[0]}",
                "an edge kind that waits for the device cannot be; compile with cuda_graphs=False",
            ) from error

    def _drop(self) -> None:
        if self._graphs:
            _wait()
            self._graphs.clear()


def _chunks(steps: int, *, tolerated: bool) -> list[tuple[int, bool]]:
    """Sweeps of each graph, and whether it ends with the residual, as the last one always does."""
    size = SWEEPS_BETWEEN_LOOKS if tolerated else CHUNK
    whole = (steps - 1) // size
    return [*[(size, tolerated)] * whole, (steps - whole * size, True)]


def _work(
    phase: Phase,
    static: dict[str, Any],
    states: Sequence[str],
    count: int,
    residuals: Tensor | None,
    pair: bool,
) -> Callable[[], None]:
    """Return the work of one graph: sweeps from static buffers to static buffers."""

    def work() -> None:
        moving = dict(static)
        for left in reversed(range(count)):
            if left == 0 and residuals is not None:
                residuals.copy_(run_with_residual(phase.sweep, moving, states, pair=pair))
            else:
                run(phase.sweep, moving)
        for name, place in static.items():
            # A value that a pass updates in place is there already.
            if moving[name] is not place:
                place.copy_(moving[name])

    return work


def _form(values: dict[str, Any]) -> tuple[Any, ...]:
    """Shapes, strides and numbers on which a graph depends."""
    return tuple(
        (name, *((v.shape, v.stride(), v.dtype) if isinstance(v, Tensor) else (v,))) for name, v in values.items()
    )


def _precision() -> tuple[Any, ...]:
    """Settings of torch that choose kernels; a graph keeps the kernels of its capture."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    return (
        matmul.fp32_precision,
        cudnn.conv.fp32_precision,  # type: ignore[attr-defined]
        cudnn.enabled,
        cudnn.benchmark,
        cudnn.deterministic,
        torch.are_deterministic_algorithms_enabled(),
    )


def _wait() -> None:
    """Wait for running graphs before they are freed."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()

"""CUDA graphs: chunks of sweeps, captured once and replayed with no word from the host in between.

A graph reads and writes the addresses that it was captured with. Everything that a sweep takes is therefore copied into
memory that stays where it is (``Static``): parameters, what is computed once per batch, targets and states. Numbers of
Python (β, ω) are part of the graph, so that each of their values has a graph of its own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Protocol

import torch
from torch import Tensor

from epgraph.compiler.program import CompiledProgram
from epgraph.compiler.sweep import SWEEPS_BETWEEN_LOOKS, run, run_with_residual
from epgraph.errors import EpgraphError

CHUNK = 10
"""Sweeps in one graph where no tolerance asks for a look at the residual: a launch then costs next to nothing."""

KEPT = 12
"""Graphs that are kept: free and paired phase, chunk and remainder, of three sizes of batch."""


class Memory:
    """Memory of one relaxation: new each time."""

    def empty(self, name: str, shape: Sequence[int], like: Tensor, layout: torch.memory_format) -> Tensor:
        """Memory for the value ``name``, with the dtype and the device of ``like``."""
        return torch.empty(tuple(shape), dtype=like.dtype, device=like.device, memory_format=layout)

    def hold(self, name: str, value: Tensor) -> Tensor:
        """Keep what a sweep only reads."""
        return value


class Static(Memory):
    """The same memory whenever a name is asked for. Small batches, and a pair's first half, use the start of it.

    ``forget`` is called before memory moves: graphs that use it must not be replayed any more.
    """

    def __init__(self, forget: Callable[[], None]) -> None:
        self._forget = forget
        self._flat: dict[tuple[str, torch.dtype], Tensor] = {}

    def empty(self, name: str, shape: Sequence[int], like: Tensor, layout: torch.memory_format) -> Tensor:
        """Memory for the value ``name``, uninitialised where it is new."""
        form = torch.empty(tuple(shape), dtype=like.dtype, device="meta", memory_format=layout)
        return self._place(name, form, like.device)

    def hold(self, name: str, value: Tensor) -> Tensor:
        """Copy of a value, always at the same address."""
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
        """Do the work again, on the same memory."""


Capture = Callable[[Callable[[], None], Graph | None], Graph]
"""Captures work; may share the working memory of another graph, which never runs at the same time."""


class CudaGraph:
    """Work captured as a CUDA graph, after a run that lets libraries choose kernels and reserve what they need."""

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
            # What the first run needed is given back first, or it would be reserved twice (``graph`` sees to it).
            # Threads that pin memory for a data loader may go on meanwhile.
            with torch.cuda.graph(self.graph, pool=pool, stream=side, capture_error_mode="thread_local"):
                work()

    def replay(self) -> None:
        """Launch the graph on the current stream."""
        with torch.cuda.device(self.device):
            self.graph.replay()


def capture_for(device: torch.device) -> Capture | None:
    """How work is captured on a device; None where there are no graphs."""
    if device.type != "cuda":
        return None
    return lambda work, beside: CudaGraph(work, beside, device)


class Replay:
    """Sweeps of one set of programs as replayed graphs.

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
        """Give all graphs and all memory back."""
        self._drop()
        self._memory = Static(self._drop)

    def __deepcopy__(self, memo: dict[int, Any]) -> Replay:
        # A graph belongs to the memory that it was captured with, and that is not copied.
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

        ``load`` puts what the sweeps start from into a memory; ``states`` are the names of those whose change is the
        residual, looked at every ``SWEEPS_BETWEEN_LOOKS`` sweeps where there is a tolerance. Returned are all values
        after the last sweep, the residuals (batch,), and the number of sweeps; the next run overwrites all of it.
        """
        chunks = _chunks(steps, tolerated=tolerance > 0)
        moving = self._load(program, load)
        like = moving[states[0]]
        rows = len(like) // (2 if pair else 1)
        wide = torch.empty(0, dtype=torch.promote_types(like.dtype, torch.float32), device=like.device)
        residuals = self._memory.empty("residuals", (rows,), wide, torch.contiguous_format)
        form = _form(moving)
        keys = [(program.program.key, pair, chunk, form, _precision()) for chunk in chunks]
        captured = False
        for key, (count, look) in zip(keys, chunks, strict=True):
            if key not in self._graphs:
                work = _work(program, moving, states, count, residuals if look else None, pair)
                self._graphs[key] = self._captured(work)
                captured = True
            self._graphs.move_to_end(key)
        if captured:
            # Capturing took sweeps to warm up.
            moving = self._load(program, load)
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

    def _load(self, program: CompiledProgram, load: Callable[[Memory], dict[str, Any]]) -> dict[str, Any]:
        moving = load(self._memory)
        first = dict(moving)
        run(program.warm, first)
        handed = {name: self._memory.hold(name, first[name]) for _, _, results in program.warm for name in results}
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
    """Sweeps in each graph, and whether it computes the residual at its end: the last one always does."""
    size = SWEEPS_BETWEEN_LOOKS if tolerated else CHUNK
    whole = (steps - 1) // size
    return [*[(size, tolerated)] * whole, (steps - whole * size, True)]


def _work(
    program: CompiledProgram,
    static: dict[str, Any],
    states: Sequence[str],
    count: int,
    residuals: Tensor | None,
    pair: bool,
) -> Callable[[], None]:
    """Sweeps from static memory to static memory."""

    def work() -> None:
        moving = dict(static)
        for left in reversed(range(count)):
            if left == 0 and residuals is not None:
                residuals.copy_(run_with_residual(program.sweep, moving, states, pair=pair))
            else:
                run(program.sweep, moving)
        for name, place in static.items():
            # What a rewrite updates in place is there already.
            if moving[name] is not place:
                place.copy_(moving[name])

    return work


def _form(values: dict[str, Any]) -> tuple[Any, ...]:
    """What a graph depends on besides the contents of memory."""
    return tuple(
        (name, *((v.shape, v.stride(), v.dtype) if isinstance(v, Tensor) else (v,))) for name, v in values.items()
    )


def _precision() -> tuple[Any, ...]:
    """Settings of torch that choose kernels: a graph keeps those that it was captured with."""
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
    """Wait for graphs that still run, before they are let go."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()

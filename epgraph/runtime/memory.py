"""Running out of memory: said in terms of the batch, with the size that would fit."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from epgraph.errors import EpgraphError
from epgraph.graph import NetworkGraph
from epgraph.resources import parameter_bytes, state_bytes

Method = TypeVar("Method", bound=Callable[..., Any])

SPARE = 0.2
"""Part of the free memory that an estimate leaves to what it does not see: workspaces, fragments, captured graphs."""

SIGNS = ("DefaultCPUAllocator", "not enough memory", "out of memory")
"""What torch writes into a RuntimeError that means that memory ran out."""


def within_memory(few: Callable[..., object]) -> Callable[[Method], Method]:
    """Decorate a method (engine, x, …) that takes a batch x: where memory runs out, say which batch would fit.

    The estimate extrapolates the live bytes of ``few(method, engine, x[:n], …)`` for one and for two examples, which
    does the same on so few with fewer sweeps. It is taken where nothing is kept from earlier batches.
    """

    def decorate(method: Method) -> Method:
        @wraps(method)
        def guarded(engine: Any, *arguments: Any, **options: Any) -> Any:
            try:
                return method(engine, *arguments, **options)
            except (MemoryError, RuntimeError) as error:
                if not is_shortage(error):
                    raise
            # Outside the handler, whose traceback would keep alive all that the method had asked for.
            x, *others = arguments or [options.pop("x")]
            rows, device = len(x), engine.device
            problem = f"out of memory on {device} with a batch of {rows}"

            def probe(count: int) -> None:
                few(method, engine, x[:count], *others, **options)

            fits, basis = _fits(rows, device, probe, engine.executor.programs.uncaptured) if rows > 1 else (0, "")
            if fits < 1:
                raise EpgraphError(problem, "not even one example fits: use a smaller network or another device")
            raise EpgraphError(
                f"{problem}; a batch of {fits} should fit: {basis}", f"set training.batch_size to {fits}"
            )

        return cast(Method, guarded)

    return decorate


def refuse_too_large(
    graph: NetworkGraph,
    device: torch.device | str | None,
    dtype: torch.dtype | None,
    *,
    copies: int = 1,
    batch: int = 0,
) -> None:
    """Refuse a network that cannot be held, before anything is allocated for it.

    Asking the system would not tell: Linux grants memory that it does not have, and kills the process that uses it.

    Parameters
    ----------
    copies
        Numbers that are kept for each parameter: itself, its gradient, its momentum.
    batch
        Examples in a batch, of which every state is held twice, for the two nudged phases.

    Raises
    ------
    EpgraphError
        With the sizes, where parameters and states take more than the memory that is free.
    """
    dtype = dtype or torch.get_default_dtype()
    device = torch.device(device or torch.get_default_device())
    needed = parameter_bytes(graph, dtype.itemsize, copies) + state_bytes(graph, dtype.itemsize, batch)
    room = _room(device)
    if needed <= room:
        return
    parameters = graph.parameters() + graph.frozen()
    units = sum(state.units for state in graph.states.values())
    states = f" and {units:,} units in a batch of {batch}" if batch else ""
    raise EpgraphError(
        f"the network is too large for {device}: {parameters:,} parameters{states} take at least "
        f"{needed / 2**30:,.3g} GiB in {str(dtype).removeprefix('torch.')}, and {room / 2**30:,.3g} GiB are free",
        "use fewer channels" + (" or a smaller batch" if batch else ""),
    )


def _fits(
    rows: int, device: torch.device, probe: Callable[[int], object], plain: Callable[[], AbstractContextManager[None]]
) -> tuple[int, str]:
    """Batch that should fit, and what that is estimated from; 0 where not even two examples do."""
    try:
        with plain():
            one, two, room = _peak(probe, 1), _peak(probe, 2), _room(device)
    except (MemoryError, RuntimeError) as error:
        if not is_shortage(error):
            raise
        return 0, ""
    each = max(1, two - one)
    fits = min(rows - 1, int(((1 - SPARE) * room - (one - each)) / each))
    return fits, (
        f"an example takes {each / 2**20:.2g} MiB (measured on one and two of them), {room / 2**30:.2g} GiB are free, "
        "and a fifth of that is left for workspaces"
    )


def is_shortage(error: BaseException) -> bool:
    """Whether an exception means that memory ran out."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(sign in str(error) for sign in SIGNS)


class Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of the tensors that are made meanwhile and alive at once: ``peak`` is their largest sum."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count what it made."""
        known = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        result = function(*args, **(kwargs or {}))
        for made in tree_leaves(result):
            if isinstance(made, Tensor) and made.device.type != "meta":
                storage = made.untyped_storage()
                if storage._cdata not in known | self._alive:
                    self._alive.add(storage._cdata)
                    self.now += storage.nbytes()
                    weakref.finalize(storage, self._freed, storage._cdata, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return result

    def _freed(self, storage: int, size: int) -> None:
        self._alive.discard(storage)
        self.now -= size


def _peak(probe: Callable[[int], object], rows: int) -> int:
    with Live() as live:
        probe(rows)
    peak: int = live.peak
    return peak


def _room(device: torch.device) -> int:
    """Bytes that this process could still ask for."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return int(torch.cuda.mem_get_info(device)[0])
    system = Path("/proc/meminfo")
    if system.is_file():
        line = next(line for line in system.read_text().splitlines() if line.startswith("MemAvailable"))
        return int(line.split()[1]) * 1024
    # Elsewhere: half of the machine.
    return int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)

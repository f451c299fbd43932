"""Processes that train together: what a training needs of torch.distributed, and nothing for a single process."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from epgraph.errors import EpgraphError
from epgraph.graph import NetworkGraph
from epgraph.learning_rules import ESTIMATORS
from epgraph.runs.launch import Launch
from epgraph.runs.stop import Stopped
from epgraph.runtime.arguments import chosen_device

TIMEOUT = timedelta(minutes=30)
"""How long a process waits for the others; loading data comes between."""

T = TypeVar("T")


class Lost(EpgraphError):  # noqa: N818 - another process is, and not this one
    """Another process ended without a word, or did not answer in time."""


class Ranks:
    """The processes of a training, seen from one of them; by default it is alone.

    All of them call the same operations in the same order. Every operation but ``average`` begins with ``agree``, which
    also tells whether a process has failed. So a failure reaches all at their next operation, whichever that is.

    Attributes
    ----------
    rank, size
        Number of this process, and how many there are.
    local_size
        How many of them are on this machine.
    """

    def __init__(self, launch: Launch | None = None) -> None:
        here = launch or Launch()
        self.rank, self.size = here.rank, here.size
        self._local, self.local_size = here.local, here.local_size
        self._control: Any = None
        self._gradients: Any = None
        if self.size > 1:
            with _answered():
                self._control = self._gradients = dist.new_group(backend="gloo", timeout=TIMEOUT)

    @property
    def first(self) -> bool:
        """Whether this process writes the run folder, and talks to the user."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Which of ``count`` examples are this process's: a row of them, none where there are more processes."""
        return slice(*(-(-count * rank // self.size) for rank in (self.rank, self.rank + 1)))

    def agree(self, *numbers: int) -> list[int]:
        """Return the largest of each number over all processes.

        Raises
        ------
        EpgraphError
            If another process has failed: with its message.
        """
        return list(numbers) if self.size == 1 else self._agree(0, *numbers)

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes, in their order."""
        if self.size == 1:
            return [value]
        self.agree()
        return self._all(value)

    def once(self, work: Callable[[], T]) -> T:
        """Let the first process do a work, and return its result everywhere."""
        if self.size == 1:
            return work()
        result = work() if self.first else None
        # Packed before the others wait for it, so that they hear of a failure.
        packed = [pickle.dumps(result)]
        self.agree()
        with _answered():
            dist.broadcast_object_list(packed, src=0, group=self._control)
        return result if self.first else pickle.loads(packed[0])  # type: ignore[return-value]

    def in_turn(self, work: Callable[[], T]) -> T:
        """Do a work on every process; the first of a machine goes ahead and leaves its files to the others."""
        result = work() if self._local == 0 else None
        self.agree()
        return work() if result is None else result

    def joined(self, states: dict[str, Tensor] | None) -> dict[str, Tensor] | None:
        """Put the shares of a batch's states together, for the first process; the others get None."""
        if self.size == 1:
            return states
        self.agree()
        parts: list[Any] | None = [None] * self.size if self.first else None
        own = None if states is None else {name: s.cpu() for name, s in states.items()}
        with _answered():
            dist.gather_object(own, parts, dst=0, group=self._control)
        shares = [part for part in parts or () if part is not None]
        return {name: torch.cat([share[name] for share in shares]) for name in shares[0]} if shares else None

    def average(self, parameters: Sequence[nn.Parameter], weight: float) -> None:
        """Replace gradients by their sum over all processes, each times the process's ``weight``.

        One reduction of a flat buffer a precision. What no process has a gradient of keeps None.
        """
        if self.size == 1:
            return
        for dtype in dict.fromkeys(p.dtype for p in parameters):
            group = [p for p in parameters if p.dtype == dtype]
            device = group[0].device
            present = torch.tensor([p.grad is not None for p in group], device=device, dtype=dtype)
            parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in group]
            flat = torch.cat([*(part.flatten() for part in parts), present])
            flat[: -len(group)] *= weight
            with _answered():
                dist.all_reduce(flat, group=self._gradients)
            pieces = torch.split(flat, [*(p.numel() for p in group), len(group)])
            for p, part, there in zip(group, pieces, pieces[-1].tolist(), strict=False):
                p.grad = part.view_as(p) if there else None

    def device(self, wanted: str | None, given: str | None) -> str:
        """Return the device of this process, and open the way between the devices.

        Parameters
        ----------
        wanted
            As for ``chosen_device``; of a GPU the number does not count, unless it was ``given`` for this start.
        """
        chosen = chosen_device(wanted)
        if self.size == 1:
            return chosen
        kind = torch.device(chosen).type
        if kind not in ("cpu", "cuda"):
            raise EpgraphError(f"several processes train on cpu or cuda, not on {kind}", "give --device cpu")
        if given and ":" in given:
            raise EpgraphError(
                f"several processes cannot all train on {given}", f"give --device {kind}: each has its own"
            )
        if kind == "cuda":
            count = torch.cuda.device_count()
            if self._local >= count:
                hint = f"start --nproc-per-node {count}, or give --device cpu"
                raise EpgraphError(
                    f"process {self._local} of this machine has no GPU of its own: there are {count}", hint
                )
            torch.cuda.set_device(self._local)
            chosen = f"cuda:{self._local}"
        if len(set(self.gather(kind))) > 1:
            raise EpgraphError("some processes have a GPU and some have none", "give --device cpu")
        if kind == "cuda":
            with _answered():
                self._gradients = dist.new_group(backend="nccl", timeout=TIMEOUT)
        return chosen

    def fail(self, error: BaseException) -> None:
        """Tell the others that this process ends with an error; they raise it too."""
        if self.size == 1 or isinstance(error, Lost):
            return
        told = error
        if not isinstance(error, EpgraphError) or not _portable(error):
            text = str(error) if isinstance(error, EpgraphError) else f"{type(error).__name__}: {error}"
            told = EpgraphError(f"process {self.rank} failed: {text}")
        with suppress(Exception):  # they may have failed as well
            self._agree(1)
            self._all(told)

    def leave(self) -> None:
        """Close what the others are reached by."""
        with suppress(Exception):
            for group in {self._control, self._gradients} - {None}:
                dist.destroy_process_group(group)

    def _agree(self, failed: int, *numbers: int) -> list[int]:
        told = torch.zeros(1 + MOST, dtype=torch.int64)
        told[: 1 + len(numbers)] = torch.tensor([failed, *numbers])
        with _answered():
            dist.all_reduce(told, dist.ReduceOp.MAX, group=self._control)
        if int(told[0]) and not failed:
            raise next(error for error in self._all(None) if error is not None)
        return [int(n) for n in told[1 : 1 + len(numbers)]]

    def _all(self, value: Any) -> list[Any]:
        values: list[Any] = [None] * self.size
        with _answered():
            dist.all_gather_object(values, value, group=self._control)
        return values


ALONE = Ranks()
"""A process that trains by itself."""

MOST = 2
"""Numbers that ``agree`` takes at most: the length of its message is fixed, whoever calls it for what."""


@contextmanager
def together(launch: Launch) -> Iterator[Ranks]:
    """Join the other processes of a launch for the time of the context; one that fails takes all others along.

    Raises
    ------
    EpgraphError
        If they cannot be reached, or one of them fails.
    """
    own = not dist.is_initialized()
    if own:
        with _answered():
            store, rank, size = next(rendezvous("env://", launch.rank, launch.size, timeout=TIMEOUT))
            # torchrun may keep its store over a restart, and with it the addresses of processes that are gone.
            store = PrefixStore(f"start {launch.restarts}", store)
            dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=TIMEOUT)
    ranks = Ranks(launch)
    try:
        yield ranks
        ranks.agree()  # who has reached the end waits for the others
    except Stopped:  # all of them have
        raise
    except BaseException as error:
        ranks.fail(error)
        raise
    finally:
        ranks.leave()
        if own:
            with suppress(Exception):
                dist.destroy_process_group()


def refuse_divided(graph: NetworkGraph) -> None:
    """Refuse a network whose gradient of a batch is no mean over its parts.

    Raises
    ------
    EpgraphError
        If a state is normalized by statistics of the batch, or weights change within a batch.
    """
    learning = graph.architecture.learning
    normed = [state.name for state in graph.states.values() if state.norm is not None]
    if normed:
        raise EpgraphError(
            f"several processes cannot train a network with norm: batch (state '{normed[0]}'): each would normalize "
            "with the statistics of its own share of a batch",
            "leave out norm, or train with one process",
        )
    estimator = ESTIMATORS[learning.estimator]
    if estimator.whole_batch and not estimator.feedforward:
        raise EpgraphError(
            f"several processes cannot train with the estimator '{learning.estimator}', for which a batch must not be "
            "cut: weights change while it settles",
            "choose another estimator, or train with one process",
        )


@contextmanager
def _answered() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise Lost(
            f"another process of this training ended, or did not answer: {str(error).splitlines()[0][:200]}",
            "its own message says why; 'torchrun --max-restarts N' starts all again from the last checkpoint",
        ) from error


def _portable(error: BaseException) -> bool:
    try:
        pickle.dumps(error)
    except Exception:
        return False
    return True

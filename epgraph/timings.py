"""What ``epgraph tune`` has on record of networks on this machine. Reading it loads no torch."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from epgraph.errors import EpgraphError
from epgraph.files import read_bytes, untraced
from epgraph.lowering import Plan
from epgraph.version import __version__

MAX_BYTES = 2**20
"""Largest size of a record; usually it has a few thousand bytes."""

MOST_READ = 200
"""Records that are looked through, the newest first."""


def folder() -> Path:
    """Folder of the records: ``$XDG_CACHE_HOME/epgraph/backends``, by default below ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "epgraph" / "backends"


def processor() -> str:
    """Model of the processor."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def network_digest(plan: Plan) -> str:
    """Return what tells networks apart whose training iterations take different times.

    The learning rule counts, because another rule has other phases. Its strengths do not.
    """
    architecture = plan.graph.architecture.to_dict()
    rule = {k: value for k, value in architecture.pop("learning", {}).items() if k not in ("beta", "continual_rate")}
    for key in ("name", "data", "training"):
        architecture.pop(key, None)
    network = json.dumps([architecture, rule, plan.schedule.name], sort_keys=True)
    return hashlib.sha256(network.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Timing:
    """Measured times of one backend, in seconds.

    Attributes
    ----------
    iteration
        One training iteration at the architecture's own numbers of sweeps: the work once per batch, the free sweeps
        and the nudged sweeps. Of a learning rule with other phases it is a gradient, timed as a whole. Infinite if the
        backend cannot be used.
    once, sweep, pair_sweep
        Its parts: the work once per batch, one free sweep, one sweep of the pair of nudged phases. Of ``backprop``
        ``sweep`` is one forward pass, and the others are 0.
    first
        Start, until the first sweeps are done: emission, and compilation if the backend compiles.
    reason
        Why the backend cannot be used; empty if it can.
    """

    backend: str
    iteration: float = math.inf
    once: float = 0.0
    sweep: float = 0.0
    pair_sweep: float = 0.0
    first: float = 0.0
    reason: str = ""

    def seconds(self, batches: float) -> float:
        """Time of ``batches`` iterations with the start; if that is infinite, of one iteration without the start."""
        return self.iteration if math.isinf(batches) else self.first + batches * self.iteration

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for ``from_dict``, without infinities, which JSON does not have."""
        return {key: value for key, value in asdict(self).items() if value != math.inf}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Timing:
        """Read the values of ``to_dict``. Raises ValueError or TypeError for anything else."""
        words = ("backend", "reason")
        values: dict[str, Any] = {k: str(v) if k in words else float(v) for k, v in data.items()}
        return cls(**values)


@dataclass(frozen=True)
class Measured:
    """Times of the fastest backend that is on record for a network.

    Attributes
    ----------
    sweep, iteration
        Seconds of a free sweep, or forward pass, and of a training iteration.
    batch
        Examples in the batch that was measured.
    device, dtype, backend, date
        Where, in what precision, how and when it was measured.
    """

    sweep: float
    iteration: float
    batch: int
    device: str
    dtype: str
    backend: str
    date: str


def last_measured(plan: Plan) -> Measured | None:
    """Return the newest measurement of a network by this version of epgraph on this machine; None without one.

    A damaged record is no measurement here; what runs the network names it.
    """
    digest, cpu = network_digest(plan), processor()
    with untraced():  # ``--watch`` would count every record
        found = [one for path in _newest() if (one := _measured(path, digest, cpu)) is not None]
    return max(found, key=lambda one: one.date, default=None)


def _newest() -> list[Path]:
    try:
        paths = [(path.stat().st_mtime, path) for path in folder().glob("*.json")]
    except OSError:
        return []
    return [path for _, path in sorted(paths, reverse=True)[:MOST_READ]]


def _measured(path: Path, digest: str, cpu: str) -> Measured | None:
    try:
        data = json.loads(read_bytes(path, MAX_BYTES))
        if (data["network"], data["epgraph"]) != (digest, __version__):
            return None
        # A GPU has no threads on record. One of another machine is told apart by nothing that is known without torch.
        if data["threads"] and data["device"] != cpu:
            return None
        timings = [Timing.from_dict(timing) for timing in data["timings"]]
        best = min((t for t in timings if not t.reason), key=lambda t: t.iteration)
        words = {key: str(data[key]) for key in ("device", "dtype", "date")}
        return Measured(best.sweep, best.iteration, int(data["batch"]), backend=best.backend, **words)
    except (EpgraphError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None

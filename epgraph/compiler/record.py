"""Records of ``epgraph tune``: the fastest backend for a network on this machine, which ``auto`` uses."""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from epgraph.compiler.backend import BACKENDS
from epgraph.errors import EpgraphError
from epgraph.files import read_bytes
from epgraph.lowering import Plan
from epgraph.timings import MAX_BYTES, Timing, folder, network_digest, processor
from epgraph.version import __version__


def device_name(device: torch.device) -> str:
    """Name of the GPU, or model of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return processor()


def circumstances(plan: Plan, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Key of a record: the network, the machine and the versions."""
    return {
        "network": network_digest(plan),
        "device": device_name(device),
        "threads": torch.get_num_threads() if device.type == "cpu" else 0,
        "dtype": str(dtype).removeprefix("torch."),
        "torch": torch.__version__,
        "epgraph": __version__,
    }


@dataclass(frozen=True)
class Record:
    """Record of a network on this machine: the fastest backend, and the timings for a batch size."""

    backend: str
    batch: int
    timings: tuple[Timing, ...]


def read(plan: Plan, device: torch.device, dtype: torch.dtype) -> Record | None:
    """Return the record of a network, or None.

    Raises
    ------
    EpgraphError
        If there is a record that cannot be read.
    """
    path = _path(circumstances(plan, device, dtype))
    if not os.path.lexists(path):
        return None
    hint = "delete it; 'epgraph tune' makes a new one"
    content = read_bytes(path, MAX_BYTES, hint)
    try:
        data = json.loads(content)
        timings = tuple(Timing.from_dict(timing) for timing in data.get("timings", ()))
        return Record(BACKENDS[data["backend"]].name, int(data.get("batch", 0)), timings)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        # Ignoring it would silently run another backend than the one that was chosen.
        raise EpgraphError(f"{path}: the record of 'epgraph tune' is damaged", hint, "file") from None


def recorded(plan: Plan, device: torch.device, dtype: torch.dtype, batches: float = math.inf) -> str | None:
    """Name of the fastest recorded backend that is usable; None without one.

    ``batches`` is the number of iterations to come: the start of a backend counts once for all of them. By default the
    start does not count.

    Raises
    ------
    EpgraphError
        If there is a record that cannot be read.
    """
    found = read(plan, device, dtype)
    if found is None:
        return None
    names = [t.backend for t in sorted(found.timings, key=lambda t: t.seconds(batches)) if not t.reason]
    usable = (name for name in names or [found.backend] if name in BACKENDS)
    return next((name for name in usable if not BACKENDS[name].unusable(plan, device, dtype)), None)


def record(plan: Plan, device: torch.device, dtype: torch.dtype, backend: str, measured: dict[str, Any]) -> Path:
    """Write the record of a choice and its measurement. Raises OSError if the folder cannot be written."""
    about = circumstances(plan, device, dtype)
    path = _path(about)
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, {**about, "backend": backend, **measured})
    return path


def add(path: Path, more: dict[str, Any]) -> None:
    """Add to a record that was just written. Raises OSError if it cannot be written."""
    _write(path, {**json.loads(path.read_text(encoding="utf-8")), **more})


def _write(path: Path, content: dict[str, Any]) -> None:
    # Written to a partial file first: a run that reads at the same time never sees half a record.
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, path)


def _path(about: dict[str, Any]) -> Path:
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:24]
    return folder() / f"{key}.json"

"""Recorded choices: which backend measured fastest for a network on this machine; ``auto`` takes it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from pathlib import Path
from typing import Any

import torch

from epgraph.emit.backend import BACKENDS
from epgraph.errors import EpgraphError
from epgraph.files import read_bytes
from epgraph.passes import Plan
from epgraph.version import __version__

MAX_BYTES = 2**20
"""What a record may have at most; it takes a few thousand bytes."""


def folder() -> Path:
    """Where choices are kept: ``$XDG_CACHE_HOME/epgraph/backends``, by default below ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "epgraph" / "backends"


def device_name(device: torch.device) -> str:
    """Name of the GPU, or model of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def circumstances(plan: Plan, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """What a choice depends on: the network, and what runs it. Another of any of these is another choice."""
    architecture = plan.graph.architecture.to_dict()
    for key in ("name", "training", "learning"):
        architecture.pop(key, None)
    network = json.dumps([architecture, plan.schedule.name], sort_keys=True)
    return {
        "network": hashlib.sha256(network.encode()).hexdigest()[:16],
        "device": device_name(device),
        "threads": torch.get_num_threads() if device.type == "cpu" else 0,
        "dtype": str(dtype).removeprefix("torch."),
        "torch": torch.__version__,
        "epgraph": __version__,
    }


def recorded(plan: Plan, device: torch.device, dtype: torch.dtype) -> str | None:
    """Name of the backend that was measured to be the fastest; None where nothing, or nothing usable, is on record.

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
        backend = BACKENDS[json.loads(content)["backend"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        # Going on would run another backend than the one that was chosen, and nobody would know.
        raise EpgraphError(f"{path}: the record of 'epgraph tune' is damaged", hint, "file") from None
    return None if backend.unusable(plan, device, dtype) else backend.name


def record(plan: Plan, device: torch.device, dtype: torch.dtype, backend: str, measured: dict[str, Any]) -> Path:
    """Keep a choice, with the measurement that led to it. ``OSError`` where the folder cannot be written."""
    about = circumstances(plan, device, dtype)
    path = _path(about)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written aside, so that a run that reads meanwhile never sees half a record.
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps({**about, "backend": backend, **measured}, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, path)
    return path


def _path(about: dict[str, Any]) -> Path:
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:24]
    return folder() / f"{key}.json"

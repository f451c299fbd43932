"""What the benchmarks share: clocks, spreads, counts of calls, peak memory of a fresh process."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

Action = Callable[[], Any]


def seconds(action: Action, device: torch.device) -> tuple[float, float]:
    """Time by the clock, and time of all threads on the processor, which other programs disturb less."""
    synchronize(device)
    started, worked = time.perf_counter(), time.process_time()
    action()
    synchronize(device)
    return time.perf_counter() - started, time.process_time() - worked


def synchronize(device: torch.device) -> None:
    """Wait until the device has done everything."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rounds(actions: Mapping[str, Action], repeats: int, device: torch.device) -> dict[str, list[float]]:
    """Time every action once a round, in turn, after a warm-up: what disturbs one disturbs its neighbours."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for repeat in range(repeats + 1):
        for name, action in actions.items():
            taken, _ = seconds(action, device)
            if repeat:
                times[name].append(taken)
    return times


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {"median": median(values), "min": min(values), "max": max(values)}


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> dict[str, float]:
    """Over the pairs that ran one after the other: what else the machine did weighs on both alike."""
    return spread([a / b for a, b in zip(theirs, ours, strict=True)])


def rounded(value: Any) -> Any:
    """Round to four significant digits, which is more than the spread leaves."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


class Ceiling:
    """A large matrix product in the run's precision: the rate that the device reaches on plain work."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.size = 8192 if device.type == "cuda" else 2048
        self.a, self.b = (torch.randn(self.size, self.size, device=device, dtype=dtype) for _ in range(2))
        self.out = torch.empty_like(self.a)

    @property
    def gflop(self) -> float:
        """Work of the product."""
        return 2e-9 * self.size**3

    def product(self) -> None:
        """Multiply, with TF32 where the convolutions have it."""
        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
        torch.mm(self.a, self.b, out=self.out)
        torch.backends.cuda.matmul.allow_tf32 = before


def calls(short: Action, long: Action, more: int, device: torch.device) -> dict[str, float]:
    """Calls that each of the ``more`` sweeps costs which ``long`` takes beyond ``short``.

    ``operations`` are those that Python starts (calls inside another operation are not counted); on a GPU
    ``kernels`` are what it runs and ``launches`` how often the host asks for something: a CUDA graph is one.
    """
    found: dict[str, float] = {}
    for sign, action in ((-1, short), (1, long)):
        action()
        synchronize(device)
        activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
        with profile(activities=activities) as watched:
            action()
            synchronize(device)
        events = watched.events() or []
        counts = {"operations": sum(e.cpu_parent is None and "::" in e.name for e in events)}
        if device.type == "cuda":
            on_device = [e for e in events if e.device_type == torch.autograd.DeviceType.CUDA]
            counts["kernels"] = sum(not e.name.startswith(("Memcpy", "Memset")) for e in on_device)
            counts["launches"] = sum(e.name.startswith(("cudaLaunch", "cuLaunch", "cudaGraphLaunch")) for e in events)
        for name, count in counts.items():
            found[name] = found.get(name, 0.0) + sign * count / more
    return found


def in_child(*options: str) -> dict[str, Any]:
    """Run this command again with more options in a fresh process, and return the JSON that it prints."""
    child = subprocess.run([sys.executable, *sys.argv, *options], stdout=subprocess.PIPE, text=True, check=False)
    if child.returncode:
        raise SystemExit(child.returncode)
    found: dict[str, Any] = json.loads(child.stdout)
    return found

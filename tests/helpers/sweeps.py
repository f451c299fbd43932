"""Sweeps of tiny networks on real digits: what they come to, and processes that run them and are killed."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import epgraph as ep
from tests.helpers.runs import NET, lines

BRANCHED = NET.replace("dynamics:", "  - {from: h1, to: y, dense: {}}\ndynamics:")
SWEEP = BRANCHED + "sweep: {variants: {whole: {}, less: {without: h1->y}}, seeds: 0..1}\n"


def sweep(out: Path, source: Any = SWEEP, **options: Any) -> ep.SweepResult:
    return ep.sweep(source, "digits", out=out, **{"limit": 170, "threads": 1, "workers": 0, "warn": print} | options)


def table(out: Path) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """Metrics of every epoch of every trial, but for what is measured on the machine."""
    found = {}
    for folder in sorted((out / "trials").iterdir()):
        label, _, seed = folder.name[4:].rpartition("-seed-")
        found[label, int(seed)] = lines(folder)
    return found


def starts(out: Path) -> list[int]:
    """How often each trial was begun or gone on with."""
    records = sorted((out / "trials").glob("*/run.json"))
    return [len(json.loads(record.read_text())["history"]) for record in records]


def waited(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def killed(process: int, seconds: float) -> bool:
    """Kill a process after some time; return whether it was still there."""
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    return waited(process) == -signal.SIGKILL

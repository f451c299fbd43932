"""Kill trainings at random instants, go on with each, and compare the end with a run that was never stopped.

    python -m tests.crash 50          # kills; ``make crash``

Every process is a fork of this one, which has torch loaded, so that an instant is likely to fall into the training and
not into the loading of torch. SIGKILL leaves a process no chance to tidy up.
"""

from __future__ import annotations

import math
import os
import random
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from tests.helpers.processes import forked
from tests.helpers.runs import NET, assert_same_runs, train

EPOCHS = 12
CHECKPOINT_MINUTES = 5e-4
LONGEST_SECONDS = 0.5
"""Longest time between the moment that a process is waited for and its end: a run takes several of them."""

EARLY = 0.2
"""Part of the processes that are killed from their start on; the others once they have written a checkpoint."""


def main(kills: int, seed: int) -> None:
    """Kill ``kills`` processes and compare every run that came to its end."""
    with tempfile.TemporaryDirectory() as folder:
        runs, places = crash(Path(folder), kills, seed)
    print(f"{kills} kills (seed {seed}), {places} of them in a training under way; {runs} runs ended equal to the bit")


def crash(folder: Path, kills: int, seed: int) -> tuple[int, int]:
    """Return how many runs came to their end, and how many kills fell between two checkpoints of one."""
    net = folder / "net.yaml"
    net.write_text(NET.replace("nudged_steps: 5}", "nudged_steps: 5, noise: 0.02}"))
    whole = folder / "whole"
    # In this process, so that its forks have everything loaded.
    assert _train(net, whole) == 0
    generator, left, runs, under_way = random.Random(seed), kills, 0, 0
    while left:
        out = folder / f"run{runs}"
        while True:
            process = forked(partial(_train, net, out))
            early = generator.random() < EARLY
            if left and _killed(process, out, generator.uniform(0.0, LONGEST_SECONDS), early):
                left -= 1
                under_way += not early
            elif (code := _wait(process)) == 0:
                break
            else:
                raise AssertionError(f"a run that went on ended with {code}")
        assert_same_runs(whole, out)
        runs += 1
    return runs, under_way


def _train(net: Path, out: Path) -> int:
    settings = (f"training.epochs={EPOCHS}", f"training.checkpoint_minutes={CHECKPOINT_MINUTES}")
    options = [part for setting in settings for part in ("--set", setting)]
    return train(net, out, "--workers", "0", "--threads", "1", "--no-pictures", "--resume", *options)


def _killed(process: int, out: Path, seconds: float, early: bool) -> bool:
    """Kill a process some seconds after its start, or after its next checkpoint; return whether it was still there."""
    before = _written(out)
    deadline = time.monotonic() + seconds if early else math.inf
    while time.monotonic() < deadline:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            _ended[process] = os.waitstatus_to_exitcode(status)
            return False
        if deadline == math.inf and _written(out) != before:
            deadline = time.monotonic() + seconds
        time.sleep(0.001)
    os.kill(process, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if code != -signal.SIGKILL:
        _ended[process] = code
    return code == -signal.SIGKILL


def _written(out: Path) -> int:
    try:
        return (out / "last.pt").stat().st_mtime_ns
    except FileNotFoundError:
        return 0


_ended: dict[int, int] = {}


def _wait(process: int) -> int:
    return _ended.pop(process) if process in _ended else os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50, int(sys.argv[2]) if len(sys.argv) > 2 else 0)

"""How much memory this process has held at most."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")
"""Where Linux says it; elsewhere there is no such file."""


def peak_resident(status: Path = STATUS) -> int:
    """Return the largest resident size of this process since its start, in bytes."""
    if status.is_file():
        # getrusage counts what the parent process held when it started this one.
        marks = [line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:")]
        if marks:
            return int(marks[0].split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

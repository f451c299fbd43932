"""What a result must say about where it was measured."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch


def circumstances(device: torch.device) -> dict[str, Any]:
    """Command, hardware, versions, load and date, ready for JSON."""
    return {
        "command": shlex.join(["python", *sys.argv]),
        "device": device_name(device),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        # Other work on the machine makes every timing here slower than it need be.
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


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

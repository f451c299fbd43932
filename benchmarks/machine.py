"""What a result must say about where it was measured."""

from __future__ import annotations

import os
import shlex
import sys
from datetime import UTC, datetime
from typing import Any

import torch

from epgraph.compiler.record import device_name


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

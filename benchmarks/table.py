"""Print the results of ``iteration.py`` as one table.

python benchmarks/table.py benchmarks/results/iteration-cpu-*.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HEADS = ("network", "batch", "dtype", "backend", "sweep ms", "iteration s", "images/s", "of mm", "calls", "MiB")
PEER = ("times faster (least–most)", "official of mm", "official MiB")


def row(found: dict[str, Any]) -> list[str]:
    """Cells of one result; those of the official code are empty where it did not run."""
    calls = found.get("calls_per_sweep", {})
    cells = [
        found["file"].removesuffix(".yaml"),
        str(found["batch"]),
        found["dtype"],
        found["backend"],
        f"{1e3 * found['sweep_seconds']['median']:.1f}",
        f"{found['iteration_seconds']['median']:.3f}",
        f"{found['images_per_second']:.1f}",
        f"{found['sweep_fraction_of_matrix_product']:.2f}",
        f"{calls.get('launches', calls.get('operations', 0)):.0f}",
        f"{found['peak_memory']['mib']:.0f}",
    ]
    peer = found.get("peer")
    if not peer:
        return [*cells, *[""] * len(PEER)]
    faster = found["times_faster_iteration"]
    return [
        *cells,
        f"{faster['median']:.2f} ({faster['min']:.2f}–{faster['max']:.2f})",
        f"{peer['sweep_fraction_of_matrix_product']:.2f}",
        f"{peer['peak_memory']['mib']:.0f}",
    ]


def main() -> None:
    rows = [[*HEADS, *PEER], *(row(json.loads(Path(name).read_text())) for name in sys.argv[1:])]
    widths = [max(len(line[i]) for line in rows) for i in range(len(rows[0]))]
    for line in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


if __name__ == "__main__":
    main()

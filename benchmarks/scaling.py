"""Measure what a training iteration costs as networks get deeper and wider, batches larger and sweeps more.

    python benchmarks/scaling.py [--device cuda] [--json FILE]

The network is a chain of convolutions with a skip over every second state, on maps of 8 × 8; one number changes at a
time. Memory is that of a fresh process for each row. Prints a table and writes JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from machine import circumstances
from timing import Ceiling, calls, in_child, peak_resident, rounded, rounds, spread, synchronize

import epgraph as ep
from epgraph.language import Architecture

BASE = {"depth": 8, "width": 32, "batch": 32, "sweeps": 20}
"""What each number is while another changes; ``sweeps`` are the free ones, and half as many nudged ones."""

ROWS: dict[str, tuple[int, ...]] = {
    "depth": (4, 8, 16, 32, 64),
    "width": (8, 16, 32, 64, 128),
    "batch": (1, 8, 32, 128),
    "sweeps": (20, 100, 500),
}

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

SWEEPS = 10
"""Sweeps between two readings of the clock."""


def chain(depth: int, width: int) -> Architecture:
    """Return a chain of ``depth`` states of ``width`` channels, and the output, with a skip over every second state."""
    names = ["x", *(f"h{i}" for i in range(1, depth))]
    conv = {"kernel": 3, "padding": 1}
    edges: list[dict[str, Any]] = [{"from": a, "to": b, "conv": conv} for a, b in pairwise(names)]
    edges += [{"from": names[i], "to": names[i + 2], "skip": {}} for i in range(1, depth - 2, 2)]
    edges.append({"from": names[-1], "to": "y", "dense": {}})
    return Architecture.model_validate(
        {
            "epgraph": 2,
            "name": f"chain of {depth} states",
            "input": {"name": "x", "shape": [3, 8, 8]},
            "output": {"name": "y", "classes": 10},
            "defaults": {"activation": "relu1", "gain": 0.5},
            "states": {name: {"channels": width} for name in names[1:]},
            "edges": edges,
            "dynamics": {"schedule": "even_odd"},
        }
    )


class Subject:
    """One row: a network, a batch, and numbers of sweeps."""

    def __init__(self, row: dict[str, int], arguments: argparse.Namespace) -> None:
        self.row = row
        self.engine = ep.compile(
            chain(row["depth"], row["width"]),
            device=arguments.device,
            dtype=DTYPES[arguments.dtype],
            backend=arguments.backend,
        )
        engine = self.engine
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn((row["batch"], *engine.graph.input.shape), generator=generator)
        self.x = self.x.to(engine.device, engine.dtype)
        self.y = torch.randint(10, (row["batch"],), generator=generator).to(engine.device)

    def sweeps(self, count: int = SWEEPS) -> None:
        """Take free sweeps from zeros."""
        self.engine.relax(self.x, steps=count, tolerance=0)

    def iteration(self) -> None:
        """Take one training iteration without data loading and optimiser."""
        self.engine.zero_grad(set_to_none=True)
        sweeps = self.row["sweeps"]
        self.engine.backward(self.x, self.y, free_steps=sweeps, nudged_steps=sweeps // 2, tolerance=0)


def rows() -> list[tuple[str, dict[str, int]]]:
    """Every row under the number that changes in it."""
    return [(name, {**BASE, name: value}) for name, values in ROWS.items() for value in values]


def measure(row: dict[str, int], ceiling: Ceiling, arguments: argparse.Namespace) -> dict[str, Any]:
    """Time one row, and take one iteration of it in a fresh process for its memory."""
    subject = Subject(row, arguments)
    engine, device = subject.engine, subject.engine.device
    few, many = (lambda: subject.sweeps(1)), (lambda: subject.sweeps(1 + SWEEPS))
    times = rounds(
        {"few": few, "many": many, "iteration": subject.iteration, "product": ceiling.product},
        arguments.repeats,
        device,
    )
    sweep = (min(times["many"]) - min(times["few"])) / SWEEPS
    gflop = 2e-9 * row["batch"] * engine.plan.macs_per_sweep()
    best = ceiling.gflop / min(times["product"])
    return {
        **row,
        "edges": len(engine.graph.edges),
        "backend": engine.machine.backend.name,
        "sweep_seconds": sweep,
        "sweep_seconds_per_state": sweep / row["depth"],
        "iteration_seconds": spread(times["iteration"]),
        "images_per_second": row["batch"] / min(times["iteration"]),
        "sweep_gflop": gflop,
        "sweep_gflops": gflop / sweep,
        "sweep_fraction_of_matrix_product": gflop / sweep / best,
        "calls_per_sweep": calls(few, many, SWEEPS, device),
        "peak_memory_mib": in_child("--memory-of", json.dumps(row))["mib"],
    }


def memory(row: dict[str, int], arguments: argparse.Namespace) -> dict[str, float]:
    """Peak memory of one iteration beyond what the process needed before; on a GPU what was reserved."""
    before = peak_resident()
    subject = Subject(row, arguments)
    subject.iteration()
    synchronize(subject.engine.device)
    if subject.engine.device.type == "cuda":
        return {"mib": torch.cuda.max_memory_reserved(subject.engine.device) / 2**20}
    return {"mib": (peak_resident() - before) / 2**20}


def print_row(changed: str, row: dict[str, Any]) -> None:
    """Print one line of the table."""
    called = ", ".join(f"{count:.0f} {name}" for name, count in row["calls_per_sweep"].items())
    print(
        f"{changed:>7} {row[changed]:>4}  {row['backend']:<14}{1e3 * row['sweep_seconds']:9.2f} ms"
        f"{1e3 * row['sweep_seconds_per_state']:9.3f} ms{1e3 * row['iteration_seconds']['median']:10.1f} ms"
        f"{row['sweep_gflops']:9.1f}{row['sweep_fraction_of_matrix_product']:7.2f}{row['peak_memory_mib']:9.1f}"
        f"   {called}",
        flush=True,
    )


def main() -> int:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    if arguments.memory_of:
        print(json.dumps(memory(json.loads(arguments.memory_of), arguments)))
        return 0
    device = torch.device(arguments.device)
    ceiling = Ceiling(device, DTYPES[arguments.dtype])
    print(f"base: {', '.join(f'{k} {v}' for k, v in BASE.items())}")
    print(
        f"{'':14}{'backend':<14}{'sweep':>12}{'per state':>12}{'iteration':>13}"
        f"{'GFLOP/s':>9}{'of mm':>7}{'MiB':>9}   calls a sweep"
    )
    found: dict[str, list[Any]] = {}
    for changed, row in rows():
        measured = rounded(measure(row, ceiling, arguments))
        found.setdefault(changed, []).append(measured)
        print_row(changed, measured)
    if arguments.json:
        result = {**circumstances(device), "dtype": arguments.dtype, "repeats": arguments.repeats, "base": BASE}
        arguments.json.write_text(json.dumps({**result, "rows": found}, indent=1) + "\n")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1, …")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--backend", default="auto", help="how sweeps run (default auto)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch on the CPU (default 1)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds after the one that warms up (default 3)")
    parser.add_argument("--json", type=Path, help="file for the result")
    parser.add_argument("--memory-of", metavar="ROW", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ep.EpgraphError as error:
        sys.exit(f"error: {error}")

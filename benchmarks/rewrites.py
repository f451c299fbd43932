"""Measure what each rewrite of the emitted sweep is worth; print a table and write JSON.

    python benchmarks/rewrites.py examples/vgg5.yaml --batch 16 [--backend onednn] [--json FILE]

Every rewrite of the backend is left out in turn. All variants take their sweeps in turn, round after round, so that
what else the machine does weighs on all alike. Ratios above 1 are what the rewrite gains: the time without it by the
time with it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from machine import circumstances
from timing import rounded, rounds, spread

import epgraph as ep
from epgraph.engine import Engine
from epgraph.runtime.phases import Nudge

SWEEPS = 3
"""Sweeps between two readings of the clock."""


class Variant:
    """A network emitted with one rewrite less, or with the nudged phases one after the other."""

    def __init__(self, arguments: argparse.Namespace, **options: Any) -> None:
        self.engine: Engine = ep.compile(
            arguments.file, backend=arguments.backend, device=arguments.device, dtype=torch.float32, **options
        )
        engine = self.engine
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn((arguments.batch, *engine.graph.input.shape), generator=generator).to(engine.device)
        y = torch.randint(engine.graph.output.units, (arguments.batch,), generator=generator)
        self.nudge = Nudge(
            engine.cost, engine.executor.inputs.targets(y, arguments.batch), engine.architecture.learning.beta
        )
        self.clamped = engine.executor.clamp(self.x, engine.snapshot())
        self.states = engine.executor.run(self.clamped, engine.executor.inputs.start(self.x, None), SWEEPS, 0.0).states
        self.pair = {name: torch.cat((s, 0.01 * s)) for name, s in self.states.items()}

    @torch.no_grad()
    def free(self) -> None:
        """Take free sweeps."""
        self.engine.executor.run(self.clamped, self.states, SWEEPS, 0.0)

    @torch.no_grad()
    def nudged(self) -> None:
        """Take sweeps of both nudged phases."""
        engine, states = self.engine, self.states
        if engine.doubled:
            engine.executor.run(self.clamped, self.pair, SWEEPS, 0.0, self.nudge, pair=True)
        else:
            for _ in range(2):
                engine.executor.run(self.clamped, states, SWEEPS, 0.0, self.nudge)

    @torch.no_grad()
    def prepare(self) -> None:
        """Compute what is computed once per batch, and take one sweep."""
        self.engine.executor.run(self.engine.executor.clamp(self.x, self.engine.snapshot()), self.states, 1, 0.0)

    @torch.no_grad()
    def gradient(self) -> None:
        """Contrast the two nudged states."""
        dict(self.engine.executor.contrasts.by_parameters(self.clamped, self.pair, 1.0))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time all variants; return their ratios to the backend as it is."""
    base = Variant(arguments)
    device = base.engine.device
    variants = {"": base}
    for one in base.engine.machine.backend.passes:
        variants[one.name] = Variant(arguments, without=[one.name])
    variants["doubled"] = Variant(arguments, doubled=False)
    phases = ("free", "nudged", "prepare", "gradient")
    actions = {f"{name}/{phase}": getattr(v, phase) for name, v in variants.items() for phase in phases}
    print(f"{len(variants)} variants", file=sys.stderr, flush=True)
    times = rounds(actions, arguments.repeats, device)
    rows: dict[str, Any] = {}
    for name in [n for n in variants if n]:
        gains = {}
        for phase in phases:
            other, own = times[f"{name}/{phase}"], times[f"/{phase}"]
            pairs = list(zip(other, own, strict=True))
            gains[phase] = spread([without / whole for without, whole in pairs])
        rows[name] = {"gain": gains}
    return {
        **circumstances(device),
        "file": arguments.file.name,
        "batch": arguments.batch,
        "backend": base.engine.machine.backend.name,
        "repeats": arguments.repeats,
        "seconds": {
            phase: spread([t / (SWEEPS if phase in ("free", "nudged") else 1) for t in times[f"/{phase}"]])
            for phase in phases
        },
        "rewrites": rows,
    }


def print_table(result: dict[str, Any]) -> None:
    """Print the gain of every rewrite: time without it by time with it."""
    print(f"{result['file']}, batch {result['batch']}, {result['backend']}: gain of each rewrite, median (least–most)")
    heads = {"free": "free sweep", "nudged": "nudged sweeps", "prepare": "per batch + 1 sweep", "gradient": "gradient"}
    print(f"{'':18}" + "".join(f"{head:>22}" for head in heads.values()))
    for name, row in result["rewrites"].items():
        cells = []
        for phase in heads:
            gain = row["gain"][phase]
            cells.append(f"{gain['median']:.2f} ({gain['min']:.2f}–{gain['max']:.2f})")
        print(f"{name:18}" + "".join(f"{cell:>22}" for cell in cells))


def main() -> int:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    result = rounded(measure(arguments))
    print_table(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, metavar="FILE", help="architecture, e.g. examples/vgg5.yaml")
    parser.add_argument("--batch", type=int, default=16, help="images in a batch (default 16)")
    parser.add_argument("--backend", default="auto", help="backend whose rewrites are measured (default auto)")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1, …")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch on the CPU (default 1)")
    parser.add_argument("--repeats", type=int, default=5, help="rounds after the one that warms up (default 5)")
    parser.add_argument("--json", type=Path, help="file for the result")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ep.EpgraphError as error:
        sys.exit(f"error: {error}")

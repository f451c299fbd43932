"""Time one training iteration of Hopfield-ResNet13 on the predictive energy, beside what it is measured against.

    PYTHONPATH=. python benchmarks/predictive.py [--batch 16] [--repeats 9] [--hopfield 2] [--json FILE]

All contestants take their iterations in turn in one process, on the same weights and images: 5 sweeps, 2 error sweeps,
a plain torch step of the same feed-forward network, the engine's own backpropagation, and the published 120 + 50 + 50
sweeps of the Hopfield energy (``--hopfield`` times; about a minute each). An iteration is the gradient of a batch:
no data loading, clipping or optimizer on any side. Figures are the least time on the processor, which other work on
the machine disturbs less than the clock. Memory is of a fresh process for each. Exit code 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from gradients import accumulate, lowest_cosine, relative_difference
from machine import circumstances
from plain_resnet13 import PlainResNet13
from timing import ratio, rounded, seconds, spread
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

import epgraph as ep
from epgraph.graph import NetworkGraph

FILE = Path(__file__).resolve().parent.parent / "examples" / "hopfield_resnet13.yaml"
PREDICTIVE = ["energy=predictive", "learning.beta=0.02"]
SETTINGS: dict[str, list[str]] = {
    "sweeps": [*PREDICTIVE, "dynamics.nudged_steps=5"],
    "error_sweeps": [*PREDICTIVE, "dynamics.nudged_steps=2", "dynamics.solver=error_sweeps"],
    "backprop": [*PREDICTIVE, "learning.estimator=backprop"],
    "hopfield": [],
    "sweeps_50": [*PREDICTIVE, "dynamics.nudged_steps=50"],
    "hopfield_few": ["dynamics.free_steps=12", "dynamics.nudged_steps=5"],
}
"""What each engine overrides in the file; ``plain`` has no engine."""

LABELS = {
    "sweeps": "predictive, K = 5 sweeps",
    "error_sweeps": "predictive, 2 error sweeps",
    "plain": "plain torch autograd",
    "backprop": "backprop of the engine",
    "hopfield": "Hopfield, 120 + 50 + 50",
    "sweeps_50": "predictive, K = 50 sweeps",
    "hopfield_few": "Hopfield, 12 + 5 + 5",
}
MEMORY_ONLY = ("sweeps_50", "hopfield_few")
"""What shows that memory does not grow with the sweeps, and is not timed."""

RATIOS = (
    ("sweeps", "plain", "at most", 6.0),
    ("error_sweeps", "plain", "at most", 3.5),
    ("hopfield", "sweeps", "at least", 15.0),
    ("hopfield", "error_sweeps", "at least", 40.0),
)
"""Bars: time of the first by time of the second."""

MEMORY_BAR = ("at most", 1.5)
FLAT_BAR = ("at most", 1.05)
SAME = 1e-4
"""Relative difference in float32 of the gradients of the two backpropagations at most."""


@dataclass
class Contestant:
    """One way to the gradient of a batch."""

    name: str
    module: ep.Engine | PlainResNet13
    x: Tensor
    y: Tensor

    def iteration(self, **options: Any) -> None:
        """Leave the gradient in every ``.grad``."""
        if isinstance(self.module, PlainResNet13):
            self.module.step(self.x, self.y)
        else:
            self.module.zero_grad(set_to_none=True)
            self.module.backward(self.x, self.y, tolerance=0, keep=False, **options)

    def warm_up(self) -> None:
        """Emit and load what is needed, in few sweeps where many would take minutes."""
        few = {"free_steps": 2, "nudged_steps": 2} if self.name in ("hopfield", "sweeps_50") else {}
        self.iteration(**few)

    def gradients(self) -> dict[str, Tensor]:
        """Gradients by the names of the engine's parameters."""
        return self.module.gradients() if isinstance(self.module, PlainResNet13) else accumulate(self.module)


def contestant(name: str, arguments: argparse.Namespace, weights: Mapping[str, Tensor] | None = None) -> Contestant:
    """Build a contestant, with weights of an engine where they are given."""
    generator = torch.Generator().manual_seed(arguments.seed)
    x = torch.randn((arguments.batch, 3, 32, 32), generator=generator)
    y = torch.randint(10, (arguments.batch,), generator=generator)
    overrides = SETTINGS.get(name, [])
    if name.startswith(("sweeps", "error")):
        overrides = [*overrides, f"dynamics.schedule={arguments.schedule}"]
    engine = ep.compile(ep.load(FILE, overrides), dtype=torch.float32, without=arguments.without)
    if weights:
        engine.load_state_dict(dict(weights))
    if name == "plain":
        return Contestant(name, PlainResNet13(dict(engine.named_parameters())), x, y)
    return Contestant(name, engine, x, y)


def floors(graph: NetworkGraph) -> dict[str, float]:
    """Multiply-adds of an example that each iteration needs, in forward passes.

    A pair of nudged states costs twice a state. A sweep is the sums and the adjoints of all edges, without those of the
    clamped input. The first way back of error sweeps has odd parts only, and the last one has no way forward behind it.
    The gradient of a pair is two products.
    """
    whole = sum(edge.macs for edge in graph.edges.values())
    inner = sum(edge.macs for edge in graph.edges.values() if edge.source != graph.input.name) / whole
    gradient = 1 + inner
    return {
        "sweeps": 1 + 5 * 2 * 2 * inner + gradient,
        "error_sweeps": 1 + (1 + 2 + 2) * inner + gradient,
        "plain": 1 + inner + 1,
        "backprop": 1 + inner + 1,
        "hopfield": (120 + 2 * 50) * 2 * inner + 1 + gradient,
        "forward_macs": whole,
    }


def check(contestants: Mapping[str, Contestant]) -> dict[str, float]:
    """Compare the gradients; they must be those of one network.

    Raises
    ------
    SystemExit
        Where the two backpropagations differ.
    """
    expected = contestants["plain"].gradients()
    apart = relative_difference(contestants["backprop"].gradients(), expected)
    if apart > SAME:
        sys.exit(f"error: the gradients of the two backpropagations differ by {apart:.1e}")
    cosines = {name: lowest_cosine(contestants[name].gradients(), expected) for name in ("sweeps", "error_sweeps")}
    return {"backprop_relative_difference": apart, **{f"lowest_cosine_{name}": c for name, c in cosines.items()}}


def timed(arguments: argparse.Namespace) -> dict[str, Any]:
    """Take the iterations in turn."""
    names = [name for name in LABELS if name not in MEMORY_ONLY]
    first = contestant(names[0], arguments)
    weights = first.module.state_dict()
    contestants = {names[0]: first} | {name: contestant(name, arguments, weights) for name in names[1:]}
    for one in contestants.values():
        one.warm_up()
    same = check(contestants)
    clock: dict[str, list[float]] = {name: [] for name in names}
    work: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(arguments.repeats):
        for name, one in contestants.items():
            if name == "hopfield" and turn >= arguments.hopfield:
                continue
            taken, worked = seconds(one.iteration, torch.device("cpu"))
            clock[name].append(taken)
            work[name].append(worked)
        print(f"round {turn + 1} of {arguments.repeats}", file=sys.stderr, flush=True)
    engine = first.module
    assert isinstance(engine, ep.Engine)
    needed = floors(engine.graph)
    gflop = 2e-9 * arguments.batch * needed["forward_macs"]
    rows = {}
    for name in names:
        if not work[name]:
            continue
        least = min(work[name])
        rows[name] = {
            "processor_seconds": spread(work[name]),
            "clock_seconds": spread(clock[name]),
            "iterations": len(work[name]),
            "forward_passes": needed[name],
            "gflops": gflop * needed[name] / least,
        }
    ratios = {}
    for one, other, _, _ in RATIOS:
        if one in rows and other in rows:
            pairs = min(len(work[one]), len(work[other]))
            ratios[f"{one}/{other}"] = {
                "of_least_processor_seconds": min(work[one]) / min(work[other]),
                "of_pairs_processor_seconds": ratio(work[one][:pairs], work[other][:pairs]),
                "of_least_clock_seconds": min(clock[one]) / min(clock[other]),
                "of_forward_passes": needed[one] / needed[other],
            }
    result = {"backend": engine.machine.backend.name, "gradients": same, "iterations": rows, "ratios": ratios}
    return result | ({"profile": profiled(contestants)} if arguments.profile else {})


def profiled(contestants: Mapping[str, Contestant], most: int = 8) -> dict[str, dict[str, float]]:
    """Share of the time of an iteration that each operation of torch takes by itself."""
    found = {}
    for name in ("sweeps", "error_sweeps", "plain"):
        with profile(activities=[ProfilerActivity.CPU]) as watched:
            contestants[name].iteration()
        events = sorted(watched.key_averages(), key=lambda event: -event.self_cpu_time_total)
        whole = sum(event.self_cpu_time_total for event in events)
        found[name] = {event.key: event.self_cpu_time_total / whole for event in events[:most]}
    return found


def memory_of(name: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Peak of an iteration above what stood before it, in this process.

    Before it stand the network, its parameters and what earlier iterations have left, gradients not included.
    """
    one = contestant(name, arguments)
    one.warm_up()
    one.module.zero_grad(set_to_none=True)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = resident("VmRSS")
    one.iteration()
    parameters = sum(p.numel() * p.element_size() for p in one.module.parameters())
    peak = resident("VmHWM")
    mib = {"above_before": peak - before, "before": before, "peak": peak, "gradients": parameters}
    return {f"{what}_mib": value / 2**20 for what, value in mib.items()}


def resident(line: str) -> int:
    """Bytes of a line of /proc/self/status."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(text for text in status if text.startswith(line)).split()[1]) * 1024


def measure_memory(batches: Sequence[int], repeats: int) -> dict[str, Any]:
    """Memory of every contestant by batch, each in fresh processes that give back at once what they free."""
    found: dict[str, Any] = {}
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    for batch in batches:
        rows = found[str(batch)] = {}
        for name in LABELS:
            runs: list[dict[str, float]] = []
            if name in ("sweeps_50", "hopfield") and batch != batches[0]:
                continue  # minutes an iteration, and memory does not grow with the sweeps
            for _ in range(repeats):
                command = [sys.executable, *sys.argv, "--batch", str(batch), "--memory-of", name]
                child = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
                runs.append(json.loads(child.stdout))
            rows[name] = {what: spread([run[what] for run in runs]) for what in runs[0]}
        print(f"memory at batch {batch}", file=sys.stderr, flush=True)
    return found


def bars(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every bar with the figure that is held against it."""
    found = []
    for one, other, sense, bar in RATIOS:
        row = result["ratios"].get(f"{one}/{other}")
        if row:
            figure = row["of_least_processor_seconds"]
            found.append((f"{LABELS[one]} by {LABELS[other]}", figure, sense, bar))
    for batch, rows in result.get("memory", {}).items():
        above = {name: row["above_before_mib"]["median"] for name, row in rows.items()}
        found += [
            (f"memory at batch {batch}, {LABELS[name]} by {LABELS['plain']}", above[name] / above["plain"], *MEMORY_BAR)
            for name in ("sweeps", "error_sweeps")
        ]
        if "sweeps_50" in above:
            flat = above["sweeps_50"] / above["sweeps"]
            found.append((f"memory at batch {batch}, K = 50 by K = 5", flat, *FLAT_BAR))
    met = {"at most": lambda figure, bar: figure <= bar, "at least": lambda figure, bar: figure >= bar}
    return [
        {"what": what, "figure": figure, "bar": f"{sense} {bar:g}", "met": met[sense](figure, bar)}
        for what, figure, sense, bar in found
    ]


def print_tables(result: Mapping[str, Any]) -> None:
    """Print times, memory and bars as Markdown."""
    memory = result.get("memory", {})
    heads = "".join(f" MiB at {batch} |" for batch in memory)
    print(f"| iteration | CPU s, least (median) | clock s, least | forward passes | GFLOP/s |{heads}")
    print(f"| --- | --: | --: | --: | --: |{' --: |' * len(memory)}")
    for name, label in LABELS.items():
        row, cells = result["iterations"].get(name), "– | – | – | –"
        if row:
            work, clock = row["processor_seconds"], row["clock_seconds"]
            cells = f"{work['min']:.3f} ({work['median']:.3f}) | {clock['min']:.3f} | {row['forward_passes']:.1f}"
            cells += f" | {row['gflops']:.0f}"
        kept = (rows.get(name) for rows in memory.values())
        cells += "".join(f" | {row['above_before_mib']['median']:.0f}" if row else " | –" for row in kept)
        print(f"| {label} | {cells} |")
    print("\n| ratio | figure | bar | met |\n| --- | --: | --: | --- |")
    for bar in result["bars"]:
        print(f"| {bar['what']} | {bar['figure']:.2f} | {bar['bar']} | {'yes' if bar['met'] else 'no'} |")
    for name, shares in result.get("profile", {}).items():
        print(f"{LABELS[name]}: " + ", ".join(f"{key} {share:.0%}" for key, share in shares.items()))


def main() -> int:
    arguments = _arguments()
    torch.set_num_threads(1)
    if arguments.memory_of:
        print(json.dumps(memory_of(arguments.memory_of, arguments)))
        return 0
    settings = {name: getattr(arguments, name) for name in ("batch", "schedule", "seed", "without")}
    times: dict[str, Any] = {"iterations": {}, "ratios": {}} if arguments.no_times else timed(arguments)
    result = {**circumstances(torch.device("cpu")), **settings, **times}
    if arguments.memory_batches:
        result["memory"] = measure_memory(arguments.memory_batches, arguments.memory_repeats)
    result = rounded({**result, "bars": bars(result)})
    print_tables(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0 if all(bar["met"] for bar in result["bars"]) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16, help="images in a batch (default 16)")
    parser.add_argument("--schedule", default="backward", help="of the sweeps (default backward, that of the energy)")
    parser.add_argument("--without", action="append", default=[], help="leave a rewrite out; may be repeated")
    parser.add_argument("--repeats", type=int, default=9, help="iterations of each (default 9)")
    parser.add_argument("--hopfield", type=int, default=2, help="iterations of the Hopfield energy (default 2)")
    parser.add_argument("--no-times", action="store_true", help="measure memory alone (Section IV.C of the paper)")
    parser.add_argument("--memory-repeats", type=int, default=2, help="processes for each memory (default 2)")
    parser.add_argument(
        "--memory-batches", type=int, nargs="*", default=[16, 64, 128], help="batches of which memory is measured"
    )
    parser.add_argument("--profile", action="store_true", help="say which operations take the time")
    parser.add_argument("--seed", type=int, default=0, help="of images and labels (default 0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file for the result")
    parser.add_argument("--memory-of", choices=LABELS, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ep.EpgraphError as error:
        sys.exit(f"error: {error}")

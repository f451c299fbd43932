"""Time and memory from YAML text to the first sweep and the first gradient, and of `check`. Prints one JSON object.

    python benchmarks/compile_time.py
    python benchmarks/compile_time.py 1000 examples/vgg5.yaml --backend onednn

A network is a file, or a number of states: a flat YAML text that is made here, with small dense and convolutional
states, two edges a state. Each is measured in a process of its own, after ``import torch``. A table goes to stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from machine import circumstances
from timing import rounded

import epgraph as ep
from epgraph.cli import run
from epgraph.graph import build
from epgraph.lowering import lower
from epgraph.process_memory import peak_resident

NETWORKS = ("100", "1000", "10000", "examples/hopfield_resnet13.yaml")
BATCH = 2

COLUMNS = {
    "states": "states",
    "edges": "edges",
    "check_seconds": "check",
    "load_seconds": "load",
    "plan_seconds": "plan",
    "engine_seconds": "engine",
    "free_seconds": "free",
    "ready_to_sweep_seconds": "= ready",
    "gradient_seconds": "gradient",
    "ready_for_gradient_seconds": "= all",
    "first_sweep_seconds": "sweep 1",
    "second_sweep_seconds": "sweep 2",
    "peak_resident_mib": "MiB",
}


def network(states: int) -> str:
    """YAML text of a chain of states with an edge from the sixth state before; the first half are images in turn."""
    declared: dict[str, Any] = {}
    edges: list[dict[str, Any]] = []
    before, image = "x", True
    for i in range(states):
        name = f"h{i}"
        even = i % 2 == 0 and i < states // 2
        convolved = even and image
        declared[name] = {"channels": 2} if convolved else {"shape": [2, 3, 3] if even else [4]}
        edge = {"conv": {"kernel": 3, "padding": 1}} if convolved else {"dense": {}}
        edges.append({"from": before, "to": name, **edge})
        if i > 5:
            edges.append({"from": f"h{i - 5}", "to": name, "dense": {}})
        before, image = name, even
    edges.append({"from": before, "to": "y", "dense": {}})
    data = {
        "epgraph": 2,
        "name": f"states{states}",
        "input": {"name": "x", "shape": [1, 3, 3]},
        "output": {"name": "y", "classes": 3},
        "states": declared,
        "edges": edges,
    }
    return str(yaml.safe_dump(data, sort_keys=False))


class Stopwatch:
    """Seconds since it was last read."""

    def __init__(self) -> None:
        self.then = time.perf_counter()

    def read(self) -> float:
        """Return them, and start again."""
        now = time.perf_counter()
        since, self.then = now - self.then, now
        return since


def check(text: str) -> float:
    """Seconds of ``epgraph check`` on a file, from its bytes to its report, imports apart."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.yaml"
        path.write_text(text, encoding="utf-8")
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            run(["schema"])  # what is imported with the first command
            watch = Stopwatch()
            if run(["check", str(path)]):
                raise SystemExit(f"{path} is not a network")
            return watch.read()


def measure(what: str, backend: str) -> dict[str, Any]:
    """Take one network from its text to its second sweep."""
    text = network(int(what)) if what.isdigit() else Path(what).read_text(encoding="utf-8")
    imports = peak_resident()
    result: dict[str, Any] = {"network": what, "check_seconds": check(text)}
    watch = Stopwatch()
    architecture = ep.load(text)
    result["load_seconds"] = watch.read()
    plan = lower(build(architecture), architecture.dynamics.schedule)
    result["plan_seconds"] = watch.read()
    # An engine from a plan, as ``epgraph.compile`` makes it: parameters are drawn.
    engine = ep.Engine(plan, seed=architecture.training.seed, backend=backend)
    result["engine_seconds"] = watch.read()
    relaxed = architecture.dynamics.stepped
    engine.machine.program("free", relaxed=relaxed)
    engine.machine.functions("constants")
    result["free_seconds"] = watch.read()
    engine.machine.program("pair", relaxed=relaxed)
    engine.machine.functions("gradient", trainable=frozenset(name for name, _ in engine.named_parameters()))
    result["gradient_seconds"] = watch.read()
    x = torch.rand(BATCH, *engine.graph.input.shape)
    engine.executor.clamp(x, engine.snapshot())
    watch.read()
    for which in ("first", "second"):
        engine.relax(x, steps=1)
        result[f"{which}_sweep_seconds"] = watch.read()
    engine.backward(x, torch.zeros(BATCH, dtype=torch.int64), free_steps=1, nudged_steps=1)
    stages = ("load", "plan", "engine", "free", "gradient")
    ready = sum(result[f"{stage}_seconds"] for stage in stages[:-1])
    return result | {
        "states": len(engine.graph.states),
        "edges": len(engine.graph.edges),
        "backend": engine.machine.backend.name,
        "ready_to_sweep_seconds": ready,
        "ready_for_gradient_seconds": ready + result["gradient_seconds"],
        "peak_resident_mib": peak_resident() / 2**20,
        "after_imports_mib": imports / 2**20,
    }


def in_child(what: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure a network in a fresh process."""
    command = [sys.executable, __file__, what, "--alone", "--backend", arguments.backend]
    child = subprocess.run(
        [*command, "--threads", str(arguments.threads)], stdout=subprocess.PIPE, text=True, check=False
    )
    if child.returncode:
        raise SystemExit(child.returncode)
    found: dict[str, Any] = json.loads(child.stdout)
    return found


def row(result: dict[str, Any]) -> str:
    """One line of the table."""
    cells = [f"{result[column]:.2f}" if "seconds" in column else f"{result[column]:.0f}" for column in COLUMNS]
    return " | ".join((f"{result['network']:<31}", *(f"{cell:>8}" for cell in cells)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="files, or numbers of states")
    parser.add_argument("--backend", default="auto", help="how sweeps run (default auto)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default 1)")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.alone:
        print(json.dumps(measure(arguments.networks[0], arguments.backend)))
        return 0
    started = circumstances(torch.device("cpu"))
    print(" | ".join((f"{'network':<31}", *(f"{title:>8}" for title in COLUMNS.values()))), file=sys.stderr)
    results = []
    for what in arguments.networks or NETWORKS:
        results.append(in_child(what, arguments))
        print(row(results[-1]), file=sys.stderr, flush=True)
    print(json.dumps(started | {"batch": BATCH, "networks": [rounded(result) for result in results]}, indent=1))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ep.EpgraphError as error:
        sys.exit(f"error: {error}")

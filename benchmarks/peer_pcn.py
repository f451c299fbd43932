"""Time a training iteration of predictive coding here and in FabricPC, in turn, on one core.

    python -m venv /tmp/peer && /tmp/peer/bin/pip install fabricpc
    PYTHONPATH=. python benchmarks/peer_pcn.py --peer /tmp/peer/bin/python [--batch 64] [--repeats 5] [--json FILE]

Both take one batch from the same weights (their forward passes are compared first), relax, form the weight gradient and
take a step of plain SGD. What differs is the method. FabricPC clamps the output to the target and takes T steps of
gradient descent on all states at once, from the forward pass. Here the output is nudged by β, and a sweep moves every
state once, one after the other; ``positive`` has one nudged phase of K sweeps, ``centered`` two. A step there and a
sweep of one phase here are the same products: the sums of all states and the adjoints of all edges between states.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gradients import accumulate, lowest_cosine
from machine import circumstances
from timing import ratio, rounded, seconds, spread

import epgraph as ep

DENSE = {"input": [784], "layers": {"h1": {"channels": 256}, "h2": {"channels": 256}, "y": {"channels": 10}}}
CONVOLUTIONS = {
    "input": [1, 28, 28],
    "layers": {
        "h1": {"channels": 32, "stride": 1, "map": [28, 28]},
        "h2": {"channels": 64, "stride": 2, "map": [14, 14]},
        "h3": {"channels": 64, "stride": 2, "map": [7, 7]},
        "y": {"channels": 10},
    },
}
"""Chains of dense layers and of 3×3 convolutions; the last layer is linear."""

NETWORKS: dict[str, dict[str, Any]] = {
    f"{name}, {activation}": {**spec, "activation": activation, "iterations": iterations}
    for name, spec, iterations in (
        ("dense 784-256-256-10", DENSE, 10),
        ("convolutions 32, 64, 64 on 28×28", CONVOLUTIONS, 1),
    )
    for activation in ("tanh", "relu6")
}
"""Networks, and iterations between two readings of the clock."""

ERRORS = ("dynamics.nudged_steps=2", "dynamics.solver=error_sweeps")
OURS: dict[str, tuple[str, ...]] = {
    "positive, 5 sweeps": ("learning.estimator=positive", "dynamics.nudged_steps=5"),
    "centered, 5 sweeps": ("learning.estimator=centered", "dynamics.nudged_steps=5"),
    "positive, 20 sweeps": ("learning.estimator=positive", "dynamics.nudged_steps=20"),
    "positive, 2 error sweeps": ("learning.estimator=positive", *ERRORS),
    "centered, 2 error sweeps": ("learning.estimator=centered", *ERRORS),
    "backprop": ("learning.estimator=backprop",),
}
THEIRS: dict[str, tuple[str, int]] = {
    "InferenceSGD, 5 steps": ("sgd", 5),
    "InferenceSGD, 20 steps": ("sgd", 20),
    "EPCInference, 2 steps": ("epc", 2),
    "EPCInference, 5 steps": ("epc", 5),
    "backprop": ("backprop", 1),
}
"""Inference and steps; 20 and 5 are the library's defaults."""

PAIRS = (
    ("InferenceSGD, 5 steps", "positive, 5 sweeps"),
    ("InferenceSGD, 5 steps", "centered, 5 sweeps"),
    ("InferenceSGD, 20 steps", "positive, 20 sweeps"),
    ("EPCInference, 2 steps", "positive, 2 error sweeps"),
    ("EPCInference, 2 steps", "centered, 2 error sweeps"),
    ("InferenceSGD, 20 steps", "centered, 5 sweeps"),
    ("backprop", "backprop"),
)
"""What is compared: time there by time here."""

RATE = 0.01
SAME = 1e-5
"""Relative difference of the outputs of both forward passes at most."""


def document(spec: Mapping[str, Any]) -> str:
    """Architecture of a specification, as JSON, which is YAML."""
    names = ["x", *spec["layers"]]
    states, edges = {}, []
    for before, name in pairwise(names):
        layer = spec["layers"][name]
        edge: dict[str, Any] = {"from": before, "to": name}
        if "stride" in layer:
            edge["conv"] = {"kernel": 3, "padding": 1, "stride": layer["stride"]}
            states[name] = {"channels": layer["channels"]}
        else:
            edge["dense"] = {}
            states[name] = {"shape": [layer["channels"]]}
        edges.append(edge)
    output = states.pop(names[-1])
    return json.dumps(
        {
            "epgraph": 2,
            "name": "peer",
            "energy": "predictive",
            "input": {"name": "x", "shape": spec["input"]},
            "output": {"name": names[-1], "classes": output["shape"][0], "cost": "squared_error"},
            "defaults": {"activation": spec["activation"]},
            "states": states,
            "edges": edges,
            "learning": {"beta": 0.02},
        }
    )


@dataclass
class Ours:
    """A network, its optimizer and a batch."""

    engine: ep.Engine
    optimizer: torch.optim.Optimizer
    x: torch.Tensor
    y: torch.Tensor

    @classmethod
    def build(cls, text: str, overrides: tuple[str, ...], batch: int) -> Ours:
        """Compile a network with its own first weights, which are those of all ways to learn it."""
        engine = ep.compile(ep.load(text, overrides), dtype=torch.float32)
        generator = torch.Generator().manual_seed(0)
        x = torch.randn((batch, *engine.graph.input.shape), generator=generator)
        y = torch.randint(10, (batch,), generator=generator)
        return cls(engine, torch.optim.SGD(engine.parameters(), lr=RATE), x, y)

    def run(self, count: int) -> None:
        """Take training iterations."""
        for _ in range(count):
            self.gradient()
            self.optimizer.step()

    def gradient(self) -> None:
        """Leave the gradient in every ``.grad``."""
        self.engine.zero_grad(set_to_none=True)
        self.engine.backward(self.x, self.y, tolerance=0, keep=False)

    def arrays(self) -> dict[str, np.ndarray]:
        """Parameters and batch as the peer reads them."""
        found = {"x": self.x.numpy(), "y": torch.nn.functional.one_hot(self.y, 10).float().numpy()}
        for edge in self.engine.graph.edges.values():
            found[f"{edge.target}.weight"] = self.engine.state_dict()[f"edges.{edge.name}.weight"].numpy().copy()
            found[f"{edge.target}.bias"] = self.engine.state_dict()[f"states.{edge.target}.bias"].numpy().copy()
        return found


class Peer(AbstractContextManager["Peer"]):
    """FabricPC in its own process, which answers one request at a time."""

    def __init__(self, python: Path) -> None:
        script = Path(__file__).with_name("fabricpc_peer.py")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        self.process = subprocess.Popen(
            [python, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.greeting = self._answer()

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            sys.exit("error: the peer's process ended; its message is above")
        found: dict[str, Any] = json.loads(line)
        return found

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)


def compare(name: str, peer: Peer, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Time every way to learn one network, there and here, in turn."""
    spec = NETWORKS[name]
    count = spec["iterations"]
    ours = {case: Ours.build(document(spec), overrides, arguments.batch) for case, overrides in OURS.items()}
    arrays = folder / f"{list(NETWORKS).index(name)}.npz"
    np.savez(arrays, **ours["backprop"].arrays())
    expected = ours["backprop"].engine.predict(ours["backprop"].x).states["y"]
    apart = 0.0
    for case, (algorithm, steps) in THEIRS.items():
        settings = {"network": spec, "algorithm": algorithm, "steps": steps, "rate": RATE, "arrays": str(arrays)}
        output = torch.tensor(peer.ask(do="build", case=f"{name}/{case}", **settings)["output"])
        apart = max(apart, float(torch.dist(output, expected) / expected.norm()))
    if apart > SAME:
        sys.exit(f"error: the forward passes of {name} differ by {apart:.1e}")
    against = {"do": "cosine", "rate": RATE, "against": f"{name}/backprop"}
    cosines = {f"there: {case}": peer.ask(case=f"{name}/{case}", **against)["cosine"] for case in THEIRS}
    for one in ours.values():
        one.gradient()
    exact = accumulate(ours["backprop"].engine)
    cosines |= {f"here: {case}": lowest_cosine(accumulate(one.engine), exact) for case, one in ours.items()}
    clock: dict[str, list[float]] = {}
    work: dict[str, list[float]] = {}
    print(f"{name}: built", file=sys.stderr, flush=True)
    for turn in range(arguments.repeats + 1):
        for case, one in ours.items():
            taken = seconds(lambda one=one: one.run(count), torch.device("cpu"))
            _note(clock, work, f"here: {case}", taken, turn, count)
        for case in THEIRS:
            answer = peer.ask(do="time", case=f"{name}/{case}", count=count)
            _note(clock, work, f"there: {case}", (answer["clock"], answer["processor"]), turn, count)
    ratios = {
        f"{there} / {here}": {
            "of_least_processor_seconds": min(work[f"there: {there}"]) / min(work[f"here: {here}"]),
            "of_pairs_processor_seconds": ratio(work[f"there: {there}"], work[f"here: {here}"]),
        }
        for there, here in PAIRS
    }
    rows = {
        case: {
            "processor_milliseconds": {k: 1e3 * v for k, v in spread(work[case]).items()},
            "clock_milliseconds": {k: 1e3 * v for k, v in spread(clock[case]).items()},
            "one_minus_lowest_cosine_with_backprop": 1 - cosines[case],
        }
        for case in work
    }
    return {"outputs_apart": apart, "iterations_a_reading": count, "iterations": rows, "ratios": ratios}


def _note(
    clock: dict[str, list[float]],
    work: dict[str, list[float]],
    case: str,
    taken: tuple[float, float],
    turn: int,
    count: int,
) -> None:
    """Keep what an iteration took; the first round warms up."""
    if turn:
        clock.setdefault(case, []).append(taken[0] / count)
        work.setdefault(case, []).append(taken[1] / count)


def print_tables(found: Mapping[str, Any]) -> None:
    """Print times and ratios of every network as Markdown."""
    for name, result in found.items():
        print(f"\n{name}\n\n| iteration | CPU ms, least (median) | clock ms, least | 1 − cosine with backprop |")
        print("| --- | --: | --: | --: |")
        for case, row in result["iterations"].items():
            work, clock = row["processor_milliseconds"], row["clock_milliseconds"]
            cells = f"{work['min']:.2f} ({work['median']:.2f}) | {clock['min']:.2f}"
            print(f"| {case} | {cells} | {row['one_minus_lowest_cosine_with_backprop']:.1e} |")
        print("\n| there / here | times faster here, of least (pairs: least–most) |\n| --- | --: |")
        for pair, row in result["ratios"].items():
            pairs = row["of_pairs_processor_seconds"]
            print(f"| {pair} | {row['of_least_processor_seconds']:.2f} ({pairs['min']:.2f}–{pairs['max']:.2f}) |")


def main() -> None:
    arguments = _arguments()
    # One core for both: the peer inherits it, and its thread pool is as large as what it may use.
    core = max(os.sched_getaffinity(0)) if arguments.core is None else arguments.core
    os.sched_setaffinity(0, {core})
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, Peer(arguments.peer) as peer:
        found = {name: compare(name, peer, Path(folder), arguments) for name in arguments.networks or NETWORKS}
        versions = peer.greeting
    settings = {"batch": arguments.batch, "repeats": arguments.repeats}
    result = {**circumstances(torch.device("cpu")), "peer": versions, **settings, "networks": found}
    print_tables(found)
    if arguments.json:
        arguments.json.write_text(json.dumps(rounded(result), indent=1, ensure_ascii=False) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True, metavar="PYTHON", help="interpreter that has fabricpc")
    parser.add_argument("--batch", type=int, default=64, help="examples in a batch (default 64)")
    parser.add_argument("--repeats", type=int, default=5, help="rounds after the one that warms up (default 5)")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, help="left out, all")
    parser.add_argument("--core", type=int, help="core on which all runs (left out, the last one)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file for the result")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except ep.EpgraphError as error:
        sys.exit(f"error: {error}")

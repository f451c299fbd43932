"""Time one training iteration and one sweep of an architecture; print one JSON object.

    python benchmarks/iteration.py examples/vgg5.yaml --batch 16 --free-steps 20 --nudged-steps 8
    python benchmarks/iteration.py examples/vgg5.yaml --peer CHECKOUT

An iteration is the free phase from zeros, the nudged phases, the gradient and its clipping: a training step
without data loading, statistics and optimiser. With ``--peer`` the official code takes the same iteration,
alternately in the same run, on the same weights, inputs and step counts. Progress goes to stderr.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from machine import circumstances
from peer import Peer, PeerError, relative_difference
from timing import Ceiling, calls, in_child, ratio, rounded, seconds, spread, synchronize

import epgraph as ep
from epgraph.engine import Engine
from epgraph.process_memory import peak_resident

SWEEPS = 10
"""Sweeps that are timed together, so that what a relaxation does once weighs little."""

AGREE_STEPS = 20
AGREE_FEW = 4
AGREE_BAR = {torch.float32: 1e-4, torch.float64: 1e-10}
"""Relative difference of the states after so many iterations at most; in float64 on a few examples."""

DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


class Subject:
    """A network with one batch and the step counts of its iteration."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.device = torch.device(arguments.device)
        self.dtype = DTYPES[arguments.dtype]
        self.engine: Engine = ep.compile(
            arguments.file,
            device=self.device,
            dtype=self.dtype,
            backend=arguments.backend,
            without=arguments.without,
            cuda_graphs=not arguments.no_graphs,
        )
        architecture = self.engine.architecture
        dynamics = architecture.dynamics
        self.free_steps: int = arguments.free_steps or dynamics.free_steps
        self.nudged_steps: int = arguments.nudged_steps or dynamics.nudged_steps
        self.nudged_phases = 2 if architecture.learning.estimator == "centered" else 1
        self.limit = math.inf if architecture.training.clip_norm is None else architecture.training.clip_norm
        generator = torch.Generator().manual_seed(0)
        shape = (arguments.batch, *self.engine.graph.input.shape)
        self.x = torch.randn(shape, generator=generator).to(self.device, self.dtype)
        classes = self.engine.graph.output.units
        self.y = torch.randint(classes, (arguments.batch,), generator=generator).to(self.device)

    def iteration(self) -> None:
        """Take one training iteration."""
        self.engine.zero_grad(set_to_none=True)
        self.engine.backward(
            self.x, self.y, free_steps=self.free_steps, nudged_steps=self.nudged_steps, tolerance=0, keep=False
        )
        torch.nn.utils.clip_grad_norm_(self.engine.parameters(), self.limit)

    def sweeps(self, count: int = SWEEPS) -> None:
        """Take free sweeps from zeros."""
        self.engine.relax(self.x, steps=count, tolerance=0)

    def sweep_gflop(self) -> float:
        """Work of one sweep of the batch, 1 MAC = 2 FLOP.

        What max pooling recomputes to find its arg-max does not count as work, nor does what the clamped
        input contributes once per batch.
        """
        return 2e-9 * len(self.x) * self.engine.plan.macs_per_sweep()

    def iteration_gflop(self) -> float:
        """Work of all sweeps, and of one weight gradient for each of the two states that EP contrasts."""
        sweeps = self.free_steps + self.nudged_phases * self.nudged_steps
        gradients = 2 * sum(edge.macs for edge in self.engine.graph.edges.values() if edge.weight_shape)
        return sweeps * self.sweep_gflop() + 2e-9 * len(self.x) * gradients


class PeerSubject:
    """The official code with the weights, batch and step counts of a subject."""

    def __init__(self, checkout: Path, subject: Subject) -> None:
        self.subject = subject
        self.checkout = checkout
        self.peer = Peer(checkout, subject.engine)

    def iteration(self) -> None:
        """Take one training iteration, clipping included."""
        subject = self.subject
        self.peer.relax(subject.x, subject.free_steps)
        beta = subject.engine.architecture.learning.beta
        self.peer.gradient(subject.y, beta=beta, steps=subject.nudged_steps)

    def sweeps(self, count: int = SWEEPS) -> None:
        """Take free iterations from zeros."""
        self.peer.relax(self.subject.x, count)

    def check(self) -> dict[str, Any]:
        """Compare the states of both systems: in float64 on a few examples, and in the precision that is timed on all.

        In float64 they must agree to rounding. In float32 an arg-max of max pooling at a near tie falls either way and
        takes its example elsewhere: such examples are counted, and half of all must agree.

        Raises
        ------
        PeerError
            If they do not take the same iterations.
        """
        subject = self.subject
        if subject.nudged_phases != 2:
            raise PeerError("the official driver nudges both ways: learning.estimator must be 'centered'")
        steps = min(AGREE_STEPS, subject.free_steps)
        exact = ep.compile(subject.engine.architecture, device=subject.device, dtype=torch.float64)
        exact.load_state_dict(subject.engine.state_dict())
        few = subject.x[:AGREE_FEW].double()
        worst = max(_apart(exact, Peer(self.checkout, exact), few, steps))
        if worst > AGREE_BAR[torch.float64]:
            raise PeerError(f"after {steps} iterations in float64 the states differ by {worst:.1e}")
        allowed = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = False
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            apart = _apart(subject.engine, self.peer, subject.x, steps)
        torch.backends.cuda.matmul.allow_tf32 = allowed
        bar = AGREE_BAR[subject.dtype]
        same = [difference for difference in apart if difference <= bar]
        if 2 * len(same) < len(apart):
            raise PeerError(f"after {steps} iterations {len(apart) - len(same)} of {len(apart)} examples differ")
        return {
            "iterations": steps,
            "largest_relative_difference_in_float64": worst,
            "bar": bar,
            "examples_within_bar": len(same),
            "examples": len(apart),
            "largest_relative_difference_within_bar": max(same),
            "largest_relative_difference": max(apart),
        }


def _apart(engine: Engine, peer: Peer, x: torch.Tensor, steps: int) -> list[float]:
    """Largest relative difference of a state, for each example."""
    ours = engine.relax(x, steps=steps, tolerance=0).states
    official = peer.relax(x, steps)
    return [max(relative_difference(s[i], official[name][i]) for name, s in ours.items()) for i in range(len(x))]


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the benchmark and return its result."""
    device = torch.device(arguments.device)
    memory = {name: in_child("--memory-of", name) for name in (["ours", "peer"] if arguments.peer else ["ours"])}
    subject = Subject(arguments)
    ceiling = Ceiling(device, subject.dtype)
    actions: dict[str, Callable[[], None]] = {
        "product": ceiling.product,
        "sweep": subject.sweeps,
        "iteration": subject.iteration,
    }
    if arguments.peer:
        peer = PeerSubject(arguments.peer, subject)
        agreement = peer.check()
        actions |= {"peer_sweep": peer.sweeps, "peer_iteration": peer.iteration}
    times: dict[str, list[float]] = {name: [] for name in actions}
    work: dict[str, list[float]] = {name: [] for name in actions}
    for repeat in range(arguments.repeats + 1):
        for name, action in actions.items():
            taken, processor_taken = seconds(action, device)
            if repeat:  # the first round warms up
                each = SWEEPS if "sweep" in name else 1
                times[name].append(taken / each)
                work[name].append(processor_taken / each)
        print(f"round {repeat} of {arguments.repeats}", file=sys.stderr, flush=True)
    best = ceiling.gflop / min(times["product"])
    result: dict[str, Any] = {
        **circumstances(device),
        "file": arguments.file.name,
        "batch": len(subject.x),
        "dtype": arguments.dtype,
        "schedule": subject.engine.plan.schedule.name,
        "backend": subject.engine.machine.backend.name,
        "without": arguments.without,
        "cuda_graphs": device.type == "cuda" and not arguments.no_graphs,
        "free_steps": subject.free_steps,
        "nudged_steps": subject.nudged_steps,
        "nudged_phases": subject.nudged_phases,
        "repeats": arguments.repeats,
        "matrix_product": {"size": ceiling.size, "best_gflops": best},
    }
    if device.type == "cuda":
        result["convolutions_in_tf32"] = subject.dtype == torch.float32 and torch.backends.cudnn.allow_tf32
    result |= _figures(subject, times["sweep"], times["iteration"], best)
    if device.type == "cpu":
        result["iteration_processor_seconds"] = spread(work["iteration"])
    result["calls_per_sweep"] = _calls(subject, device)
    result["peak_memory"] = memory["ours"]
    if arguments.peer:
        result["peer"] = {
            "states": agreement,
            **_figures(subject, times["peer_sweep"], times["peer_iteration"], best),
            "calls_per_sweep": _calls(peer, device),
            "peak_memory": memory["peer"],
        }
        for kind in ("sweep", "iteration"):
            result[f"times_faster_{kind}"] = ratio(times[f"peer_{kind}"], times[kind])
        if device.type == "cpu":
            result["peer"]["iteration_processor_seconds"] = spread(work["peer_iteration"])
            result["times_less_processor_iteration"] = ratio(work["peer_iteration"], work["iteration"])
    return result


def _calls(subject: Subject | PeerSubject, device: torch.device) -> dict[str, float]:
    """Operations, and on a GPU kernels and launches, that a sweep costs."""
    return calls(lambda: subject.sweeps(1), lambda: subject.sweeps(1 + SWEEPS), SWEEPS, device)


def _figures(subject: Subject, sweeps: list[float], iterations: list[float], ceiling: float) -> dict[str, Any]:
    sweep, iteration = spread(sweeps), spread(iterations)
    sweep_rate = subject.sweep_gflop() / sweep["median"]
    iteration_rate = subject.iteration_gflop() / iteration["median"]
    return {
        "sweep_seconds": sweep,
        "iteration_seconds": iteration,
        "images_per_second": len(subject.x) / iteration["median"],
        "sweep_gflop": subject.sweep_gflop(),
        "iteration_gflop": subject.iteration_gflop(),
        "sweep_gflops": sweep_rate,
        "iteration_gflops": iteration_rate,
        "sweep_fraction_of_matrix_product": sweep_rate / ceiling,
        "iteration_fraction_of_matrix_product": iteration_rate / ceiling,
    }


def measure_memory(arguments: argparse.Namespace) -> dict[str, Any]:
    """Take one iteration in this process and say how much memory that needed."""
    device = torch.device(arguments.device)
    before = peak_resident()
    subject = Subject(arguments)
    iteration = subject.iteration
    if arguments.memory_of == "peer":
        iteration = PeerSubject(arguments.peer, subject).iteration
        subject.engine.to_empty(device="meta")  # its weights have been copied
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
    iteration()
    synchronize(device)
    if device.type == "cuda":
        return {
            "mib": torch.cuda.max_memory_reserved(device) / 2**20,
            "is": "torch.cuda.max_memory_reserved of a process that takes one iteration, weights included",
        }
    return {
        "mib": peak_resident() / 2**20,
        "after_imports_mib": before / 2**20,
        "is": "largest resident size of a process that takes one iteration, Python and libraries included",
    }


def main() -> int:
    arguments = _arguments()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.tf32:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = arguments.tf32 == "on"
    torch.backends.cudnn.benchmark = True  # as in the official driver, for both systems
    result = measure_memory(arguments) if arguments.memory_of else measure(arguments)
    print(json.dumps(rounded(result), indent=1))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, metavar="FILE", help="architecture, e.g. examples/vgg5.yaml")
    parser.add_argument("--batch", type=int, default=4, help="images in a batch (default 4)")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1, …")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--backend", default="auto", help="how sweeps run (default auto)")
    parser.add_argument("--without", action="append", default=[], help="leave a rewrite out; may be repeated")
    parser.add_argument("--no-graphs", action="store_true", help="launch every kernel on a GPU, replay no graphs")
    parser.add_argument("--tf32", choices=["on", "off"], help="float32 products on a GPU; left out, torch's defaults")
    parser.add_argument("--threads", type=int, help="threads of torch on the CPU")
    parser.add_argument("--free-steps", type=int, help="left out, the file's")
    parser.add_argument("--nudged-steps", type=int, help="left out, the file's")
    parser.add_argument("--repeats", type=int, default=3, help="rounds after the one that warms up (default 3)")
    parser.add_argument("--peer", type=Path, help="checkout of the official code (holds EquiProp/)")
    parser.add_argument("--memory-of", choices=["ours", "peer"], help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (PeerError, ep.EpgraphError) as error:
        sys.exit(f"error: {error}")

"""Seconds of training to reach each accuracy: the official code of the paper beside three ways of epgraph.

    python benchmarks/time_to_accuracy.py --peer CHECKOUT --data-root DIR --out DIR [--minutes 40] [--json FILE]

Hopfield-ResNet13 with channels / 8 (16-32-64-64) learns Fashion-MNIST: 6,000 training and 2,000 test images on 32×32,
normalized, not augmented. Every contender takes the same batches of 64 in the same order and the same optimizer: SGD
with Nesterov momentum 0.9, rate 0.03, weight decay 3.5e-4, the gradient's norm clipped to 1, as the official driver
has them; the rate is constant, since no run has a last epoch.

The official contender is built and called as its driver ``EquiProp/dhcnresnet.py`` does, with its settings for
Fashion-MNIST (120 + 50 + 50 sweeps, β = 0.15, its weight gains), and trained by its own ``Trainer``. It runs for
``--minutes`` on the first of ``--cores``. The others follow each other on the second one, for ``--ours`` minutes each.
Each is a process of one thread; minutes are of the processor, which other work on the machine disturbs less than the
clock. Both are noted. Evaluation is not timed. ``--out`` keeps the curves; a contender that has one is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from machine import circumstances
from matplotlib.figure import Figure
from peer import load
from timing import rounded
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torchvision.datasets import FashionMNIST

import epgraph as ep

FILE = Path(__file__).resolve().parent.parent / "examples" / "recipes" / "hopfield_resnet13_fashion_mnist.yaml"
CHANNELS = [16, 32, 64, 64]
TRAIN, TEST, BATCH = 6000, 2000, 64
RATE, MOMENTUM, DECAY, CLIP = 0.03, 0.9, 3.5e-4, 1.0
GAINS = [0.6, 0.6, 0.7] + [0.6, 0.7, 0.6] * 3 + [0.8]
"""Weight gains of the official driver."""

OVER_RELAXED = ["dynamics.schedule=coloring", "dynamics.over_relaxation=1.6"]
PREDICTIVE = ["init={rule: graph_aware}", "energy=predictive"]
SETTINGS = {
    "hopfield": [*OVER_RELAXED, "dynamics.free_steps=10", "dynamics.nudged_steps=8"],
    "settled": [*OVER_RELAXED, "dynamics.free_steps=60", "dynamics.nudged_steps=10", "dynamics.tolerance=0.005"],
    "predictive": [*PREDICTIVE, "learning.beta=0.02", "dynamics.solver=error_sweeps", "dynamics.nudged_steps=2"],
    "backprop": [*PREDICTIVE, "learning.estimator=backprop"],
}
"""What each of our contenders overrides in the recipe.

``settled`` takes as many sweeps as every batch needs: fixed few ones settle less and less as weights grow.
"""

Images = tuple[Tensor, Tensor]
Step = Callable[[Tensor, Tensor], None]


def images(root: Path, *, train: bool) -> Images:
    """The first images of the set, padded to 32×32 and normalized as the official code does it, with labels."""
    found = FashionMNIST(str(root), train=train)
    many = TRAIN if train else TEST
    pixels = torch.nn.functional.pad(found.data[:many, None].float() / 255, (2, 2, 2, 2))
    return (pixels - 0.286) / 0.353, found.targets[:many]


class Watch:
    """Serves batches, measures the time between them, and stops for an evaluation that is not timed."""

    def __init__(self, data: Images, accuracy: Callable[[], float], *, seconds: float, every: int, seed: int) -> None:
        self.data, self.accuracy, self.limit, self.every = data, accuracy, seconds, every
        self.order = torch.Generator().manual_seed(seed)
        self.seconds = self.processor = 0.0
        self.updates = 0
        self.curve: list[dict[str, float]] = []

    @property
    def over(self) -> bool:
        """Whether the time on the processor is used up."""
        return self.processor >= self.limit

    def __iter__(self) -> Iterator[Images]:
        x, y = self.data
        for rows in torch.randperm(len(x), generator=self.order).split(BATCH):
            clock, processor = time.perf_counter(), time.process_time()
            yield x[rows], y[rows]
            self.seconds += time.perf_counter() - clock
            self.processor += time.process_time() - processor
            self.updates += 1
            if self.updates % self.every == 0 or self.over:
                self.note()
            if self.over:
                return

    def note(self) -> None:
        """Evaluate, and add a point to the curve."""
        point = {"updates": self.updates, "seconds": self.seconds, "processor_seconds": self.processor}
        self.curve.append(rounded({**point, "accuracy": self.accuracy()}))
        print(self.curve[-1], file=sys.stderr, flush=True)


def official(arguments: argparse.Namespace) -> list[dict[str, float]]:
    """Train the official network with its own trainer."""
    code = load(arguments.peer)
    sys.path.insert(0, str(arguments.peer / "EquiProp"))
    trainer_class = import_module("training.epoch").Trainer
    torch.manual_seed(arguments.seed)
    widths = {f"num_hiddens_{i}": channels for i, channels in enumerate(CHANNELS, start=1)}
    energy = code.network.ConvHopfieldResEnergy32(1, 10, **widths, weight_gains=GAINS, activation="relu6")
    energy.set_device("cpu")
    layers, params = energy.layers(), energy.params()
    cost = code.cost.SquaredError(layers[-1])
    network = code.wrapper.Network(energy)
    augmented = code.training.AugmentedFunction(energy, cost)
    nudged = code.minimizer.FixedPointMinimizer(augmented, network.free_layers())
    nudged.num_iterations = 50
    estimator = code.training.EquilibriumProp(params, layers, augmented, cost, nudged)
    estimator.variant, estimator.nudging = "centered", 0.15
    free = code.minimizer.FixedPointMinimizer(energy, network.free_layers())
    free.num_iterations = 120
    groups = [{"params": param.state, "lr": RATE} for param in params]
    optimizer = torch.optim.SGD(groups, lr=RATE, momentum=MOMENTUM, weight_decay=DECAY, nesterov=True)
    x, y = images(arguments.data_root, train=False)

    def accuracy() -> float:
        states = [layer.state for layer in layers]
        right = 0
        for some, labels in zip(x.split(500), y.split(500), strict=True):
            network.set_input(some, reset=True)
            free.compute_equilibrium()
            right += int((layers[-1].state.argmax(1) == labels).sum())
        for layer, state in zip(layers, states, strict=True):
            layer.state = state  # the next batch starts where the last one ended, as in the official driver
        return right / len(y)

    watch = watching(arguments, accuracy, arguments.minutes, every=47)
    trainer = trainer_class(network, cost, params, watch, estimator, optimizer, free)
    while not watch.over:
        trainer.run()
    return watch.curve


def ours(arguments: argparse.Namespace) -> list[dict[str, float]]:
    """Train one of our contenders."""
    architecture = ep.load(FILE, ["parameters.width=0.125", *SETTINGS[arguments.only]])
    engine = ep.compile(architecture, dtype=arguments.dtype, seed=arguments.seed)
    x, y = images(arguments.data_root, train=False)
    optimizer = torch.optim.SGD(engine.parameters(), RATE, momentum=MOMENTUM, weight_decay=DECAY, nesterov=True)

    def accuracy() -> float:
        found = [engine.predict(some).states["y"].argmax(1) for some in x.split(500)]
        return float((torch.cat(found) == y).double().mean())

    watch = watching(arguments, accuracy, arguments.ours, every=arguments.every)
    while not watch.over:
        for some, labels in watch:
            optimizer.zero_grad()
            engine.backward(some, labels, keep=False)
            clip_grad_norm_(engine.parameters(), CLIP)
            optimizer.step()
    return watch.curve


def watching(arguments: argparse.Namespace, accuracy: Callable[[], float], minutes: float, *, every: int) -> Watch:
    """A watch over the training images."""
    data = images(arguments.data_root, train=True)
    return Watch(data, accuracy, seconds=60 * minutes, every=every, seed=arguments.seed)


def child(arguments: argparse.Namespace, name: str, core: int) -> subprocess.Popen[bytes] | None:
    """Start one contender in a process of its own, on a core, unless its curve is there."""
    if (arguments.out / f"{name}.json").exists():
        return None
    return subprocess.Popen([sys.executable, *sys.argv, "--only", name, "--core", str(core)])


def run_one(arguments: argparse.Namespace) -> None:
    """Be a contender, and keep its curve."""
    os.sched_setaffinity(0, {arguments.core})
    torch.set_num_threads(1)
    points = official(arguments) if arguments.only == "official" else ours(arguments)
    (arguments.out / f"{arguments.only}.json").write_text(json.dumps(points))


def reached(points: list[dict[str, float]], level: float, clock: str) -> float | None:
    """Seconds until a curve has the accuracy for the first time."""
    return next((point[clock] for point in points if point["accuracy"] >= level), None)


def levels(curves: dict[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    """For each accuracy that the official code reached first somewhere: everyone's seconds to it."""
    found: list[dict[str, Any]] = []
    best = 0.0
    for point in curves["official"]:
        if point["accuracy"] <= best:
            continue
        best = point["accuracy"]
        row: dict[str, Any] = {"accuracy": best}
        for clock in ("seconds", "processor_seconds"):
            row[clock] = {name: reached(points, best, clock) for name, points in curves.items()}
            theirs = row[clock]["official"]
            row[f"times_faster_by_{clock}"] = {n: theirs / s if s else None for n, s in row[clock].items()}
        found.append(rounded(row))
    return found


LABELS = {
    "official": "official code, 120 + 50 + 50 sweeps",
    "hopfield": "EP, Hopfield energy, 10 + 8 + 8 sweeps",
    "settled": "EP, Hopfield energy, sweeps to a tolerance",
    "predictive": "EP, predictive energy, 2 error sweeps",
    "backprop": "backpropagation",
}


def draw(curves: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Draw test accuracy against seconds of training on the processor."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, points in curves.items():
        seconds = [point["processor_seconds"] for point in points]
        marker = "o" if name == "official" else None
        axes.plot(seconds, [100 * point["accuracy"] for point in points], marker=marker, label=LABELS[name])
    axes.set_xscale("log")
    axes.set_xlabel("seconds of training on one core, log scale")
    axes.set_ylabel("test accuracy in %")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True, help="folder that holds EquiProp/")
    parser.add_argument("--data-root", type=Path, required=True, help="folder that holds FashionMNIST/")
    parser.add_argument("--minutes", type=float, default=40, help="training of the official code")
    parser.add_argument("--ours", type=float, default=6, help="training of each of ours")
    parser.add_argument("--every", type=int, default=20, help="updates of ours from evaluation to evaluation")
    parser.add_argument("--contenders", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--dtype", default="float32", help="precision of our states")
    parser.add_argument("--cores", type=int, nargs=2, default=[0, 1])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="folder that keeps the curves")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figure", type=Path, help="accuracy against seconds, e.g. curves.svg")
    parser.add_argument("--only", choices=["official", *SETTINGS], help=argparse.SUPPRESS)
    parser.add_argument("--core", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.only:
        run_one(arguments)
        return
    first = child(arguments, "official", arguments.cores[0])
    for name in arguments.contenders:
        process = child(arguments, name, arguments.cores[1])
        if process and process.wait():
            raise SystemExit(process.returncode)
    if first and first.wait():
        raise SystemExit(first.returncode)
    names = ["official", *arguments.contenders]
    curves = {name: json.loads((arguments.out / f"{name}.json").read_text()) for name in names}
    result = {"settings": SETTINGS, "curves": curves, "levels": levels(curves), **circumstances(torch.device("cpu"))}
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")
    if arguments.figure:
        draw(curves, arguments.figure)


if __name__ == "__main__":
    main()

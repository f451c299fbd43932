"""Measure how good a gradient each solver buys with how much work; print a table and write JSON.

    python benchmarks/quality.py examples/hopfield_resnet13.yaml --narrow 8 --checkpoint LAST.PT
        --data folder:IMAGES --json FILE

Quality is the cosine and the relative error of every edge's gradient against that of the converged network, in
float64; work is state updates (sweeps in which every state moves once; a pair of nudged phases counts two). Every
run starts from zeros, and every nudged pair from the free states of its own solver.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from machine import circumstances
from timing import rounded
from torch import Tensor

import epgraph as ep
from epgraph.data import load_data
from epgraph.engine import Engine
from epgraph.language import Architecture
from epgraph.runtime.phases import Nudge
from epgraph.training.checkpoint import load_checkpoint

TOLERANCE, MOST_SWEEPS = 1e-12, 1500
"""The reference is settled when no sweep changes it, or the odd part of the pair, by more than this."""

BASELINE = (120, 50)
"""Free and nudged sweeps of the published recipe, plain even_odd."""

SAME = 1e-4
"""Relative difference of free states from which two runs rest at different equilibria."""

PLAIN_FREE: tuple[int, ...] = (5, 6, 8, 10, 12, 15, 20, 30, 60, 120)
PLAIN_NUDGED: tuple[int, ...] = (5, 8, 10, 12, 15, 18, 20, 22, 25, 28, 30, 32, 35, 38, 40, 42, 45, 48, 50)
FAST_FREE: tuple[int, ...] = (5, 6, 8, 10, 12, 15, 20)
FAST_NUDGED: tuple[int, ...] = (4, 5, 6, 8, 10, 12, 15, 20)
"""Free and nudged sweeps that are measured in every combination, for plain sweeps and for faster solvers."""


@dataclass(frozen=True)
class Solver:
    """A setting of ``dynamics``; ``family`` is plain, closed, over-relaxed or anderson."""

    family: str
    dynamics: dict[str, Any]

    @property
    def name(self) -> str:
        """What the tables call it."""
        parts = [str(self.dynamics["schedule"])]
        if omega := self.dynamics.get("over_relaxation"):
            parts.append(f"ω {omega}")
        if memory := self.dynamics.get("anderson"):
            parts.append(f"anderson {memory}")
        if self.dynamics.get("output_step") == "closed_form":
            parts.append("closed")
        return ", ".join(parts)


def solvers() -> Iterator[Solver]:
    """Every setting that is measured."""
    for schedule in ("even_odd", "coloring", "sequential", "forward_backward"):
        yield Solver("plain", {"schedule": schedule})
    closed = {"output_step": "closed_form"}
    yield Solver("closed", {"schedule": "coloring", **closed})
    for schedule in ("coloring", "sequential"):
        for omega in (1.3, 1.5, 1.6, 1.7):
            yield Solver("over-relaxed", {"schedule": schedule, "over_relaxation": omega})
        for omega in (1.5, 1.6):
            yield Solver("over-relaxed", {"schedule": schedule, "over_relaxation": omega, **closed})
    for more in ({}, closed):
        yield Solver("anderson", {"schedule": "coloring", "anderson": 5, **more})


@dataclass(frozen=True)
class Point:
    """One run: its sweeps and work, and per edge 1 − cosine and relative error against the reference.

    ``near`` is 1 − cosine of the worst edge against the nearer of two: the reference, and the equilibrium to which
    the baseline's own free phase leads.
    """

    free: int
    nudged: int
    updates: float
    miss: dict[str, float]
    error: dict[str, float]
    near: float

    @property
    def worst(self) -> float:
        """1 − cosine of the worst edge."""
        return max(self.miss.values())

    def figure(self, *, near: bool) -> float:
        """What is compared with the baseline's."""
        return self.near if near else self.worst

    def row(self) -> list[float]:
        """Without the edges, in the order of ``front_columns``."""
        return [self.free, self.nudged, self.updates, self.worst, self.near, max(self.error.values())]

    def to_dict(self, *, edges: bool = False) -> dict[str, Any]:
        """Ready for JSON."""
        found: dict[str, Any] = {
            "free": self.free,
            "nudged": self.nudged,
            "updates": self.updates,
            "worst_edge_one_minus_cosine": self.worst,
            "the_same_against_the_nearer_equilibrium": self.near,
            "largest_relative_error": max(self.error.values()),
        }
        if edges:
            found["one_minus_cosine"] = self.miss
            found["relative_error"] = self.error
        return found


@dataclass
class Batch:
    """What was found on one batch."""

    seed: int
    reference: dict[str, Any]
    other: dict[str, Any]
    baseline: Point
    points: dict[str, list[Point]] = field(default_factory=dict)
    diverged: dict[str, int] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def narrow(architecture: Architecture, factor: int) -> Architecture:
    """Divide the channels of every state by ``factor``, and the fan-in that the output's bias is drawn with."""
    content = architecture.to_dict()
    for state in content["states"].values():
        if "channels" in state:
            state["channels"] //= factor
    bias = content["output"].get("bias")
    if isinstance(bias, dict) and "fan_in" in bias:
        bias["fan_in"] //= factor
    return Architecture.model_validate(content)


class Subject:
    """A network with trained weights and one batch."""

    def __init__(self, architecture: Architecture, weights: dict[str, Tensor], x: Tensor, y: Tensor) -> None:
        self.architecture = architecture
        self.weights = weights
        self.x = x.double()
        self.y = y
        self.beta = architecture.learning.beta

    def engine(self, dynamics: dict[str, Any]) -> Engine:
        """Compile the network for a setting of ``dynamics``."""
        content = self.architecture.to_dict()
        content["dynamics"] = dynamics
        engine = ep.compile(Architecture.model_validate(content), dtype=torch.float64, backend="eager")
        engine.load_state_dict(self.weights)
        return engine

    def free(self, engine: Engine, counts: Sequence[int]) -> Iterator[tuple[int, dict[str, Tensor], bool]]:
        """Free states from zeros after each of the counts, and whether they diverged."""
        states, taken = None, 0
        for count in counts:
            found = engine.relax(self.x, start=states, steps=count - taken, tolerance=0)
            yield count, found.states, bool(found.diverged)
            if not engine.architecture.dynamics.chosen_solver.mixes:  # whose history does not outlive a relaxation
                states, taken = found.states, count

    def nudged(
        self, engine: Engine, free: dict[str, Tensor], counts: Sequence[int], tolerance: float = 0.0
    ) -> Iterator[tuple[int, ep.Relaxation]]:
        """Pairs of nudged states after each of the counts."""
        nudge = Nudge(engine.cost, engine.executor.inputs.targets(self.y, len(self.x)), self.beta)
        clamped = engine.executor.clamp(self.x, engine.snapshot())
        start = {name: torch.cat((s, torch.zeros_like(s))) for name, s in free.items()}
        states, taken = start, 0
        for count in counts:
            found = engine.executor.run(clamped, states, count - taken, tolerance, nudge, pair=True)
            yield count, found
            if not engine.architecture.dynamics.chosen_solver.mixes:
                states, taken = found.states, count

    def gradient(self, engine: Engine, pair: dict[str, Tensor]) -> dict[str, Tensor]:
        """Centred EP gradient of every weight."""
        found = engine.executor.contrasts.by_parameters(
            engine.executor.clamp(self.x, engine.snapshot()), pair, -1.0 / (self.beta * len(self.x))
        )
        return {name: gradient for name, gradient in found if name.startswith("edges.")}

    def settle(self, start: dict[str, Tensor] | None = None) -> tuple[dict[str, Tensor], dict[str, Tensor], Any]:
        """Free states at rest, the gradient there, and how far from rest they are."""
        dynamics = {"schedule": "coloring", "over_relaxation": 1.5, "output_step": "closed_form"}
        try:
            engine = self.engine(dynamics)
        except ep.EpgraphError:  # not every network can be over-relaxed
            dynamics = {"schedule": "coloring"}
            engine = self.engine(dynamics)
        free = engine.relax(self.x, start=start, steps=MOST_SWEEPS, tolerance=TOLERANCE)
        [(_, pair)] = self.nudged(engine, free.states, [MOST_SWEEPS], TOLERANCE)
        about = {
            "dynamics": dynamics,
            "free_sweeps": free.steps,
            "free_residual": free.residual,
            "nudged_sweeps": pair.steps,
            "nudged_residual": pair.residual,
        }
        return free.states, self.gradient(engine, pair.states), about


def sweep_updates(engine: Engine) -> float:
    """State updates of one sweep, divided by the number of states that move."""
    return sum(len(updates) for updates in engine.plan.classes) / len(engine.graph.free)


Gradient = dict[str, Tensor]


def compare(gradient: Gradient, exacts: Sequence[Gradient]) -> tuple[dict[str, float], dict[str, float], float]:
    """Return 1 − cosine and relative error of every edge against the first, and the worst edge of the nearest."""
    found = [_compare(gradient, exact) for exact in exacts]
    return *found[0], min(max(miss.values()) for miss, _ in found)


def _compare(gradient: Gradient, exact: Gradient) -> tuple[dict[str, float], dict[str, float]]:
    miss, error = {}, {}
    for name, b in exact.items():
        edge = name.removeprefix("edges.").removesuffix(".weight")
        a = gradient[name]
        cosine = float((a * b).sum() / (a.norm() * b.norm()))
        miss[edge] = 2.0 if cosine != cosine else 1 - cosine  # NaN counts as the opposite direction
        error[edge] = float((a - b).norm() / b.norm())
    return miss, error


def measure(subject: Subject, seed: int) -> Batch:
    """Measure every solver on one batch."""
    started = time.perf_counter()
    rest, exact, about = subject.settle()
    engine = subject.engine({"schedule": "even_odd"})
    [(_, free, _)] = subject.free(engine, BASELINE[:1])
    [(_, pair)] = subject.nudged(engine, free, BASELINE[1:])
    gradient = subject.gradient(engine, pair.states)
    # From other states the network may come to rest elsewhere, and a run would be measured against a gradient that
    # it does not head for.
    own_rest, own_exact, own_about = subject.settle(free)
    apart = torch.stack([(own_rest[n] - s).flatten(1).square().sum(1) for n, s in rest.items()]).sum(0).sqrt()
    apart /= torch.stack([s.flatten(1).square().sum(1) for s in rest.values()]).sum(0).sqrt()
    own_about["examples_at_another_equilibrium"] = int((apart > SAME).sum())
    exacts = (exact, own_exact)
    free_steps, nudged_steps = BASELINE
    found = compare(gradient, exacts)
    baseline = Point(free_steps, nudged_steps, sweep_updates(engine) * (free_steps + 2 * nudged_steps), *found)
    batch = Batch(seed, about, own_about, baseline)
    _say(seed, started, f"reference {about}, other {own_about}, baseline {baseline.worst:.2e} {baseline.near:.2e}")
    for solver in solvers():
        try:
            engine = subject.engine(solver.dynamics)
        except ep.EpgraphError as error:
            batch.refused[solver.name] = str(error)
            continue
        grid(subject, solver, engine, exacts, batch)
        _say(seed, started, f"{solver.name}: {len(batch.points[solver.name])} runs")
    return batch


def grid(subject: Subject, solver: Solver, engine: Engine, exacts: Sequence[Gradient], batch: Batch) -> None:
    """Measure one solver at every pair of counts."""
    slow = solver.family in ("plain", "closed")
    frees, nudges = (PLAIN_FREE, PLAIN_NUDGED) if slow else (FAST_FREE, FAST_NUDGED)
    each = sweep_updates(engine)
    if each > 1:
        nudges = tuple(n for n in nudges if n * each <= max(nudges))
    points = batch.points.setdefault(solver.name, [])
    batch.diverged[solver.name] = 0
    for free_steps, free, lost in subject.free(engine, frees):
        for nudged_steps, pair in subject.nudged(engine, free, nudges):
            found = compare(subject.gradient(engine, pair.states), exacts)
            batch.diverged[solver.name] += lost or bool(pair.diverged)
            points.append(Point(free_steps, nudged_steps, each * (free_steps + 2 * nudged_steps), *found))


def front(points: Sequence[Point], *, near: bool) -> list[Point]:
    """Runs that no cheaper run equals, by the worst edge's cosine."""
    found: list[Point] = []
    for point in sorted(points, key=lambda p: (p.updates, p.figure(near=near))):
        if not found or point.figure(near=near) < found[-1].figure(near=near):
            found.append(point)
    return found


def cheapest(batches: Sequence[Batch], family: Sequence[Solver], *, near: bool) -> dict[str, Any] | None:
    """Return the cheapest run that is as good as the baseline on every one of the batches."""
    best: tuple[float, str, list[Point]] | None = None
    for solver in family:
        runs = [b.points.get(solver.name, []) for b in batches]
        for same in zip(*runs, strict=True):
            good = all(p.figure(near=near) <= b.baseline.figure(near=near) for p, b in zip(same, batches, strict=True))
            if good and (best is None or same[0].updates < best[0]):
                best = same[0].updates, solver.name, list(same)
    if best is None:
        return None
    return {"solver": best[1], "updates": best[0], "batches": [p.to_dict(edges=len(batches) > 1) for p in best[2]]}


FAMILIES = {
    "plain": ("plain",),
    "plain_or_closed": ("plain", "closed"),
    "over_relaxed": ("over-relaxed",),
    "anderson": ("anderson",),
}
"""What the ratios compare."""


def summary(batches: Sequence[Batch], *, near: bool) -> dict[str, Any]:
    """The cheapest runs of the baseline's quality and their ratios, over all of the batches given."""
    best = {k: cheapest(batches, [s for s in solvers() if s.family in f], near=near) for k, f in FAMILIES.items()}
    found: dict[str, Any] = {
        "bars": [batch.baseline.figure(near=near) for batch in batches],
        "baseline_updates": batches[0].baseline.updates,
        "cheapest": best,
        "cheapest_by_solver": {s.name: _cost(cheapest(batches, [s], near=near)) for s in solvers()},
    }
    plain = _cost(best["plain"])
    for name, run in best.items():
        cost = _cost(run)
        found[f"{name}_times_fewer_than_baseline"] = cost and found["baseline_updates"] / cost
        found[f"{name}_times_fewer_than_plain"] = cost and plain and plain / cost
    return found


def _cost(run: dict[str, Any] | None) -> float | None:
    return None if run is None else float(run["updates"])


def held_out(chosen: Sequence[Batch], others: Sequence[Batch], *, near: bool) -> dict[str, Any]:
    """How the runs that were cheapest on some batches do on others, which had no part in the choice."""
    found: dict[str, Any] = {"bars": [b.baseline.figure(near=near) for b in others]}
    for name, families in FAMILIES.items():
        best = cheapest(chosen, [s for s in solvers() if s.family in families], near=near)
        if best is None:
            continue
        counts = best["batches"][0]["free"], best["batches"][0]["nudged"]
        figures = []
        for batch in others:
            [point] = [p for p in batch.points.get(best["solver"], []) if (p.free, p.nudged) == counts]
            figures.append(point.figure(near=near))
        found[name] = {
            "solver": best["solver"],
            "free": counts[0],
            "nudged": counts[1],
            "updates": best["updates"],
            "figures": figures,
            "as_good": sum(f <= bar for f, bar in zip(figures, found["bars"], strict=True)),
        }
    return found


def print_held_out(chosen: Sequence[Batch], others: Sequence[Batch], *, near: bool) -> None:
    """Print on how many of the other batches the chosen runs are as good as the baseline."""
    found = held_out(chosen, others, near=near)
    whose = "the nearer equilibrium" if near else "the reference"
    print(f"\nChosen on {len(chosen)} batches, tried on {len(others)} others, against {whose}; 1 − cosine")
    print(f"{'120+50+50 plain even_odd (220)':48}" + "".join(f"{f:10.1e}" for f in found.pop("bars")))
    for name, run in found.items():
        what = f"{name}: {run['solver']} {run['free']}+{run['nudged']} ({run['updates']:.4g})"
        print(f"{what:48}" + "".join(f"{f:10.1e}" for f in run["figures"]) + f"   as good on {run['as_good']}")


def print_table(batches: Sequence[Batch], *, near: bool) -> None:
    """Print the cheapest run of each solver that is as good as the baseline, per batch and on every batch."""
    total = summary(batches, near=near)
    whose = "against the nearer equilibrium" if near else "against the reference"
    print(f"\nUpdates (free+nudged sweeps) for what 120+50+50 plain even_odd reaches {whose}")
    print(f"{'':32}" + "".join(f"{f'batch {b.seed}':>16}" for b in batches) + f"{'every':>8}")
    print(f"{'1 − cosine of its worst edge':32}" + "".join(f"{b.baseline.figure(near=near):16.2e}" for b in batches))
    for solver in solvers():
        cells = []
        for batch in batches:
            good = [
                p
                for p in front(batch.points.get(solver.name, []), near=near)
                if p.figure(near=near) <= batch.baseline.figure(near=near)
            ]
            if solver.name in batch.refused:
                cells.append("refused")
            else:
                cells.append(f"{good[0].updates:.4g} ({good[0].free}+{good[0].nudged})" if good else "–")
        every = total["cheapest_by_solver"][solver.name]
        print(f"{solver.name:32}" + "".join(f"{c:>16}" for c in cells) + (f"{every:8.4g}" if every else f"{'–':>8}"))
    for name in FAMILIES:
        ratios = [total[f"{name}_times_fewer_than_{than}"] for than in ("baseline", "plain")]
        if all(ratios):
            print(f"{name}: {ratios[0]:.2f} times fewer than 120+50+50, {ratios[1]:.2f} than the cheapest plain run")


def to_dict(batch: Batch) -> dict[str, Any]:
    """One batch, ready for JSON."""
    return {
        "seed": batch.seed,
        "reference": batch.reference,
        "baseline": batch.baseline.to_dict(edges=True),
        "other_equilibrium": batch.other,
        "summary": summary([batch], near=False),
        "summary_nearer_equilibrium": summary([batch], near=True),
        "front_columns": ["free", "nudged", "updates", "worst edge", "against the nearer equilibrium", "largest error"],
        "fronts": {n: [p.row() for p in front(points, near=False)] for n, points in batch.points.items()},
        "fronts_nearer_equilibrium": {
            n: [p.row() for p in front(points, near=True)] for n, points in batch.points.items()
        },
    }


def counts(batches: Sequence[Batch]) -> dict[str, Any]:
    """How many settings and runs there were, and how many of them failed."""
    return {
        "settings": len(list(solvers())),
        "refused": batches[0].refused,
        "runs": sum(len(points) for b in batches for points in b.points.values()),
        "diverged": sum(sum(b.diverged.values()) for b in batches),
        "settings_that_reach_the_baseline_nowhere_in_the_grid": {
            whose: [s.name for s in solvers() if cheapest(batches, [s], near=near) is None]
            for whose, near in (("reference", False), ("nearer_equilibrium", True))
        },
        "grid": {
            "plain": {"free": PLAIN_FREE, "nudged": PLAIN_NUDGED},
            "faster": {"free": FAST_FREE, "nudged": FAST_NUDGED},
        },
    }


def _say(seed: int, started: float, text: str) -> None:
    print(f"[{time.perf_counter() - started:6.1f} s] batch {seed}: {text}", file=sys.stderr, flush=True)


def main() -> int:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    architecture = narrow(ep.load(arguments.file), arguments.narrow)
    content = load_checkpoint(arguments.checkpoint)
    data = load_data(
        arguments.data,
        shape=architecture.input.shape,
        classes=architecture.output.classes,
        augment=False,
        limit=arguments.limit,
    ).train
    subjects = []
    seeds = [*arguments.seeds, *arguments.held_out]
    for seed in seeds:
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[: arguments.batch]
        xs, ys = zip(*(data[i] for i in order.tolist()), strict=True)
        subjects.append(Subject(architecture, content["model"], torch.stack(xs), torch.tensor(ys)))
    about = circumstances(torch.device("cpu"))
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("fork")) as pool:
        batches = list(pool.map(measure, subjects, seeds))
    chosen, others = batches[: len(arguments.seeds)], batches[len(arguments.seeds) :]
    for near in (False, True):
        print_table(batches, near=near)
        if others:
            print_held_out(chosen, others, near=near)
    found = counts(batches)
    print(f"{found['settings']} settings, {len(found['refused'])} refused", end="; ")
    print(f"{found['runs']} runs, {found['diverged']} diverged")
    if arguments.json:
        result = {
            **about,
            "file": arguments.file.name,
            "narrow": arguments.narrow,
            "checkpoint": {"file": arguments.checkpoint.name, "epoch": content.get("epoch")},
            "data": arguments.data_note or arguments.data,
            "batch": arguments.batch,
            "dtype": "float64",
            "beta": architecture.learning.beta,
            "quality": "1 - cosine and relative error of each edge's gradient; the worst edge decides",
            "counts": found,
            "every_batch": summary(batches, near=False),
            "every_batch_nearer_equilibrium": summary(batches, near=True),
            "held_out": {
                "chosen_on": arguments.seeds,
                "tried_on": arguments.held_out,
                "reference": held_out(chosen, others, near=False),
                "nearer_equilibrium": held_out(chosen, others, near=True),
            },
            "batches": [to_dict(batch) for batch in batches],
        }
        text = json.dumps(rounded(result), indent=1, ensure_ascii=False)
        # Lists of plain values go on one line.
        text = re.sub(r"\[[^][{}]*\]", lambda found: re.sub(r"\s+", " ", found[0]), text)
        arguments.json.write_text(text + "\n")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, metavar="FILE", help="architecture, e.g. examples/hopfield_resnet13.yaml")
    parser.add_argument("--narrow", type=int, default=1, metavar="N", help="divide all channels by this (default 1)")
    parser.add_argument("--checkpoint", type=Path, required=True, help="trained weights: last.pt of a run")
    parser.add_argument("--data", required=True, help="data set, e.g. folder:PATH; its training images are used")
    parser.add_argument("--data-note", help="what the data set is, for the result")
    parser.add_argument("--limit", type=int, help="choose from this many images, as 'epgraph train --limit' does")
    parser.add_argument("--batch", type=int, default=16, help="images in a batch (default 16)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="one batch is drawn by each (default 0 1)")
    parser.add_argument(
        "--held-out", type=int, nargs="*", default=[], help="batches on which the runs chosen on --seeds are tried"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of torch in each process (default 1)")
    parser.add_argument("--workers", type=int, default=1, help="processes, one batch each (default 1)")
    parser.add_argument("--json", type=Path, help="file for the result")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ep.EpgraphError as error:
        sys.exit(f"error: {error}")

"""Compare initial parameters: published gains against ``graph_aware``, on topologies listed beforehand.

    python benchmarks/initialisation.py [--topologies NAME …] [--development] [--seeds 0 1 2] [--json FILE]

Every network is trained on scikit-learn's digits by one recipe (``RECIPE``), from both kinds of initial parameters and
three seeds. Published stands for the gains of the published networks by the role of an edge: 0.6, 0.7 for a 1×1 skip,
0.8 into the output, biases 0.5 (docs/references.md, note 2). ``graph_aware`` is given no gain, and measures on the
first 32 training examples.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from machine import circumstances
from topologies import DEVELOPMENT, LISTED, Content
from torch import Tensor

import epgraph as ep
from epgraph.data import load_data
from epgraph.gradient_check.signal import survey

RECIPE: dict[str, Any] = {
    "dynamics": {"schedule": "coloring", "free_steps": 30, "nudged_steps": 15},
    "learning": {"estimator": "centered", "beta": 0.1},
    "training": {
        "epochs": 16,
        "batch_size": 32,
        "learning_rate": 0.01,
        "momentum": 0.9,
        "weight_decay": 0.0,
        "clip_norm": 1.0,
        "warm_start": False,
    },
}
"""The recipe that all runs share."""

OMEGA = 1.5
"""Over-relaxation where the language allows it (ReLUα and linear states, no max pooling), in both arms: the same
equilibria in fewer sweeps."""

GAINS = {"skip": 0.7, "output": 0.8, "other": 0.6}
SWEEPS, PROBES = 60, 32
CHANCE = 0.2
"""Accuracy up to which a network counts as at chance (10 classes)."""


@dataclass(frozen=True)
class Run:
    """One trained network: residual after 60 sweeps, signal at the output and norms before training, then accuracy."""

    topology: str
    rule: str
    seed: int
    residual: float
    output_signal: float
    norm: float
    largest: float
    accuracy: float
    trained_residual: float
    seconds: float


def architecture(content: Content, rule: str) -> ep.Architecture:
    """Put recipe and rule around a topology."""
    content = {**content, **RECIPE}
    if rule == "graph_aware":
        content["init"] = {"rule": rule}
    else:
        content["edges"] = [{**edge, "gain": gain(edge)} for edge in content["edges"]]
    try:
        over = {**content, "dynamics": {**RECIPE["dynamics"], "over_relaxation": OMEGA}}
        ep.compile(ep.Architecture.model_validate(over))
    except ep.EpgraphError:
        return ep.Architecture.model_validate(content)
    return ep.Architecture.model_validate(over)


def gain(edge: Content) -> float:
    """Published gain of an edge by its role."""
    return GAINS["skip" if "skip" in edge else "output" if edge["to"] == "y" else "other"]


def run(content: Content, rule: str, seed: int, data: dict[str, tuple[Tensor, Tensor]]) -> Run:
    """Compile, survey, train and test."""
    started = time.process_time()
    engine = ep.compile(architecture(content, rule), seed=seed)
    probes = data["train"][0][:PROBES]
    if rule == "graph_aware":
        engine.initialise(probes)
    before = survey(engine, probes, sweeps=SWEEPS)
    accuracy = train(engine, seed, data)
    residuals = engine.relax(probes, steps=SWEEPS).residuals
    return Run(
        content["name"],
        rule,
        seed,
        before.residual,
        before.signal[engine.graph.output.name],
        before.norm,
        before.largest,
        accuracy,
        float(residuals.median()),
        round(time.process_time() - started, 1),
    )


def train(engine: ep.Engine, seed: int, data: dict[str, tuple[Tensor, Tensor]]) -> float:
    """Train by the recipe with a cosine schedule over the updates; return the accuracy on the test set."""
    training = engine.architecture.training
    x, y = data["train"]
    optimizer = torch.optim.SGD(
        engine.parameters(), lr=training.learning_rate, momentum=training.momentum, nesterov=training.nesterov
    )
    updates = training.epochs * math.ceil(len(x) / training.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(training.epochs):
        for rows in torch.randperm(len(x), generator=generator).split(training.batch_size):
            optimizer.zero_grad(set_to_none=True)
            engine.backward(x[rows], y[rows], keep=False)
            norm = torch.nn.utils.clip_grad_norm_(engine.parameters(), training.clip_norm or math.inf)
            if not math.isfinite(float(norm)):
                return 0.0  # diverged
            optimizer.step()
            schedule.step()
    x, y = data["test"]
    return float((engine.relax(x, steps=SWEEPS).states[engine.graph.output.name].argmax(1) == y).double().mean())


def digits() -> dict[str, tuple[Tensor, Tensor]]:
    """Return training and test set as whole tensors."""
    found = load_data("digits", shape=(1, 8, 8), classes=10)
    made = {}
    for name, part in (("train", found.train), ("test", found.test)):
        examples = [part[i] for i in range(len(part))]
        made[name] = (torch.stack([x for x, _ in examples]), torch.tensor([y for _, y in examples]))
    return made


def summary(runs: list[Run]) -> Iterator[dict[str, Any]]:
    """Mean and spread over the seeds of each topology, both rules side by side."""
    for topology in dict.fromkeys(r.topology for r in runs):
        row: dict[str, Any] = {"topology": topology}
        for rule in dict.fromkeys(r.rule for r in runs):
            some = [r for r in runs if (r.topology, r.rule) == (topology, rule)]
            accuracies = [r.accuracy for r in some]
            row[rule] = {
                "accuracy": statistics.mean(accuracies),
                "lowest": min(accuracies),
                "highest": max(accuracies),
                "residual": statistics.median(r.residual for r in some),
                "output_signal": statistics.median(r.output_signal for r in some),
                "largest": statistics.median(r.largest for r in some),
                "norm": statistics.median(r.norm for r in some),
                "trained_residual": statistics.median(r.trained_residual for r in some),
            }
        yield row


def table(rows: list[dict[str, Any]]) -> str:
    """Lay the summary out."""
    rules = [key for key in rows[0] if key != "topology"]
    heads = ["topology"]
    for rule in rules:
        heads += [f"{rule}: accuracy", "lowest–highest", "residual", "signal", "norm", "active"]
    lines = [heads]
    for row in rows:
        cells = [row["topology"]]
        for rule in rules:
            r = row[rule]
            cells += [f"{r['accuracy']:.1%}", f"{r['lowest']:.1%}–{r['highest']:.1%}"]
            cells += [f"{r['residual']:.0e}", f"{r['output_signal']:.0e}", f"{r['norm']:.2f}", f"{r['largest']:.2f}"]
        lines.append(cells)
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    return "\n".join(" | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--development", action="store_true", help="the topologies that the rule was chosen on")
    parser.add_argument("--topologies", nargs="+", metavar="NAME")
    parser.add_argument("--rules", nargs="+", default=["published", "graph_aware"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    known = DEVELOPMENT if arguments.development else LISTED
    torch.set_num_threads(1)
    data = digits()
    runs = []
    for name in arguments.topologies or known:
        for rule in arguments.rules:
            for seed in arguments.seeds:
                runs.append(run(known[name], rule, seed, data))
                print(json.dumps(asdict(runs[-1])), flush=True)
    rows = list(summary(runs))
    print(table(rows))
    if arguments.json:
        found = {
            **circumstances(torch.device("cpu")),
            "recipe": RECIPE,
            "over_relaxation_where_allowed": OMEGA,
            "published_gains": GAINS,
            "summary": rows,
            "runs": [asdict(r) for r in runs],
        }
        arguments.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

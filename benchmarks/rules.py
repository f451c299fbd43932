"""Train the digits with every learning rule, and with every dynamics and cost that has settings of its own.

    python benchmarks/rules.py [RULE ...] [--seeds 0 1 2] [--json FILE]

The network is ``examples/digits_tanh.yaml`` with the settings of ``SETTINGS``; accuracy is that of the last epoch
on 360 test images. Prints the table of ``docs/learning.md``; ``make test-slow`` holds every row to 95 %.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from machine import circumstances

import epgraph as ep
from epgraph.data import load_data
from epgraph.estimators import ESTIMATORS
from epgraph.graph import load
from epgraph.training import Run, Trainer

EXAMPLE = Path(__file__).parents[1] / "examples" / "digits_tanh.yaml"
COMMON = ("training.epochs=6",)

SETTINGS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(ESTIMATORS, ()),
    "untied feedback": ("learning.feedback=untied",),
    "cross-entropy": ("output.cost=cross_entropy",),
    "softmax readout": ("output.cost=softmax_readout",),
    "relu1": ("defaults.activation=relu1",),
    "learnt levels": ("defaults.activation={relu: 1, learn: true}",),
    "softclip": ("defaults.activation={softclip: {alpha: 1, sharpness: 12}}",),
    "gradient flow": ("dynamics.flow=0.5", "dynamics.free_steps=40", "dynamics.nudged_steps=20"),
    "noise": ("dynamics.noise=0.02",),
    "6 bits": ("dynamics.state_bits=6", "dynamics.weight_bits=6"),
}
"""What each row sets besides ``COMMON``; one named like an estimator uses it, the others centred EP."""


def train(name: str, seed: int) -> dict[str, float]:
    """Train one row; returns accuracy on test images, and seconds."""
    rule = f"learning.estimator={name if name in ESTIMATORS else 'centered'}"
    architecture = load(EXAMPLE, [*COMMON, *SETTINGS[name], rule, f"training.seed={seed}"])
    data = load_data(
        "digits", shape=architecture.input.shape, classes=architecture.output.classes or 0, root=Path("data")
    )
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        metrics = Trainer(ep.compile(architecture), data, Run(Path(folder), progress=False)).train()
    return {"accuracy": 1 - metrics["test_error"], "seconds": time.perf_counter() - started}


def row(name: str, runs: list[dict[str, float]]) -> str:
    """Line of the table."""
    accuracy = [100 * run["accuracy"] for run in runs]
    settings = " ".join(f"`{setting}`" for setting in SETTINGS[name]) or "–"
    spread = f"{mean(accuracy):.1f} ({min(accuracy):.1f}–{max(accuracy):.1f})"
    return f"| {name} | {settings} | {spread} | {mean(run['seconds'] for run in runs):.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rules", nargs="*", choices=[[], *SETTINGS], metavar="RULE", help="rows; all where left out")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    print("| rule | settings | accuracy (least–most) % | seconds |\n| --- | --- | --: | --: |")
    for name in arguments.rules or SETTINGS:
        found[name] = [{"seed": seed, **train(name, seed)} for seed in arguments.seeds]
        print(row(name, found[name]), flush=True)
    if arguments.json:
        result = {**circumstances(torch.device("cpu")), "common": COMMON, "settings": SETTINGS, "runs": found}
        arguments.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

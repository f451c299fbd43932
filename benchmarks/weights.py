"""Distributions of the weights of trained networks, edge by edge, side by side (Fig. 4 of the paper).

    PYTHONPATH=. python benchmarks/weights.py RUN RUN... [--json FILE] [--figure FILE]

For each edge and run: the standard deviation of the weights, and the share of near-zero ones, |w| < 0.01. The runs are
run folders of one wiring; give those that are to be compared the same initial distribution, epochs and weight decay.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from machine import circumstances
from matplotlib.figure import Figure
from timing import rounded
from torch import Tensor

import epgraph as ep

NEAR_ZERO = 0.01
BINS = 60


def weights(folder: Path) -> dict[str, Tensor]:
    """Return the weights of a run's last checkpoint by the names of their edges."""
    parameters = ep.load_run(folder).engine.state_dict()
    return {name.split(".")[1]: value for name, value in parameters.items() if name.endswith(".weight")}


def figures(weight: Tensor) -> dict[str, float]:
    """Return what is compared of the weights of an edge."""
    return {"deviation": float(weight.std()), "near_zero": float((weight.abs() < NEAR_ZERO).double().mean())}


def draw(runs: dict[str, dict[str, Tensor]], path: Path) -> None:
    """Draw a histogram for each edge."""
    edges = list(next(iter(runs.values())))
    columns = 5
    rows = -(-len(edges) // columns)
    figure = Figure(figsize=(2.6 * columns, 2 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes, edge in zip(panels, edges, strict=False):
        span = max(float(own[edge].abs().quantile(0.995)) for own in runs.values())
        for name, own in runs.items():
            values = own[edge].flatten().numpy()
            axes.hist(values, BINS, range=(-span, span), density=True, histtype="step", label=name)
        axes.set(title=edge, yticks=[])
        axes.spines[["top", "right", "left"]].set_visible(False)
    for axes in list(figure.axes)[len(edges) :]:
        axes.set_axis_off()
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="lower right", frameon=False)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figure", type=Path, help="histograms, e.g. weights.svg")
    arguments = parser.parse_args()
    runs = {folder.name: weights(folder) for folder in arguments.runs}
    edges = list(next(iter(runs.values())))
    table = {edge: {name: rounded(figures(own[edge])) for name, own in runs.items()} for edge in edges}
    result = {"near_zero": NEAR_ZERO, "edges": table, **circumstances(torch.device("cpu"))}
    print(json.dumps(result, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    if arguments.figure:
        draw(runs, arguments.figure)


if __name__ == "__main__":
    main()

"""Measure how well the gradient of each parameter in low precision agrees with that in float64.

    python benchmarks/precision.py examples/recipes/hopfield_resnet13_fashion_mnist.yaml --set parameters.width=0.125
        --set init=published --set dynamics.schedule=coloring --set dynamics.over_relaxation=1.6
        --set dynamics.free_steps=15 --set dynamics.nudged_steps=12 --data-root data

It prints the cosine of every parameter, on each of some batches of 16 training images, with initial weights or those of
a checkpoint. The second column of each batch has the cosine of the gradient in float64 with rounded weights.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from gradients import cosines
from machine import circumstances
from torch import Tensor

import epgraph as ep
from epgraph.engine import Engine
from epgraph.language import Architecture
from epgraph.training import initialise, load_checkpoint, load_parameters

Gradients = dict[str, Tensor]


def gradient(
    architecture: Architecture, weights: dict[str, Tensor], dtype: torch.dtype, x: Tensor, y: Tensor
) -> tuple[Gradients, float]:
    """Gradient of every parameter in float64, and the seconds that it took."""
    engine = ep.compile(architecture, dtype=dtype, initialised=False)
    engine.load_state_dict(weights)
    started = time.perf_counter()
    engine.backward(x, y, keep=False)
    seconds = time.perf_counter() - started
    return {n: p.grad.double() for n, p in engine.named_parameters() if p.grad is not None}, seconds


def measure(
    architecture: Architecture, weights: dict[str, Tensor], dtype: torch.dtype, x: Tensor, y: Tensor
) -> dict[str, Any]:
    """Cosines on one batch: in a precision, and in float64 with the weights of that precision."""
    exact, _ = gradient(architecture, weights, torch.float64, x, y)
    found, seconds = gradient(architecture, weights, dtype, x, y)
    rounded = {n: v.to(dtype).float() if n.endswith("weight") else v for n, v in weights.items()}
    alone, _ = gradient(architecture, rounded, torch.float64, x, y)
    return {"all": cosines(found, exact), "weights_alone": cosines(alone, exact), "seconds": round(seconds, 2)}


def start(architecture: Architecture, dataset: Any, checkpoint: Path | None) -> Engine:
    """Network with the weights to measure at."""
    engine = ep.compile(architecture, dtype=torch.float32, initialised=False)
    if checkpoint is None:
        initialise(engine, dataset)
    else:
        load_parameters(engine, load_checkpoint(checkpoint), str(checkpoint))
    return engine


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, metavar="FILE", help="network file")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--checkpoint", type=Path, help="weights: run folder or .pt file; left out, initial ones")
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--dtype", choices=["bfloat16", "float16", "float32"], default="bfloat16")
    parser.add_argument("--batch", type=int, default=16, help="images in a batch (default 16)")
    parser.add_argument("--batches", type=int, default=3, help="batches, the first ones of the data (default 3)")
    parser.add_argument("--json", type=Path, help="file for the result")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    architecture = ep.load(arguments.file, arguments.overrides)
    dataset = ep.load_data(architecture, root=arguments.data_root, augment=False).train
    weights = start(architecture, dataset, arguments.checkpoint).state_dict()
    results = []
    for batch in range(arguments.batches):
        pairs = [dataset[i] for i in range(batch * arguments.batch, (batch + 1) * arguments.batch)]
        x, y = torch.stack([pair[0] for pair in pairs]), torch.tensor([int(pair[1]) for pair in pairs])
        found = measure(architecture, weights, getattr(torch, arguments.dtype), x, y)
        results.append(found)
        worst = min(found["all"], key=found["all"].get)
        alone = min(found["weights_alone"].values())
        print(
            f"batch {batch}: lowest {found['all'][worst]:.5f} ({worst}); by the weights alone {alone:.5f}", flush=True
        )
    print(f"\n{'':24}" + "".join(f"{f'batch {i}':>18}" for i in range(len(results))))
    for name in results[0]["all"]:
        cells = (f"{one['all'][name]:9.5f}{one['weights_alone'][name]:9.5f}" for one in results)
        print(f"{name:24}" + "".join(cells))
    if arguments.json:
        about = {**circumstances(torch.device("cpu")), "file": arguments.file.name, "overrides": arguments.overrides}
        text = json.dumps({**about, "dtype": arguments.dtype, "batches": results}, indent=1)
        arguments.json.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ep.EpgraphError as error:
        sys.exit(f"error: {error}")

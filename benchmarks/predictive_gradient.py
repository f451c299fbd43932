"""Compare EP on the predictive energy with backpropagation of the same network, on random smooth DAGs, in float64.

    PYTHONPATH=. python benchmarks/predictive_gradient.py [--networks N] [--json FILE]

The networks (``tests/helpers/studied.py``) have 3 to 7 states that move, edges over states, and smooth activations.
Prints a line a network and the extremes; exit code 1 if a bar is missed. On a few networks coloured
sweeps never come to rest: their figures are listed by seed, and the bar of those sweeps is for the others.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from machine import circumstances

from tests.helpers.studied import BETA, BETAS, POPULATION, ROUNDS, SWEEPS, Studied, candidates, study

HEADER = "| seed | states | cost | slope | +β | −β | error at .01 | 1 − cosine, sweeps | rounds | states apart |"


def row(found: Studied) -> str:
    """Line of the table."""
    one_sided = " | ".join(f"{value:.3f}" for value in found.slopes_one_sided)
    small = (found.errors[BETAS.index(BETA)], 1 - found.cosine_sweeps, 1 - found.cosine_rounds, found.apart)
    rest = " | ".join("no rest" if value is None else f"{value:.1e}" for value in small)
    return f"| {found.seed} | {found.moving} | {found.cost} | {found.slope:.4f} | {one_sided} | {rest} |"


def extremes(found: list[Studied]) -> dict[str, Any]:
    """Least and largest of every figure that has a bar; of coloured sweeps, where they come to rest and elsewhere."""
    one_sided = [slope for one in found for slope in one.slopes_one_sided]
    return {
        "slope": [min(one.slope for one in found), max(one.slope for one in found)],
        "slopes_one_sided": [min(one_sided), max(one_sided)],
        "cosine_rounds": min(one.cosine_rounds for one in found),
        "cosine_sweeps": min(one.cosine_sweeps for one in found if one.rests),
        "apart": max(one.apart for one in found if one.apart is not None),
        "without_rest": {one.seed: one.cosine_sweeps for one in found if not one.rests},
    }


def missed(found: list[Studied]) -> list[str]:
    """Bars that a population misses."""
    seen = extremes(found)
    bars = {
        "slope within 1.9 and 2.1": 1.9 <= seen["slope"][0] <= seen["slope"][1] <= 2.1,
        f"cosine ≥ 0.9999 after {SWEEPS} coloured sweeps, if they come to rest": seen["cosine_sweeps"] >= 0.9999,
        f"cosine ≥ 0.9999 after {ROUNDS} error sweeps": seen["cosine_rounds"] >= 0.9999,
        "equilibria apart by ≤ 1e-9": seen["apart"] <= 1e-9,
        "coloured sweeps come to rest on 95 % of the networks": len(seen["without_rest"]) <= 0.05 * len(found),
    }
    return [bar for bar, met in bars.items() if not met]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=100)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found: list[Studied] = []
    print(f"{HEADER}\n|{' --: |' * HEADER.count('|', 1)}", flush=True)
    for seed, data in candidates():
        studied = study(seed, data)
        if studied is None:
            continue
        found.append(studied)
        print(row(studied), flush=True)
        if len(found) >= arguments.networks:
            break
    seen, fails = extremes(found), missed(found)
    print(f"{len(found)} networks: {seen}")
    if arguments.json:
        population = {"activations": list(POPULATION["activations"]), "moving": POPULATION["moving"]}
        population |= {"gain": POPULATION["gain"]}
        settings = {"betas": BETAS, "beta": BETA, "sweeps": SWEEPS, "rounds": ROUNDS}
        result = {**circumstances(torch.device("cpu")), **settings, "population": population, "extremes": seen}
        arguments.json.write_text(json.dumps({**result, "networks": [asdict(one) for one in found]}, indent=1))
    if fails:
        sys.exit("missed: " + "; ".join(fails))


if __name__ == "__main__":
    main()

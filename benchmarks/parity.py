"""Compare epgraph with the official code of the paper on equal weights and real images.

    python benchmarks/parity.py --peer CHECKOUT --data IMAGES --json benchmarks/results/parity-cpu.json

Both systems start from the zero state, take the same even/odd iterations and nudge by ±β. Weights are drawn
by epgraph in float32 and images are rounded to float32, so that all four runs (two systems, two precisions)
have exactly the same numbers to start from. Exits with 1 if any figure misses its bar.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from machine import circumstances
from peer import Peer, PeerError, relative_difference
from PIL import Image
from torch import Tensor

import epgraph as ep
from epgraph.engine import Engine

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
MEAN = (0.4914, 0.4822, 0.4465)
STD = tuple(3 * s for s in (0.2023, 0.1994, 0.2010))
BETA = 0.1

STATES_64_STEPS, STATES_64_BAR = 20, 1e-10
STATES_32_STEPS, STATES_32_BAR = 120, 1e-5
GRADIENTS_64_BAR = 1e-7


@dataclass(frozen=True)
class Row:
    """One line of the table.

    ``figure`` passes if it is below ``bar``; ``also`` is a second figure that is only shown.
    """

    check: str
    network: str
    item: str
    figure: float
    bar: float
    also: float | None = None

    @property
    def passed(self) -> bool:
        """Whether the figure meets its bar; NaN does not."""
        return self.figure <= self.bar


@dataclass(frozen=True)
class Case:
    """A network with the weights, images and step counts on which both systems are compared."""

    file: str
    weights: dict[str, Tensor]
    x: Tensor
    y: Tensor
    free_steps: int
    nudged_steps: int
    checkout: Path

    def pair(self, dtype: torch.dtype) -> tuple[Engine, Peer]:
        """Both systems in one precision, with the case's weights."""
        engine = ep.compile(EXAMPLES / f"{self.file}.yaml", dtype=dtype, schedule="even_odd")
        engine.load_state_dict(self.weights)
        return engine, Peer(self.checkout, engine)


def check_states_64(case: Case) -> Iterator[Row]:
    """a. Largest difference of each state over 20 iterations in float64."""
    for name, differences in _state_differences(case, torch.float64, STATES_64_STEPS).items():
        yield Row("a. states, float64", case.file, name, max(differences), STATES_64_BAR)


def check_states_32(case: Case) -> Iterator[Row]:
    """b. Difference of each state after 120 iterations in float32; also the largest on the way."""
    for name, differences in _state_differences(case, torch.float32, STATES_32_STEPS).items():
        yield Row("b. states, float32", case.file, name, differences[-1], STATES_32_BAR, max(differences))


def check_gradients(case: Case) -> Iterator[Row]:
    """Compare centred gradients: c. in float64; d. the error of float32, ours and (also) theirs."""
    ours_64, theirs_64 = _gradients(case, torch.float64)
    for name, gradient in ours_64.items():
        figure = relative_difference(gradient, theirs_64[name])
        yield Row("c. gradients, float64", case.file, name, figure, GRADIENTS_64_BAR)
    ours_32, theirs_32 = _gradients(case, torch.float32)
    for name in ours_64:
        if name.startswith("edges."):
            ours = relative_difference(ours_32[name], ours_64[name])
            theirs = relative_difference(theirs_32[name], theirs_64[name])
            yield Row("d. gradient error, float32", case.file, name, ours, theirs)


CHECKS: dict[str, tuple[Callable[[Case], Iterator[Row]], ...]] = {
    "hopfield_resnet13": (check_states_64, check_gradients),
    "vgg5": (check_states_32, check_gradients),
}
"""What is checked on each example."""

STEPS = {"hopfield_resnet13": (30, 15), "vgg5": (120, 50)}
"""Free and nudged iterations of the gradients, where the command does not say."""

COLUMNS = {
    "a.": ("largest", ""),
    "b.": ("at the end", "largest"),
    "c.": ("difference", ""),
    "d.": ("epgraph", ""),
}
"""Headings of the figure and of the second figure; the bar of d. is the official code's error."""


def _state_differences(case: Case, dtype: torch.dtype, steps: int) -> dict[str, list[float]]:
    """Relative difference of every state after each iteration."""
    engine, peer = case.pair(dtype)
    x = case.x.to(dtype)
    states: dict[str, Tensor] | None = None
    found: dict[str, list[float]] = defaultdict(list)
    for step in range(steps):
        states = engine.relax(x, start=states, steps=1, tolerance=0).states
        official = peer.relax(x, 1, reset=step == 0)
        for name, state in states.items():
            found[name].append(relative_difference(state, official[name]))
    return found


def _gradients(case: Case, dtype: torch.dtype) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Centred gradients of both systems, the official one before its clipping."""
    engine, peer = case.pair(dtype)
    x = case.x.to(dtype)
    engine.backward(
        x,
        case.y,
        estimator="centered",
        beta=BETA,
        free_steps=case.free_steps,
        nudged_steps=case.nudged_steps,
        tolerance=0,
    )
    ours = {name: p.grad for name, p in engine.named_parameters() if p.grad is not None}
    peer.relax(x, case.free_steps)
    return ours, peer.unclipped_gradient(case.y, beta=BETA, steps=case.nudged_steps)


def read_images(source: Path | None, count: int) -> tuple[Tensor, Tensor]:
    """Return ``count`` normalised images (count, 3, 32, 32) and their labels, one of each class in turn.

    From ``train/<class>/*.jpg`` in a folder or a zip; uniform noise where ``source`` is None.
    """
    if source is None:
        generator = torch.Generator().manual_seed(0)
        pixels = torch.rand(count, 3, 32, 32, generator=generator, dtype=torch.float64)
        labels = torch.arange(count) % 10
    else:
        chosen = _choose(source, count)
        pixels = torch.stack([_decode(data) for data, _ in chosen])
        labels = torch.tensor([label for _, label in chosen])
    mean = torch.tensor(MEAN, dtype=torch.float64).view(3, 1, 1)
    std = torch.tensor(STD, dtype=torch.float64).view(3, 1, 1)
    return ((pixels - mean) / std).float(), labels


def _choose(source: Path, count: int) -> list[tuple[bytes, int]]:
    """Contents and label of the first images: one of every class, then the next of every class."""
    classes: dict[str, list[str]] = defaultdict(list)
    archive = zipfile.ZipFile(source) if source.is_file() else None
    names = archive.namelist() if archive else [str(p) for p in source.rglob("*.jpg")]
    for name in sorted(names):
        parts = Path(name).parts
        if name.endswith(".jpg") and len(parts) >= 3 and parts[-3] == "train":
            classes[parts[-2]].append(name)
    if len(classes) < 2 or sum(map(len, classes.values())) < count:
        raise SystemExit(f"{source}: found no {count} images of two classes or more as train/<class>/*.jpg")
    labels = {name: label for label, name in enumerate(sorted(classes))}
    order = sorted((rank, c) for c, files in classes.items() for rank in range(len(files)))
    read = archive.read if archive else lambda name: Path(name).read_bytes()
    return [(read(classes[c][rank]), labels[c]) for rank, c in order[:count]]


def _decode(data: bytes) -> Tensor:
    image = Image.open(io.BytesIO(data)).convert("RGB").resize((32, 32))
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return pixels.view(32, 32, 3).permute(2, 0, 1).double() / 255


def print_table(rows: list[Row]) -> None:
    """Print the rows of one check on one network."""
    first, second = COLUMNS[rows[0].check[:2]]
    bar = "official" if rows[0].check.startswith("d.") else "bar"
    print(f"\n{rows[0].check}: {rows[0].network}")
    print(f"  {'':28}{first:>12}{second:>12}{bar:>12}")
    for row in rows:
        also = "" if row.also is None else f"{row.also:.1e}"
        verdict = "PASS" if row.passed else "FAIL"
        print(f"  {row.item:28}{row.figure:>12.1e}{also:>12}{row.bar:>12.1e}  {verdict}", flush=True)


def main() -> int:
    arguments = _arguments()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    x, y = read_images(arguments.data, arguments.batch)
    networks = list(CHECKS) if arguments.net == "all" else [arguments.net]
    about = circumstances(torch.device("cpu"))
    rows: list[Row] = []
    seconds: dict[str, float] = {}
    steps: dict[str, dict[str, int]] = {}
    for network in networks:
        engine = ep.compile(EXAMPLES / f"{network}.yaml", dtype=torch.float32, seed=arguments.seed)
        free = arguments.free_steps or STEPS[network][0]
        nudged = arguments.nudged_steps or STEPS[network][1]
        steps[network] = {"free": free, "nudged": nudged}
        case = Case(network, engine.state_dict(), x, y, free, nudged, arguments.peer)
        print(f"\n{network}: batch {len(x)}, gradients with {free} free and {nudged} nudged steps, β {BETA}")
        for check in CHECKS[network]:
            started = time.perf_counter()
            found = list(check(case))
            for title in dict.fromkeys(row.check for row in found):
                print_table([row for row in found if row.check == title])
            seconds[f"{network}: {check.__name__}"] = round(time.perf_counter() - started, 1)
            rows += found
    failed = [row for row in rows if not row.passed]
    print(f"\n{len(rows) - len(failed)} of {len(rows)} figures meet their bar")
    if arguments.json:
        result = {
            **about,
            "data": "uniform noise" if arguments.data is None else arguments.data.name,
            "batch": len(x),
            "seed": arguments.seed,
            "beta": BETA,
            "gradient_steps": steps,
            "seconds": seconds,
            "passed": not failed,
            "rows": [{**asdict(row), "passed": row.passed} for row in rows],
        }
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True, help="official code: the folder with EquiProp/")
    parser.add_argument("--data", type=Path, help="folder or zip with train/<class>/*.jpg; left out, noise")
    parser.add_argument("--net", choices=[*CHECKS, "all"], default="all")
    parser.add_argument("--json", type=Path, help="file for the result")
    parser.add_argument("--batch", type=int, default=2, help="images (default 2)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights (default 0)")
    parser.add_argument("--free-steps", type=int, help="of the gradients (default 30, vgg5 120)")
    parser.add_argument("--nudged-steps", type=int, help="of the gradients (default 15, vgg5 50)")
    parser.add_argument("--threads", type=int, help="threads of torch")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except PeerError as error:
        sys.exit(f"error: {error}")

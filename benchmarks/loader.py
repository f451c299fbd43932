"""Examples a second that batches of images take to prepare, beside torchvision one image at a time, in turn.

    python benchmarks/loader.py [--images N] [--repeats N] [--device D] [--json FILE]

Images of 32×32, noise, are kept in a memory-mapped file as those of a folder are. Two preparations, each in whole
batches of 128 and as torchvision's transforms of Pillow images: crop, flip and normalization; the same with
RandAugment(3, 9). Then the share of an epoch that the loader takes, of `examples/digits.yaml` and of
Hopfield-ResNet13 at an eighth of its width, which takes the same batches of images with RandAugment. Times are those of
the threads on the processor: what else the machine does weighs less on them than on the clock, whose figures are
beside.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import circumstances
from PIL import Image
from timing import Action, ratio, rounded, seconds, spread
from torchvision import transforms

import epgraph as ep
from epgraph.augmentation import Augmentation
from epgraph.data import DATA_SETS
from epgraph.data.examples import ArrayImages, Examples
from epgraph.data.prepare import Preparation
from epgraph.training.batches import batches, shuffled

BATCH = 128
FEWER = 16
"""One image at a time is so much slower that it takes this share of the images."""

PLAIN, RANDOM = Augmentation(flip=0.5, crop=4), Augmentation(flip=0.5, randaugment=3, magnitude=9, crop=4)


def whole_batches(examples: Examples, device: torch.device) -> Action:
    def epoch() -> None:
        order = shuffled(len(examples), 0, 0)
        deque(batches(examples, BATCH, device=device, order=order, draw=(0, 0)), maxlen=0)

    return epoch


def one_at_a_time(examples: Examples) -> Action:
    recipe, augmentation = examples.preparation.recipe, examples.preparation.augmentation
    changed = transforms.Compose(
        [
            transforms.RandomHorizontalFlip(augmentation.flip),
            *(
                [transforms.RandAugment(augmentation.randaugment, augmentation.magnitude)]
                * bool(augmentation.randaugment)
            ),
            transforms.RandomCrop(32, padding=augmentation.crop, padding_mode="edge"),
            transforms.ToTensor(),
            transforms.Normalize(recipe.mean, recipe.std),
        ]
    )
    pixels = np.moveaxis(examples.images.array[: len(examples) // FEWER], 1, -1)  # type: ignore[attr-defined]

    def epoch() -> None:
        for start in range(0, len(pixels), BATCH):
            torch.stack(
                [changed(Image.fromarray(np.ascontiguousarray(image))) for image in pixels[start : start + BATCH]]
            )

    return epoch


def both_times(
    actions: Mapping[str, Action], repeats: int, device: torch.device
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Time every action once a round, in turn, after a warm-up: by the clock, and on the processor."""
    found: tuple[dict[str, list[float]], dict[str, list[float]]] = ({n: [] for n in actions}, {n: [] for n in actions})
    for repeat in range(repeats + 1):
        for name, action in actions.items():
            for times, taken in zip(found, seconds(action, device), strict=True):
                if repeat:
                    times[name].append(taken)
    return found


def share(name: str, engine: ep.Engine, examples: Examples, repeats: int) -> dict[str, Any]:
    """Time of a batch in the loader and in the engine, in turn; their ratio is that of a whole epoch."""
    size = engine.architecture.training.batch_size
    device = engine.device
    order = list(range(4 * size))
    x, y = next(iter(batches(examples, size, device=device, order=order, draw=(0, 0))))
    actions = {
        "loader": lambda: deque(batches(examples, size, device=device, order=order, draw=(0, 0)), maxlen=0),
        "iteration": lambda: engine.backward(x, y),
    }
    clock, processor = both_times(actions, repeats, device)
    times = processor if device.type == "cpu" else clock
    parts = [a / 4 / (a / 4 + b) for a, b in zip(times["loader"], times["iteration"], strict=True)]
    return {"network": name, "batch": size, "seconds": {k: spread(v) for k, v in times.items()}, "share": spread(parts)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=16 * BATCH)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device, recipe = torch.device(options.device), DATA_SETS["cifar10"].recipe
    draw = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/images.npy", draw.integers(0, 256, (options.images, 3, 32, 32)).astype(np.uint8))
        images = ArrayImages(np.load(f"{folder}/images.npy", mmap_mode="r"))
        sets = {
            name: Examples(
                images,
                draw.integers(0, 10, options.images),
                Preparation(recipe, (3, 32, 32), one),
                range(options.images),
            )
            for name, one in (("crop_flip", PLAIN), ("randaugment", RANDOM))
        }
        actions = {}
        for name, examples in sets.items():
            actions[name] = whole_batches(examples, device)
            actions[f"{name}_torchvision"] = one_at_a_time(examples)
        clock, processor = both_times(actions, options.repeats, device)
        count = {n: options.images // (FEWER if "torchvision" in n else 1) for n in actions}
        speeds, by_clock = (
            {name: [count[name] / t for t in taken] for name, taken in times.items()} for times in (processor, clock)
        )
        digits = ep.load("examples/digits.yaml")
        resnet = ep.topologies.hopfield_resnet(depth=13, width=16, recipe="published", input=(3, 32, 32))
        # The loader and the sweeps both take time by the image.
        resnet = ep.load(ep.to_yaml(resnet), ["training.batch_size=16"])
        shares = [
            share("digits", ep.compile(digits), ep.load_data(digits, "digits").train, options.repeats),
            share("Hopfield-ResNet13, width 1/8", ep.compile(resnet, device=device), sets["randaugment"], 1),
        ]
    result = rounded(
        {
            "circumstances": circumstances(device),
            "images_per_second": {name: spread(values) for name, values in speeds.items()},
            "images_per_second_by_the_clock": {name: spread(values) for name, values in by_clock.items()},
            "times_faster": {n: ratio(speeds[n], speeds[f"{n}_torchvision"]) for n in sets},
            "share_of_an_epoch": shares,
        }
    )
    text = json.dumps(result, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()

"""What is done to whole batches equals what torchvision does to each image, given the same draws."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import RandAugment

from epgraph.augmentation import Augmentation
from epgraph.data import DATA_SETS, load_data
from epgraph.data.prepare import Preparation
from epgraph.data.randaugment import OPERATIONS, randaugment
from epgraph.data.recipes import Recipe
from epgraph.training.batches import batches
from tests.helpers.pictures import by_torchvision, image_bytes, write_directory

SPACE = RandAugment()._augmentation_space(31, (32, 32))
CPU = torch.device("cpu")


def pictures(count: int, size: tuple[int, int], channels: int) -> np.ndarray:
    """Noise, narrow histograms, one color, and few colors, in turn."""
    draw = np.random.default_rng(0)
    shape = (*size, channels)
    kinds = [
        draw.integers(0, 256, shape),
        draw.integers(90, 140, shape),
        np.full(shape, 77),
        draw.choice([0, 3, 255], shape),
    ]
    return np.stack([np.roll(kinds[i % 4], i, axis=1) for i in range(count)]).astype(np.uint8)


def batch(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def pillow(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image if image.shape[-1] == 3 else image[..., 0])


@pytest.mark.parametrize("magnitude", [0, 9, 30])
@pytest.mark.parametrize(("size", "channels"), [((32, 32), 3), ((28, 28), 1), ((17, 40), 3)])
def test_randaugment_is_torchvisions_to_the_bit(magnitude: int, size: tuple[int, int], channels: int) -> None:
    """A seed decides what the public transform draws; the batch is given the same."""
    count = 150
    images = pictures(count, size, channels)
    theirs, operations, negative = [], [], []
    for seed, image in enumerate(images):
        torch.manual_seed(seed)
        changed = np.asarray(RandAugment(2, magnitude)(pillow(image)))
        theirs.append(changed.reshape(*size, channels))
        torch.manual_seed(seed)
        for _ in range(2):
            operation = int(torch.randint(len(SPACE), (1,)))
            operations.append(operation)
            signed = SPACE[OPERATIONS[operation]][1]
            negative.append(bool(signed and torch.randint(2, (1,))))
    assert {*operations} == set(range(14))
    drawn = (torch.tensor(values).view(count, 2) for values in (operations, negative))
    before = batch(images).clone()
    ours = randaugment(batch(images), *drawn, magnitude)
    assert torch.equal(ours, batch(np.stack(theirs)))
    assert torch.equal(batch(images), before)


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 32, 32), (784,)])
def test_a_whole_batch_is_what_torchvision_makes_of_each_image(shape: tuple[int, ...]) -> None:
    recipe = DATA_SETS["fashion-mnist"].recipe
    preparation = Preparation(recipe, shape, Augmentation(flip=0.5, randaugment=1, crop=3))
    images = pictures(60, (28, 28), 1)
    draws = preparation.draw(60, torch.Generator().manual_seed(1))
    expected = [by_torchvision(pillow(image), preparation, row) for image, row in zip(images, draws, strict=True)]
    assert torch.equal(preparation(batch(images), draws), torch.stack(expected))


def test_images_of_fractions_are_flipped_and_cropped_too() -> None:
    recipe = Recipe((1, 8, 8), 10, bytes=False)
    preparation = Preparation(recipe, (1, 8, 8), Augmentation(flip=0.5, crop=2))
    x = torch.rand((40, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    before, draws = x.clone(), preparation.draw(40)
    wide = torch.nn.functional.pad(x, (2, 2, 2, 2), mode="replicate")
    for one, (flip, top, left), example in zip(wide, draws.tolist(), preparation(x, draws), strict=True):
        whole = one.flip(-1) if flip else one
        assert torch.equal(example, whole[:, top : top + 8, left : left + 8])
    assert torch.equal(x, before)


def test_draws_are_uniform_and_independent() -> None:
    """Frequencies of values, and of pairs of columns, within five deviations of what chance would give."""
    count = 200_000
    preparation = Preparation(DATA_SETS["cifar10"].recipe, (3, 32, 32), Augmentation(flip=0.3, randaugment=2, crop=4))
    draws = preparation.draw(count, torch.Generator().manual_seed(0)).long()
    chances = [torch.tensor([0.7, 0.3])] + [torch.full((n,), 1 / n) for n in (9, 9, 14, 14, 2, 2)]
    assert draws.shape == (count, len(chances))
    for i, chance in enumerate(chances):
        for j, other in enumerate(chances[:i]):
            joint = (chance[:, None] * other).flatten()
            found = torch.bincount(draws[:, i] * len(other) + draws[:, j], minlength=len(joint)) / count
            deviation = (joint * (1 - joint) / count).sqrt()
            assert float(((found - joint) / deviation).abs().max()) < 5


def test_batches_depend_on_seed_epoch_and_example_alone(tmp_path: Path) -> None:
    """Not on their size, on the order, on who loads them, or on whether images are kept or decoded when used."""
    files = {f"{part}/{c}/{i}.png": image_bytes(seed=i) for part in ("train", "test") for c in "ab" for i in range(6)}
    path = write_directory(tmp_path, files)
    wanted = Augmentation(flip=0.5, randaugment=2, crop=2)

    def drawn(size: int, order: list[int], workers: int = 0, kept: bool = True, seed: int = 0, epoch: int = 0) -> dict:
        data = load_data(f"folder:{path}", shape=(3, 8, 8), classes=2, augment=wanted, check=kept)
        assert data.train.in_memory == kept
        loader = batches(data.train, size, device=CPU, workers=workers, order=order, draw=(seed, epoch))
        assert len(loader) == math.ceil(len(order) / size)
        x, y = (torch.cat(parts) for parts in zip(*loader, strict=True))
        assert y.tolist() == [i // 6 for i in order]
        return {i: one.numpy().tobytes() for i, one in zip(order, x, strict=True)}

    order = torch.randperm(12, generator=torch.Generator().manual_seed(0)).tolist()
    whole = drawn(5, order)
    assert drawn(1, sorted(order)) == whole
    assert drawn(3, order, workers=2, kept=False) == whole
    assert drawn(4, order[5:]) == {i: whole[i] for i in order[5:]}
    before = torch.get_rng_state()
    assert not drawn(5, order, epoch=1).items() <= whole.items()
    assert not drawn(5, order, seed=1).items() <= whole.items()
    assert torch.equal(torch.get_rng_state(), before)  # the noise of a training is not disturbed

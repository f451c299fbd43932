"""Small folders of images, as a directory or a zip archive, and how loading one is refused."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.transforms import InterpolationMode, RandAugment, autoaugment
from torchvision.transforms import functional as F

from epgraph.data import Data, load_data
from epgraph.data.prepare import Preparation
from epgraph.errors import EpgraphError


def refusal(*args: object, **kwargs: object) -> str:
    """Return the text with which ``load_data`` refuses."""
    with pytest.raises(EpgraphError) as caught:
        load_data(*args, **kwargs)  # type: ignore[arg-type]
    return str(caught.value)


def batch(data: Data, workers: int = 0, seed: int = 0) -> torch.Tensor:
    """Return all augmented training examples in a shuffled order."""
    torch.manual_seed(seed)
    loader = DataLoader(data.train, 4, shuffle=True, num_workers=workers, generator=torch.Generator().manual_seed(seed))
    return torch.cat([x for x, _ in loader])


def by_torchvision(image: Image.Image, preparation: Preparation, row: torch.Tensor) -> torch.Tensor:
    """Prepare one Pillow image as torchvision's transforms do where they draw this row of ``Preparation.draw``."""
    recipe, augmentation, n = preparation.recipe, preparation.augmentation, preparation.augmentation.randaugment
    flip, top, left, *drawn = row.tolist()
    if np.prod(preparation.shape) != np.prod(recipe.shape):
        image = F.pad(image, [recipe.pad])
    size = (image.height, image.width)
    image = F.hflip(image) if flip else image
    for operation, negative in zip(drawn[:n], drawn[n:], strict=True):
        name, (values, signed) = list(RandAugment()._augmentation_space(31, size).items())[operation]
        value = float(values[augmentation.magnitude]) if values.ndim else 0.0
        value = -value if signed and negative else value
        image = autoaugment._apply_op(image, name, value, InterpolationMode.NEAREST, None)
    wide = F.pad(image, [augmentation.crop], padding_mode="edge")
    x = F.to_tensor(F.crop(wide, top, left, *size))
    if recipe.mean:
        x = F.normalize(x, recipe.mean, recipe.std)
    return x.reshape(preparation.shape)


def image_bytes(size: tuple[int, int] = (8, 8), mode: str = "RGB", format: str = "PNG", seed: int = 0) -> bytes:
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    pixels = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format)
    return out.getvalue()


def image_files(classes: str = "ab", train: int = 3, test: int = 2) -> dict[str, bytes]:
    return {
        f"{part}/{label}/{i}.png": image_bytes(seed=ord(label) * 10 + i)
        for part, n in (("train", train), ("test", test))
        for label in classes
        for i in range(n)
    }


def write_directory(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


Write = Callable[[dict[str, bytes]], Path]

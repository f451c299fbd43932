"""MNIST, Fashion-MNIST and Kuzushiji-MNIST, from IDX files in torchvision's layout."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from epgraph.augmentation import Augmentation
from epgraph.data.download import START_AGAIN, Files, make_available, torchvision_class
from epgraph.data.idx import find_idx, read_labeled
from epgraph.data.pictures import DataSet, Pictures, array_pictures
from epgraph.data.recipes import Recipe
from epgraph.errors import EpgraphError

_FILES = tuple(f"{part}-{kind}" for part in ("train", "t10k") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"))


def _read(name: str, class_name: str, recipe: Recipe, root: Path, download: bool) -> Pictures:
    assert isinstance(recipe.output, int), "all of these have labels"
    folder = root / class_name / "raw"

    def absent() -> list[str]:
        return [stem for stem in _FILES if find_idx(folder, stem) is None]

    make_available(Files(name, class_name, folder, absent), root, download=download)
    parts = []
    for part in ("train", "t10k"):
        images, labels = read_labeled(folder, part, recipe.output)
        if (1, *images.shape[1:]) != recipe.shape:
            raise EpgraphError(
                f"{folder} holds images of {images.shape[1]}x{images.shape[2]} pixels, which is not {name}",
                START_AGAIN,
            )
        parts.append((images, labels.tolist()))
    classes = "0123456789" if name == "mnist" else torchvision_class(class_name).classes
    return array_pictures(parts[0], parts[1], classes)


def _data_set(name: str, class_name: str, recipe: Recipe, description: str) -> DataSet:
    return DataSet(recipe, partial(_read, name, class_name, recipe), (60000, 10000), description)


DATA_SETS = {
    "mnist": _data_set(
        "mnist",
        "MNIST",
        Recipe((1, 28, 28), 10, (0.1307,), (0.3081,), Augmentation(crop=2), pad=2),
        "Handwritten digits. There is no flip: a mirrored digit is no digit.",
    ),
    "fashion-mnist": _data_set(
        "fashion-mnist",
        "FashionMNIST",
        Recipe((1, 28, 28), 10, (0.2860,), (0.3530,), Augmentation(flip=0.5, crop=2), pad=2),
        "Articles of clothing. The published order is crop, flip; the distribution is the same.",
    ),
    "kmnist": _data_set(
        "kmnist",
        "KMNIST",
        Recipe((1, 28, 28), 10, (0.1918,), (0.3483,), pad=2),
        "Cursive Japanese characters. There is no published recipe for EP; mean and deviation are the usual ones.",
    ),
}

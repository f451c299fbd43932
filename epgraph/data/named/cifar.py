"""CIFAR-10 and CIFAR-100, as torchvision reads them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from epgraph.augmentation import Augmentation
from epgraph.data.download import START_AGAIN, Files, make_available, old_pickles, torchvision_class
from epgraph.data.pictures import DataSet, Pictures, array_pictures
from epgraph.data.recipes import Recipe
from epgraph.errors import EpgraphError


def _read(name: str, class_name: str, root: Path, download: bool) -> Pictures:
    make = torchvision_class(class_name)
    folder = root.joinpath(make.base_folder)

    def absent() -> list[str]:
        files = [file for file, _ in make.train_list + make.test_list] + [make.meta["filename"]]
        return [file for file in files if not (folder / file).is_file()]

    make_available(Files(name, class_name, folder, absent), root, download=download)
    try:
        with old_pickles():
            train, test = make(root, train=True), make(root, train=False)
    # torchvision compares checksums before it unpickles, and raises RuntimeError where they differ.
    except (RuntimeError, OSError) as error:
        raise EpgraphError(f"the files of {name} in {folder} are damaged", START_AGAIN) from error
    return array_pictures((train.data, train.targets), (test.data, test.targets), train.classes)


DATA_SETS = {
    "cifar10": DataSet(
        Recipe(
            (3, 32, 32),
            10,
            (0.4914, 0.4822, 0.4465),
            # Three times the standard deviation of the pixels, as in the official code.
            (3 * 0.2023, 3 * 0.1994, 3 * 0.2010),
            Augmentation(flip=0.5, randaugment=3, crop=4),
        ),
        partial(_read, "cifar10", "CIFAR10"),
        (50000, 10000),
        "The deviations are three times those of its pixels, as in the official code of the paper.",
    ),
    "cifar100": DataSet(
        Recipe(
            (3, 32, 32),
            100,
            (0.5071, 0.4867, 0.4408),
            (0.2675, 0.2565, 0.2761),
            Augmentation(flip=0.5, randaugment=4, crop=4),
        ),
        partial(_read, "cifar100", "CIFAR100"),
        (50000, 10000),
        "The deviations are those of its pixels.",
    ),
}

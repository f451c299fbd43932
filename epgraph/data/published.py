"""The data sets that have a name of their own: digits, (Fashion-)MNIST and CIFAR."""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epgraph.data.idx import find_idx, read_labelled
from epgraph.data.recipes import RECIPES
from epgraph.errors import Diagnostic, EpgraphError

if TYPE_CHECKING:
    from epgraph.data.examples import ArrayImages, Images

DIGITS_HELD_OUT = 360
START_AGAIN = "remove that folder, then pass --download or put the files there again"
TORCHVISION = {
    "mnist": "MNIST",
    "fashion-mnist": "FashionMNIST",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
}
"""Data sets that torchvision knows how to download, and its class for each."""
IDX_FILES = tuple(f"{part}-{kind}" for part in ("train", "t10k") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"))


@dataclass(frozen=True)
class Pictures:
    """Images and labels of both parts of a data set, before any preparation.

    ``sha256`` returns a hash of them, and of what it was taken; ``warnings`` is what is doubtful in them.
    """

    train: tuple[Images, Sequence[int]]
    test: tuple[Images, Sequence[int]]
    classes: tuple[str, ...]
    sha256: Callable[[], tuple[str, str]]
    warnings: tuple[Diagnostic, ...] = ()


def _pictures(
    train: tuple[ArrayImages, Sequence[int]], test: tuple[ArrayImages, Sequence[int]], classes: tuple[str, ...]
) -> Pictures:
    def sha256() -> tuple[str, str]:
        import numpy as np

        found = hashlib.sha256()
        for images, labels in (train, test):
            found.update(f"{images.array.shape} {images.array.dtype.str}".encode())
            for values in (images.array, np.asarray(labels, dtype="<i8")):
                found.update(np.ascontiguousarray(values).data)
        return found.hexdigest(), "all bytes"

    return Pictures(train, test, classes, sha256)


def read_published(name: str, root: Path, *, download: bool) -> Pictures:
    """Return the data set ``name``, one of ``RECIPES``, from the files under ``root``.

    Raises
    ------
    EpgraphError
        When files are missing or damaged, or the download fails.
    """
    if name == "digits":
        return _digits()
    read = _read_mnist if name in ("mnist", "fashion-mnist") else _read_cifar
    if download and _missing(name, root):
        _download(name, root)
    if missing := _missing(name, root):
        raise EpgraphError(f"{name} is not in {_folder(name, root)}: {missing}", _where_from(name, root))
    return read(name, root)


def _digits() -> Pictures:
    """Return the 1,797 digits that come with scikit-learn, split into 1,437 and 360."""
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    from epgraph.data.examples import ArrayImages

    digits = load_digits()
    # Pixels count from 0 to 16.
    images, labels = (digits.images / 16).astype(np.float32), digits.target
    x_train, x_test, y_train, y_test = train_test_split(
        images, labels, test_size=DIGITS_HELD_OUT, stratify=labels, random_state=0
    )
    return _pictures((ArrayImages(x_train), y_train.tolist()), (ArrayImages(x_test), y_test.tolist()), _numerals())


def _read_mnist(name: str, root: Path) -> Pictures:
    from epgraph.data.examples import ArrayImages

    folder, recipe = _folder(name, root), RECIPES[name]
    parts = []
    for part in ("train", "t10k"):
        images, labels = read_labelled(folder, part, recipe.classes)
        if (1, *images.shape[1:]) != recipe.shape:
            raise EpgraphError(
                f"{folder} holds images of {images.shape[1]}x{images.shape[2]} pixels, which is not {name}",
                START_AGAIN,
            )
        parts.append((ArrayImages(images), labels.tolist()))
    classes = tuple(_torchvision_class(name).classes) if name == "fashion-mnist" else _numerals()
    return _pictures(parts[0], parts[1], classes)


def _read_cifar(name: str, root: Path) -> Pictures:
    from epgraph.data.examples import ArrayImages

    make = _torchvision_class(name)
    try:
        with _old_pickles():
            train, test = make(root, train=True), make(root, train=False)
    # torchvision compares checksums before it unpickles, and says so with a RuntimeError.
    except (RuntimeError, OSError) as error:
        raise EpgraphError(
            f"the files of {name} in {_folder(name, root)} are damaged",
            START_AGAIN,
        ) from error
    return _pictures(
        (ArrayImages(train.data), train.targets), (ArrayImages(test.data), test.targets), tuple(train.classes)
    )


def _missing(name: str, root: Path) -> str:
    """Return what is missing, in words, or an empty string."""
    folder = _folder(name, root)
    if not folder.is_dir():
        return "there is no such folder"
    if name in ("mnist", "fashion-mnist"):
        lacking = [stem for stem in IDX_FILES if find_idx(folder, stem) is None]
    else:
        make = _torchvision_class(name)
        files = [file for file, _ in make.train_list + make.test_list] + [make.meta["filename"]]
        lacking = [file for file in files if not (folder / file).is_file()]
    return f"no {', '.join(lacking)}" if lacking else ""


def _folder(name: str, root: Path) -> Path:
    make = _torchvision_class(name)
    return root.joinpath(make.base_folder) if name.startswith("cifar") else root / TORCHVISION[name] / "raw"


def _where_from(name: str, root: Path) -> str:
    make = _torchvision_class(name)
    archive = getattr(make, "filename", None)
    if archive and (root / archive).is_file():
        return f"unpack it: tar -xzf {root / archive} -C {root}"
    return "pass --download, or put the files there"


def _download(name: str, root: Path) -> None:
    """Download beside the final place and move whole files there: a broken run leaves no half of one."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as temporary, _old_pickles():
            _torchvision_class(name)(temporary, download=True)
            for file in sorted(Path(temporary).rglob("*")):
                # The archives have been unpacked.
                if file.is_file() and file.suffix != ".gz":
                    target = root / file.relative_to(temporary)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(file, target)
    # URLError is an OSError; torchvision adds RuntimeError when every mirror failed or a checksum is wrong.
    except (OSError, RuntimeError, HTTPException) as error:
        raise EpgraphError(
            f"{name} cannot be downloaded into {root}: {' '.join(str(error).split())}",
            f"check the network, or put the files in {_folder(name, root)}",
        ) from error


@contextmanager
def _old_pickles() -> Iterator[None]:
    """Silence numpy 2.4.0 to 2.4.4 about how the pickles of CIFAR, from Python 2, write a dtype."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"dtype\(\): align should be")
        yield


def _torchvision_class(name: str) -> Any:
    from torchvision import datasets

    return getattr(datasets, TORCHVISION[name])


def _numerals() -> tuple[str, ...]:
    return tuple("0123456789")

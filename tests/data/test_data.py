"""Data sets that have a name: what they hold, how they are prepared, and every error text."""

from __future__ import annotations

import gzip
import json
import pickle
import random
import re
import subprocess
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torchvision import datasets, transforms

from docs.reference_pages import data_sets
from epgraph.augmentation import Augmentation
from epgraph.data import DATA_SETS, Data, data_set_names, load_data
from epgraph.data.examples import Examples, balanced
from epgraph.data.prepare import Preparation
from tests.helpers.pictures import batch, by_torchvision, refusal

SHARED = Path(__file__).parents[3] / "shared" / "data"


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_mnist(root: Path, kind: str = "MNIST", *, compressed: bool = True, size: int = 28) -> Path:
    raw = root / kind / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, n in (("train", 40), ("t10k", 20)):
        for stem, array in (
            (f"{part}-images-idx3-ubyte", rng.integers(0, 256, (n, size, size))),
            (f"{part}-labels-idx1-ubyte", np.arange(n) % 10),
        ):
            content = idx(array)
            if compressed:
                (raw / f"{stem}.gz").write_bytes(gzip.compress(content, mtime=0))
            else:
                (raw / stem).write_bytes(content)
    return raw


def write_cifar(root: Path, monkeypatch: pytest.MonkeyPatch, classes: int = 10) -> Path:
    """Write tiny CIFAR files and let torchvision take them for the real ones."""
    make = datasets.CIFAR10 if classes == 10 else datasets.CIFAR100
    folder = root / make.base_folder
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, _ in make.train_list + make.test_list:
        pixels = rng.integers(0, 256, (10, 3072)).astype(np.uint8)
        labels = {"labels" if classes == 10 else "fine_labels": list(range(10))}
        (folder / name).write_bytes(pickle.dumps({"data": pixels} | labels))
    names = {make.meta["key"]: [f"class{i}" for i in range(classes)]}
    (folder / make.meta["filename"]).write_bytes(pickle.dumps(names))
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda path, md5=None: Path(path).is_file())
    return folder


# Names and fit


def test_importing_is_quick() -> None:
    code = (
        "import sys, epgraph.data; "
        "print(sorted({'torch', 'torchvision', 'sklearn', 'numpy', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


NAMES = (*DATA_SETS, "folder:PATH", "tensors:PATH")
KNOWN = ", ".join(NAMES[:12]) + (", …" if len(NAMES) > 12 else "")
"""As a message lists them."""


def test_names() -> None:
    assert data_set_names() == NAMES
    assert {"digits", "mnist", "fashion-mnist", "kmnist", "cifar10", "cifar100", "svhn"} <= DATA_SETS.keys()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("fashion-mnits", "there is no data set 'fashion-mnits'; did you mean 'fashion-mnist'?"),
        ("MNIST", "there is no data set 'MNIST'; did you mean 'mnist'?"),
        (
            "imagenet",
            f"there is no data set 'imagenet'; known: {KNOWN}",
        ),
        ("", f"there is no data set ''; known: {KNOWN}"),
    ],
)
def test_unknown_name(name: str, text: str) -> None:
    assert refusal(name, shape=(1, 8, 8), classes=10) == text


def test_path_without_folder(tmp_path: Path) -> None:
    assert refusal(str(tmp_path), shape=(1, 8, 8), classes=10) == (
        f"there is no data set '{tmp_path}'; write folder:{tmp_path}"
    )


@pytest.mark.parametrize(
    ("name", "shape", "classes", "text"),
    [
        (
            "digits",
            (3, 8, 8),
            10,
            "input.shape: digits has examples of shape [1, 8, 8], but the network's input is [3, 8, 8]; "
            "write input: {shape: [1, 8, 8]}",
        ),
        (
            "digits",
            (784,),
            10,
            "input.shape: digits has examples of shape [1, 8, 8], but the network's input is [784]; "
            "write input: {shape: [64]}",
        ),
        (
            "mnist",
            (28, 28),
            10,
            "input.shape: mnist has examples of shape [1, 28, 28], but the network's input is [28, 28]; "
            "write input: {shape: [1, 28, 28]} or {shape: [1, 32, 32]}",
        ),
        (
            "cifar100",
            (3, 32, 32),
            10,
            "output.classes: cifar100 has 100 classes, but the network's output has 10 classes; "
            "write output: {classes: 100}",
        ),
        (
            "cifar10",
            (1, 28, 28),
            5,
            "input.shape: cifar10 has examples of shape [3, 32, 32], but the network's input is [1, 28, 28]; "
            "write input: {shape: [3, 32, 32]}\n"
            "output.classes: cifar10 has 10 classes, but the network's output has 5 classes; "
            "write output: {classes: 10}",
        ),
    ],
)
def test_misfit(name: str, shape: tuple[int, ...], classes: int, text: str) -> None:
    assert refusal(name, shape=shape, classes=classes) == text


@pytest.mark.parametrize("limit", [0, -3])
def test_limit_must_be_positive(limit: int) -> None:
    assert refusal("digits", shape=(64,), classes=10, limit=limit) == (f"limit must be at least 1, found {limit}")


# Digits and limits


def test_digits() -> None:
    data = load_data("digits", shape=(1, 8, 8), classes=10)
    assert (len(data.train), len(data.test)) == (1437, 360)
    assert data.classes == tuple("0123456789")
    assert data.shape == (1, 8, 8)
    x, label = data.train[0]
    assert x.shape == (1, 8, 8)
    assert x.dtype == torch.float32
    assert type(label) is int
    every = torch.stack([x for x, _ in data.train])
    assert every.min() == 0
    assert every.max() == 1
    assert torch.equal(every * 16, (every * 16).round())
    assert set(Counter(label for _, label in data.test).values()) <= {35, 36, 37}


def test_flat_examples() -> None:
    flat = load_data("digits", shape=(64,), classes=10)
    square = load_data("digits", shape=(1, 8, 8), classes=10)
    assert flat.shape == (64,)
    assert torch.equal(flat.test[7][0], square.test[7][0].flatten())


def test_limit_is_fixed_and_balanced() -> None:
    data = load_data("digits", shape=(64,), classes=10, limit=50)
    again = load_data("digits", shape=(64,), classes=10, limit=50)
    more = load_data("digits", shape=(64,), classes=10, limit=70)
    assert (len(data.train), len(data.test)) == (50, 50)
    assert Counter(label for _, label in data.train) == dict.fromkeys(range(10), 5)
    for i in range(50):
        assert torch.equal(data.train[i][0], again.train[i][0])
        assert torch.equal(data.train[i][0], more.train[i][0])


def test_limit_beyond_the_end() -> None:
    data = load_data("digits", shape=(64,), classes=10, limit=1000)
    assert (len(data.train), len(data.test)) == (1000, 360)


def test_balanced_with_a_small_class() -> None:
    labels = [0] * 90 + [1] * 3 + [2] * 90
    chosen = balanced(labels, 30)
    assert len(set(chosen)) == 30
    assert Counter(labels[i] for i in chosen) in (
        Counter({0: 14, 1: 3, 2: 13}),
        Counter({0: 13, 1: 3, 2: 14}),
    )
    assert chosen[:9] != sorted(chosen[:9])


# MNIST and Fashion-MNIST


@pytest.mark.parametrize("compressed", [True, False])
def test_mnist_files(tmp_path: Path, compressed: bool) -> None:
    raw = write_mnist(tmp_path, compressed=compressed)
    before = sorted(tmp_path.rglob("*"))
    data = load_data("mnist", shape=(1, 28, 28), classes=10, root=tmp_path)
    assert (len(data.train), len(data.test)) == (40, 20)
    assert data.classes == tuple("0123456789")
    stem = raw / "t10k-images-idx3-ubyte"
    content = gzip.decompress(stem.with_name(stem.name + ".gz").read_bytes()) if compressed else stem.read_bytes()
    pixels = torch.tensor(list(content[16 : 16 + 784])).view(1, 28, 28) / 255
    x, label = data.test[0]
    assert torch.allclose(x, (pixels - 0.1307) / 0.3081, atol=1e-6)
    assert label == 0
    assert sorted(tmp_path.rglob("*")) == before, "nothing is written"


def test_mnist_as_torchvision_reads_it(tmp_path: Path) -> None:
    write_mnist(tmp_path, compressed=False)
    data = load_data("mnist", shape=(1, 28, 28), classes=10, root=tmp_path, augment=False)
    recipe = DATA_SETS["mnist"].recipe
    theirs = datasets.MNIST(
        tmp_path, transform=transforms.Compose([transforms.ToTensor(), transforms.Normalize(recipe.mean, recipe.std)])
    )
    for (x, label), (y, target) in zip(data.train, theirs, strict=True):
        assert torch.equal(x, y)
        assert label == target


@pytest.mark.parametrize("shape", [(1, 28, 28), (1024,)])
@pytest.mark.parametrize("kind", ["MNIST", "FashionMNIST", "KMNIST"])
def test_mnist_recipe(tmp_path: Path, kind: str, shape: tuple[int, ...]) -> None:
    write_mnist(tmp_path, kind, compressed=False)
    theirs = getattr(datasets, kind)(tmp_path)
    name, changes = {
        "MNIST": ("mnist", Augmentation(crop=2)),
        "FashionMNIST": ("fashion-mnist", Augmentation(flip=0.5, crop=2)),
        "KMNIST": ("kmnist", Augmentation()),
    }[kind]
    data = load_data(name, shape=shape, classes=10, root=tmp_path)
    assert isinstance(data.train, Examples)
    assert data.train.preparation.augmentation == changes
    for i in range(40):
        torch.manual_seed(i)
        ours = data.train[i][0]
        torch.manual_seed(i)
        (row,) = data.train.preparation.draw(1)
        assert torch.equal(ours, by_torchvision(theirs[i][0], data.train.preparation, row))


def test_padding_of_test_examples(tmp_path: Path) -> None:
    write_mnist(tmp_path, "FashionMNIST")
    small = load_data("fashion-mnist", shape=(1, 28, 28), classes=10, root=tmp_path).test[3][0]
    large = load_data("fashion-mnist", shape=(1, 32, 32), classes=10, root=tmp_path).test[3][0]
    assert torch.equal(large[:, 2:-2, 2:-2], small)
    zero = torch.tensor(-0.2860 / 0.3530)
    assert torch.allclose(large[:, :2], zero)
    assert torch.allclose(large[:, :, -2:], zero)


def test_fashion_classes(tmp_path: Path) -> None:
    write_mnist(tmp_path, "FashionMNIST")
    data = load_data("fashion-mnist", shape=(784,), classes=10, root=tmp_path)
    assert data.classes[0] == "T-shirt/top"
    assert data.shape == (784,)


def test_mnist_missing(tmp_path: Path) -> None:
    folder = tmp_path / "MNIST" / "raw"
    assert refusal("mnist", shape=(784,), classes=10, root=tmp_path) == (
        f"mnist is not in {folder}: there is no such folder; pass --download, or put the files there"
    )
    write_mnist(tmp_path)
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    assert refusal("mnist", shape=(784,), classes=10, root=tmp_path) == (
        f"mnist is not in {folder}: no t10k-labels-idx1-ubyte; pass --download, or put the files there"
    )


AGAIN = "remove it, then pass --download or put it there again"


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        (
            "train-images-idx3-ubyte.gz",
            gzip.compress(bytes(100_000), mtime=0)[:40],
            "not an IDX file of bytes in 3 dimensions",
        ),
        (
            "train-images-idx3-ubyte.gz",
            gzip.compress(idx(np.random.default_rng(0).integers(0, 256, (40, 28, 28))), mtime=0)[:9000],
            "Compressed file ended before the end-of-stream marker was reached",
        ),
        ("train-images-idx3-ubyte.gz", b"<html>", "Not a gzipped file (b'<h')"),
        ("train-images-idx3-ubyte", idx(np.zeros((40, 28, 28)))[:5000], "it is cut short"),
        ("train-images-idx3-ubyte", bytes([0, 0, 8, 3, 255, 255]), "it is cut short"),
        (
            "train-images-idx3-ubyte",
            bytes([0, 0, 8, 3]) + b"\xff" * 12,
            f"it declares {(2**32 - 1) ** 3} bytes",
        ),
        ("train-labels-idx1-ubyte", idx(np.zeros(39)), "it has 39 labels for 40 images"),
        ("train-labels-idx1-ubyte", idx(np.full(40, 10)), "it has the label 10, and there are 10 classes"),
    ],
)
def test_mnist_damaged(tmp_path: Path, file: str, content: bytes, reason: str) -> None:
    path = write_mnist(tmp_path) / file
    path.write_bytes(content)
    text = refusal("mnist", shape=(784,), classes=10, root=tmp_path)
    assert text == f"{path} cannot be read: {reason}; {AGAIN}"


def test_mnist_of_another_size(tmp_path: Path) -> None:
    raw = write_mnist(tmp_path, size=16)
    assert refusal("mnist", shape=(784,), classes=10, root=tmp_path) == (
        f"{raw} holds images of 16x16 pixels, which is not mnist; "
        "remove that folder, then pass --download or put the files there again"
    )


# CIFAR


@pytest.mark.parametrize(("name", "classes", "n"), [("cifar10", 10, 50), ("cifar100", 100, 10)])
def test_cifar_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, classes: int, n: int) -> None:
    write_cifar(tmp_path, monkeypatch, classes)
    data = load_data(name, shape=(3, 32, 32), classes=classes, root=tmp_path)
    assert (len(data.train), len(data.test)) == (n, 10)
    assert data.classes == tuple(f"class{i}" for i in range(classes))
    mean, std = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)
    if classes == 10:
        mean, std = (0.4914, 0.4822, 0.4465), (3 * 0.2023, 3 * 0.1994, 3 * 0.2010)
    assert isinstance(data.train, Examples)
    preparation = data.train.preparation
    assert (preparation.recipe.mean, preparation.recipe.std) == (mean, std)
    assert preparation.augmentation == Augmentation(flip=0.5, randaugment=3 if classes == 10 else 4, crop=4)
    theirs = (datasets.CIFAR10 if classes == 10 else datasets.CIFAR100)(tmp_path)
    for i in range(n):
        torch.manual_seed(i)
        ours = data.train[i][0]
        torch.manual_seed(i)
        (row,) = preparation.draw(1)
        assert torch.equal(ours, by_torchvision(theirs[i][0], preparation, row))
    test = (datasets.CIFAR10 if classes == 10 else datasets.CIFAR100)(tmp_path, train=False)
    stored = transforms.ToTensor()(test[3][0])
    assert torch.equal(data.test[3][0], transforms.Normalize(mean, std)(stored))


@pytest.mark.filterwarnings("error")
def test_cifar_is_read_in_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar(tmp_path, monkeypatch)

    def load_meta(self: datasets.CIFAR10) -> None:
        # What numpy 2.4.0 to 2.4.4 say when they unpickle the real files.
        text = "dtype(): align should be passed as Python or NumPy boolean but got `align=0`."
        warnings.warn(text, UserWarning, stacklevel=1)
        self.classes = ["any"] * 10

    monkeypatch.setattr(datasets.CIFAR10, "_load_meta", load_meta)
    assert load_data("cifar10", shape=(3072,), classes=10, root=tmp_path).test[0][0].shape == (3072,)


def test_cifar_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    ask = {"shape": (3, 32, 32), "classes": 10, "root": tmp_path}
    assert refusal("cifar10", **ask) == (
        f"cifar10 is not in {folder}: there is no such folder; pass --download, or put the files there"
    )
    (tmp_path / "cifar-10-python.tar.gz").touch()
    assert refusal("cifar10", **ask) == (
        f"cifar10 is not in {folder}: there is no such folder; "
        f"unpack it: tar -xzf {tmp_path}/cifar-10-python.tar.gz -C {tmp_path}"
    )
    (tmp_path / "cifar-10-python.tar.gz").unlink()
    write_cifar(tmp_path, monkeypatch)
    (folder / "data_batch_2").unlink()
    (folder / "batches.meta").unlink()
    assert refusal("cifar10", **ask) == (
        f"cifar10 is not in {folder}: no data_batch_2, batches.meta; pass --download, or put the files there"
    )


def test_cifar_is_not_unpickled_when_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        folder = write_cifar(tmp_path, patch)
    (folder / "data_batch_1").write_bytes(b"cos\nabort\n(tR.")
    assert refusal("cifar10", shape=(3, 32, 32), classes=10, root=tmp_path) == (
        f"the files of cifar10 in {folder} are damaged; "
        "remove that folder, then pass --download or put the files there again"
    )


# SVHN


def write_svhn(root: Path) -> None:
    draw = np.random.default_rng(0)
    for part, count in (("train", 20), ("test", 10)):
        # As published: images last, and 10 for the digit 0.
        images, labels = draw.integers(0, 256, (32, 32, 3, count)).astype(np.uint8), np.arange(1, count + 1) % 10
        savemat(root / f"{part}_32x32.mat", {"X": images, "y": np.where(labels == 0, 10, labels)[:, None]})


def test_svhn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask: dict[str, Any] = {"shape": (3, 32, 32), "classes": 10, "root": tmp_path}
    assert refusal("svhn", **ask) == (
        f"svhn is not in {tmp_path}: no train_32x32.mat, test_32x32.mat; pass --download, or put the files there"
    )
    write_svhn(tmp_path)
    assert refusal("svhn", **ask).startswith(f"the files of svhn in {tmp_path} are damaged; remove")
    monkeypatch.setattr("torchvision.datasets.svhn.check_integrity", lambda path, md5=None: Path(path).is_file())
    data = load_data("svhn", **ask)
    assert (len(data.train), len(data.test)) == (20, 10)
    theirs = datasets.SVHN(tmp_path, split="test")
    recipe = DATA_SETS["svhn"].recipe
    for (x, y), (image, label) in zip(data.test, theirs, strict=True):
        assert torch.equal(x, transforms.Normalize(recipe.mean, recipe.std)(transforms.ToTensor()(image)))
        assert y == label


def test_svhn_is_downloaded_in_two_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_svhn(tmp_path)
    monkeypatch.setattr("torchvision.datasets.svhn.check_integrity", lambda path, md5=None: Path(path).is_file())

    def retrieve(url: str, folder: Path, name: str, md5: str) -> None:
        (Path(folder) / name).write_bytes((tmp_path / url.rsplit("/", 1)[1]).read_bytes())

    monkeypatch.setattr("torchvision.datasets.svhn.download_url", retrieve)
    root = tmp_path / "data"
    data = load_data("svhn", shape=(3072,), classes=10, root=root, download=True)
    assert len(data.train) == 20
    assert sorted(file.name for file in root.iterdir()) == ["test_32x32.mat", "train_32x32.mat"]


# Downloads


def test_download_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **kwargs: object) -> None:
        raise URLError(OSError(-2, "Name or service not known"))

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    root = tmp_path / "data"
    reason = "<urlopen error [Errno -2] Name or service not known>"
    assert refusal("fashion-mnist", shape=(784,), classes=10, root=root, download=True) == (
        f"fashion-mnist cannot be downloaded into {root}: Error downloading train-images-idx3-ubyte.gz: "
        f"Tried http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/, got: {reason}; "
        f"check the network, or put the files in {root}/FashionMNIST/raw"
    )
    assert refusal("cifar10", shape=(3, 32, 32), classes=10, root=root, download=True) == (
        f"cifar10 cannot be downloaded into {root}: {reason}; "
        f"check the network, or put the files in {root}/cifar-10-batches-py"
    )
    assert list(root.iterdir()) == []


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A fake network that serves a tiny MNIST; change the files to change what is served."""
    raw = write_mnist(tmp_path / "remote")
    files = {file.name: file.read_bytes() for file in raw.iterdir()}

    def retrieve(url: str, target: str, **kwargs: object) -> None:
        Path(target).write_bytes(files[url.rsplit("/", 1)[1]])

    monkeypatch.setattr("torchvision.datasets.utils._get_redirect_url", lambda url, max_hops=3: url)
    monkeypatch.setattr("torchvision.datasets.utils._urlretrieve", retrieve)
    from hashlib import md5

    sums = [(name, md5(files[name]).hexdigest()) for name, _ in datasets.MNIST.resources]
    monkeypatch.setattr(datasets.MNIST, "resources", sums)
    return files


def test_download(tmp_path: Path, served: dict[str, bytes]) -> None:
    root = tmp_path / "data"
    data = load_data("mnist", shape=(784,), classes=10, root=root, download=True)
    assert (len(data.train), len(data.test)) == (40, 20)
    assert sorted(file.name for file in root.rglob("*")) == sorted(
        ["MNIST", "raw", *(name.removesuffix(".gz") for name in served)]
    )
    served.clear()
    load_data("mnist", shape=(784,), classes=10, root=root, download=True)


def test_broken_download_leaves_nothing(tmp_path: Path, served: dict[str, bytes]) -> None:
    root = tmp_path / "data"
    whole = served["t10k-labels-idx1-ubyte.gz"]
    served["t10k-labels-idx1-ubyte.gz"] = whole[:-5]
    text = refusal("mnist", shape=(784,), classes=10, root=root, download=True)
    assert text.startswith(
        f"mnist cannot be downloaded into {root}: Error downloading t10k-labels-idx1-ubyte.gz: Tried https://"
    )
    assert text.endswith(f"got: File not found or corrupted.; check the network, or put the files in {root}/MNIST/raw")
    assert list(root.iterdir()) == []
    served["t10k-labels-idx1-ubyte.gz"] = whole
    assert len(load_data("mnist", shape=(784,), classes=10, root=root, download=True).train) == 40


def test_download_into_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    text = refusal("mnist", shape=(784,), classes=10, root=tmp_path / "data", download=True)
    assert text.startswith(f"mnist cannot be downloaded into {tmp_path}/data: [Errno 17] File exists: ")


# Determinism


@pytest.mark.parametrize("name", [name for name in DATA_SETS if DATA_SETS[name].recipe.augmentation.facts()])
def test_only_torch_draws(name: str) -> None:
    recipe = DATA_SETS[name].recipe
    preparation = Preparation(recipe, recipe.shape, recipe.augmentation)
    pixels = np.random.default_rng(0).integers(0, 256, (1, *recipe.shape)).astype(np.uint8)
    images = torch.from_numpy(pixels).expand(40, *recipe.shape)

    def draw(seed: int) -> torch.Tensor:
        torch.manual_seed(3)
        random.seed(seed)
        np.random.seed(seed)
        states = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index,union-attr]
        examples = preparation(images, preparation.draw(40))
        assert states == (random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[index,union-attr]
        return examples

    first = draw(1)
    assert torch.equal(first, draw(2))
    assert len({example.numpy().tobytes() for example in first}) > 5


def test_seeds_decide_the_augmentation(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    data = load_data("mnist", shape=(1, 28, 28), classes=10, root=tmp_path)
    assert torch.equal(batch(data, seed=1), batch(data, seed=1))
    assert not torch.equal(batch(data, seed=1), batch(data, seed=2))
    assert torch.equal(batch(data, workers=2, seed=1), batch(data, workers=2, seed=1))


# What is recorded


def test_facts(tmp_path: Path) -> None:
    write_mnist(tmp_path, "FashionMNIST")
    data = load_data("fashion-mnist", shape=(1, 32, 32), classes=10, root=tmp_path, limit=30)
    facts = data.facts()
    assert json.loads(json.dumps(facts)) == facts
    digest = facts.pop("sha256")
    assert re.fullmatch(r"[0-9a-f]{64}", digest)
    assert facts == {
        "name": "fashion-mnist",
        "sha256_of": "all bytes",
        "train": 30,
        "test": 20,
        "limit": 30,
        "shape": [1, 32, 32],
        "classes": list(datasets.FashionMNIST.classes),
        "largest_class": 0.1,
        "mean": [0.2860],
        "std": [0.3530],
        "pad": 2,
        "stored": [1, 28, 28],
        "bytes": True,
        "augment": {"flip": 0.5, "crop": 2},
    }
    assert data.sentence() == (
        "fashion-mnist: 30 training and 20 test examples (limit 30) of shape [1, 32, 32], 10 classes (T-shirt/top, "
        "Trouser, Pullover and 7 more); 2 zeros on each side; mean 0.286, deviation 0.353; "
        "augmented by flip 0.5, crop 2"
    )
    other = load_data("fashion-mnist", shape=(784,), classes=10, root=tmp_path, augment=False)
    assert (other.facts()["sha256"], other.facts()["pad"], other.facts()["augment"]) == (digest, 0, {})
    assert other.sentence() == (
        "fashion-mnist: 40 training and 20 test examples of shape [784], 10 classes (T-shirt/top, Trouser, Pullover "
        "and 7 more); mean 0.286, deviation 0.353; not augmented"
    )


def test_facts_of_digits() -> None:
    data = load_data("digits", shape=(1, 8, 8), classes=10)
    facts = data.facts()
    assert (facts["mean"], facts["std"], facts["augment"]) == ([0.0], [1.0], {})
    assert facts["largest_class"] == 37 / 360
    assert data.sentence() == (
        "digits: 1,437 training and 360 test examples of shape [1, 8, 8], 10 classes (0, 1, 2 and 7 more); "
        "pixels from 0 to 1; not augmented"
    )


def test_facts_of_examples_of_ones_own() -> None:
    data = load_data("digits", shape=(64,), classes=10)
    own = Data("mine", data.train, data.test, data.classes, data.shape)
    facts = own.facts()
    assert (facts["sha256"], facts["sha256_of"], facts["mean"], facts["std"], facts["train"]) == (*[None] * 4, 1437)
    assert own.sentence() == (
        "mine: 1,437 training and 360 test examples of shape [64], 10 classes (0, 1, 2 and 7 more); not augmented"
    )


def test_the_hash_is_of_images_and_labels(tmp_path: Path) -> None:
    def digest(root: Path) -> str:
        return str(load_data("mnist", shape=(784,), classes=10, root=root).facts()["sha256"])

    (tmp_path / "c").mkdir()
    write_mnist(tmp_path / "a")
    write_mnist(tmp_path / "b", compressed=False)
    same = digest(tmp_path / "a")
    assert same == digest(tmp_path / "b")
    for file, at in (("train-images-idx3-ubyte", 500), ("t10k-images-idx3-ubyte", -1), ("t10k-labels-idx1-ubyte", -1)):
        root = tmp_path / file
        path = write_mnist(root, compressed=False) / file
        content = bytearray(path.read_bytes())
        content[at] ^= 1
        path.write_bytes(content)
        assert digest(root) != same


@pytest.mark.parametrize("name", list(DATA_SETS))
def test_the_documented_preparation_is_the_real_one(name: str) -> None:
    recipe = DATA_SETS[name].recipe
    """The page of the site has this table."""
    lines = data_sets().splitlines()
    assert DATA_SETS[name].description in "\n".join(lines)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    (row,) = (cells[1:] for cells in rows if cells[0] == f"`{name}`")
    augment = ", ".join(f"{key} {value:g}" for key, value in recipe.augmentation.facts().items())
    assert row[1:] == [
        "×".join(map(str, recipe.shape)),
        ", ".join("×".join(map(str, shape)) for shape in recipe.shapes),
        str(recipe.output),
        ", ".join(f"{value:.4g}" for value in recipe.mean) or "–",
        ", ".join(f"{value:.4g}" for value in recipe.std) or "–",
        augment or "none",
    ]


# The real sets


def shared(name: str) -> Path:
    if not (SHARED / name).exists():
        pytest.skip(f"{SHARED / name} is not there: the real data are no part of the project")
    return SHARED


@pytest.mark.parametrize(
    ("name", "folder", "mean", "std"),
    [("mnist", "MNIST", 0.1307, 0.3081), ("fashion-mnist", "FashionMNIST", 0.2860, 0.3530)],
)
def test_real_mnist(name: str, folder: str, mean: float, std: float) -> None:
    data = load_data(name, shape=(1, 28, 28), classes=10, root=shared(folder), augment=False)
    assert (len(data.train), len(data.test)) == (60000, 10000)
    pixels = data.train.images.array / 255  # type: ignore[attr-defined]
    assert pixels.mean() == pytest.approx(mean, abs=1e-4)
    assert pixels.std() == pytest.approx(std, abs=1e-4)
    assert min(Counter(data.test.targets).values()) > 890  # type: ignore[attr-defined]
    started = time.perf_counter()
    data.facts()
    assert time.perf_counter() - started < 1

"""Data sets: what they hold, how they are prepared, and every error text."""

from __future__ import annotations

import gzip
import io
import pickle
import random
import re
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from epgraph.data import DATA_SETS, Data, load_data
from epgraph.data import folder as folder_module
from epgraph.data.examples import balanced
from epgraph.data.recipes import RECIPES, make_transform
from epgraph.errors import EpgraphError

SHARED = Path(__file__).parents[3] / "shared" / "data"


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


# Making small sets


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


@pytest.fixture(params=["directory", "zip"])
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Write:
    """Write files as a directory or as a zip archive, and return its path."""
    if request.param == "zip":
        return lambda files: write_zip(tmp_path / "pictures.zip", files)

    def directory(files: dict[str, bytes]) -> Path:
        (tmp_path / "pictures").mkdir()
        return write_directory(tmp_path / "pictures", files)

    return directory


# Names and fit


def test_importing_is_quick() -> None:
    code = (
        "import sys, epgraph.data; "
        "print(sorted({'torch', 'torchvision', 'sklearn', 'numpy', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_names() -> None:
    assert DATA_SETS == ("digits", "mnist", "fashion-mnist", "cifar10", "cifar100", "folder:PATH")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("fashion-mnits", "there is no data set 'fashion-mnits'; did you mean 'fashion-mnist'?"),
        ("MNIST", "there is no data set 'MNIST'; did you mean 'mnist'?"),
        (
            "imagenet",
            "there is no data set 'imagenet'; known: digits, mnist, fashion-mnist, cifar10, cifar100, folder:PATH",
        ),
        ("", "there is no data set ''; known: digits, mnist, fashion-mnist, cifar10, cifar100, folder:PATH"),
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
            "output.classes: cifar100 has 100 classes, but the network's output has 10; write output: {classes: 100}",
        ),
        (
            "cifar10",
            (1, 28, 28),
            5,
            "input.shape: cifar10 has examples of shape [3, 32, 32], but the network's input is [1, 28, 28]; "
            "write input: {shape: [3, 32, 32]}\n"
            "output.classes: cifar10 has 10 classes, but the network's output has 5; "
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
    theirs = datasets.MNIST(tmp_path, transform=make_transform(RECIPES["mnist"], (1, 28, 28), augment=False))
    for (x, label), (y, target) in zip(data.train, theirs, strict=True):
        assert torch.equal(x, y)
        assert label == target


@pytest.mark.parametrize(
    ("shape", "steps"),
    [
        ((1, 28, 28), [transforms.RandomCrop(28, padding=2, padding_mode="edge")]),
        ((1024,), [transforms.Pad(2), transforms.RandomCrop(32, padding=2, padding_mode="edge")]),
    ],
)
@pytest.mark.parametrize("kind", ["MNIST", "FashionMNIST"])
def test_mnist_recipe(tmp_path: Path, kind: str, shape: tuple[int, ...], steps: list[object]) -> None:
    write_mnist(tmp_path, kind, compressed=False)
    theirs = getattr(datasets, kind)(tmp_path)
    last = [transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
    name = "mnist"
    if kind == "FashionMNIST":
        last = [transforms.RandomHorizontalFlip(), last[0], transforms.Normalize((0.2860,), (0.3530,))]
        name = "fashion-mnist"
    published = transforms.Compose([*steps, *last])
    data = load_data(name, shape=shape, classes=10, root=tmp_path)
    for i in range(40):
        torch.manual_seed(i)
        ours = data.train[i][0]
        torch.manual_seed(i)
        assert torch.equal(ours, published(theirs[i][0]).reshape(shape))


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
    published = transforms.Compose(
        [
            transforms.RandomHorizontalFlip(0.5),
            transforms.RandAugment(num_ops=3 if classes == 10 else 4, magnitude=9),
            transforms.RandomCrop(size=[32, 32], padding=4, padding_mode="edge"),
            transforms.ToTensor(),
            transforms.Normalize(mean, std),
        ]
    )
    images = data.train.images  # type: ignore[attr-defined]
    for i in range(n):
        torch.manual_seed(i)
        ours = data.train[i][0]
        torch.manual_seed(i)
        assert torch.equal(ours, published(images[i]))
    x, _ = data.test[3]
    stored = transforms.ToTensor()(data.test.images[3])  # type: ignore[attr-defined]
    assert torch.equal(x, transforms.Normalize(mean, std)(stored))


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


# Folders


@pytest.mark.parametrize("top", ["", "enclosing/"])
def test_folder(write: Write, top: str) -> None:
    files = image_files() | {"train/b/.hidden.png": b"", "train/b/notes.txt": b"", ".complete": b""}
    files |= {"train/b/LAST.JPG": image_bytes(format="JPEG"), "__MACOSX/train/b/._0.png": b""}
    if top:
        del files["__MACOSX/train/b/._0.png"]
    path = write({top + name: content for name, content in files.items()})
    data = load_data(f"folder:{path}", shape=(3, 8, 8), classes=2, augment=False)
    assert data.name == f"folder:{path}"
    assert data.classes == ("a", "b")
    assert [label for _, label in data.train] == [0, 0, 0, 1, 1, 1, 1]
    assert [label for _, label in data.test] == [0, 0, 1, 1]
    stored = transforms.ToTensor()(Image.open(io.BytesIO(files["test/b/1.png"])))
    x, label = data.test[3]
    assert label == 1
    assert x.dtype == torch.float32
    assert torch.allclose(x, stored * 2 - 1, atol=1e-6)


def test_folder_converts_and_resizes(tmp_path: Path) -> None:
    path = write_directory(tmp_path, image_files() | {"train/a/0.png": image_bytes((40, 20), "RGB")})
    grey = load_data(f"folder:{path}", shape=(1, 10, 12), classes=2, augment=False)
    expected = Image.open(path / "train/a/0.png").convert("L")
    resized = transforms.Resize((10, 12), antialias=True)(expected)
    assert torch.allclose(grey.train[0][0], transforms.ToTensor()(resized) * 2 - 1, atol=1e-6)
    assert {x.shape for x, _ in grey.train} == {(1, 10, 12)}
    assert load_data(f"folder:{path}", shape=(3, 5, 5), classes=2).train[0][0].shape == (3, 5, 5)


def test_folder_augments(tmp_path: Path) -> None:
    files = image_files() | {"train/a/0.png": image_bytes((32, 32))}
    path = write_directory(tmp_path, files)
    data = load_data(f"folder:{path}", shape=(3, 32, 32), classes=2)
    published = transforms.Compose(
        [
            transforms.RandomHorizontalFlip(),
            transforms.RandomCrop(32, padding=4, padding_mode="edge"),
            transforms.ToTensor(),
            transforms.Normalize((0.5,) * 3, (0.5,) * 3),
        ]
    )
    for seed in range(8):
        torch.manual_seed(seed)
        ours = data.train[0][0]
        torch.manual_seed(seed)
        assert torch.equal(ours, published(Image.open(path / "train/a/0.png")))
    assert torch.equal(data.test[0][0], data.test[0][0])


def test_flat_folder_takes_the_size_of_the_first_image(tmp_path: Path) -> None:
    path = write_directory(tmp_path, image_files() | {"train/a/1.png": image_bytes((40, 20))})
    data = load_data(f"folder:{path}", shape=(192,), classes=2)
    assert {x.shape for x, _ in data.train} == {(192,)}
    assert refusal(f"folder:{path}", shape=(64,), classes=2) == (
        f"input.shape: folder:{path} has examples of shape [3, 8, 8], but the network's input is [64]; "
        "write input: {shape: [192]}"
    )


def test_folder_limit(tmp_path: Path) -> None:
    path = write_directory(tmp_path, image_files(train=20))
    data = load_data(f"folder:{path}", shape=(3, 8, 8), classes=2, limit=6)
    assert Counter(label for _, label in data.train) == {0: 3, 1: 3}
    assert len(data.test) == 4


def test_folder_needs_a_path() -> None:
    text = "'folder:' lacks a path; write folder:PATH, a directory or a .zip"
    assert refusal("folder:", shape=(3, 8, 8), classes=2) == text


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "nothing"
    assert refusal(f"folder:{path}", shape=(3, 8, 8), classes=2) == (
        f"there is no folder or archive {path}; give a directory or a .zip after 'folder:'"
    )


def test_folder_that_is_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "pictures.tar"
    path.write_bytes(b"not a zip")
    assert refusal(f"folder:{path}", shape=(3, 8, 8), classes=2) == (
        f"{path} is not a zip archive: File is not a zip file; give a directory or a .zip"
    )


ARRANGE = "arrange the images as train/<class>/*.png and test/<class>/*.png"


@pytest.mark.parametrize(
    ("files", "text"),
    [
        (image_files(train=0), f"has no folder train/; {ARRANGE}"),
        (image_files(test=0), f"has no folder test/; {ARRANGE}"),
        ({"a/0.png": b"", "b/0.png": b""}, f"has no folder train/; {ARRANGE}"),
        (
            {"train/0.png": b"", "test/a/0.png": b""},
            f"has no images in train/<class>/; {ARRANGE} (or .jpg, .jpeg, .bmp, .ppm, .webp)",
        ),
        (
            {"train/a/0.png": b"", "test/a/0.gif": b""},
            f"has no images in test/<class>/; {ARRANGE} (or .jpg, .jpeg, .bmp, .ppm, .webp)",
        ),
        (
            image_files() | {"train/c/0.gif": b""},
            "has no images in train/c/; add some, or remove the folder",
        ),
        (
            image_files() | {"test/c/0.png": b""},
            "has the class 'c' in test/ but not in train/; classes are the folders of train/: a, b",
        ),
    ],
)
def test_folder_arranged_wrongly(write: Write, files: dict[str, bytes], text: str) -> None:
    path = write(files)
    assert refusal(f"folder:{path}", shape=(3, 8, 8), classes=2) == f"{path} {text}"


@pytest.mark.parametrize(
    ("shape", "classes", "text"),
    [
        (
            (3, 8, 8),
            10,
            "output.classes: {name} has 2 classes, but the network's output has 10; write output: {{classes: 2}}",
        ),
        (
            (4, 8, 8),
            2,
            "input.shape: {name} has examples of shape [1, H, W] (grey) or [3, H, W] (RGB), "
            "but the network's input is [4, 8, 8]; write input: {{shape: [3, 8, 8]}}",
        ),
        (
            (8, 8),
            2,
            "input.shape: {name} has examples of shape [1, H, W] (grey) or [3, H, W] (RGB), "
            "but the network's input is [8, 8]; write input: {{shape: [1, 8, 8]}}",
        ),
    ],
)
def test_folder_misfit(tmp_path: Path, shape: tuple[int, ...], classes: int, text: str) -> None:
    name = f"folder:{write_directory(tmp_path, image_files())}"
    assert refusal(name, shape=shape, classes=classes) == text.format(name=name)


def sixteen_bits() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((8, 8), 5000, dtype=np.uint16)).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "reason", "workers"),
    [
        (b"no image", "it is no image", 0),
        # A worker's exception arrives as one that is made from the text of its traceback.
        (b"no image", "it is no image", 1),
        (sixteen_bits(), "it has more than 8 bits a channel", 0),
        (image_bytes((64, 64))[:2000], r"image file is truncated.*", 0),
    ],
    ids=["no image", "no image, worker", "16 bits", "cut short"],
)
def test_unreadable_image(write: Write, content: bytes, reason: str, workers: int) -> None:
    path = write(image_files() | {"train/a/1.png": content})
    data = load_data(f"folder:{path}", shape=(3, 8, 8), classes=2)
    text = rf"the image {re.escape(str(path))}/train/a/1\.png cannot be read: {reason}; replace or remove it"
    with pytest.raises(EpgraphError) as caught:
        list(DataLoader(data.train, 2, num_workers=workers))
    assert re.fullmatch(text, str(caught.value))


def test_image_that_is_gone(tmp_path: Path) -> None:
    path = write_directory(tmp_path, image_files())
    data = load_data(f"folder:{path}", shape=(3, 8, 8), classes=2)
    (path / "train/a/0.png").unlink()
    with pytest.raises(EpgraphError, match=r"a/0\.png cannot be read: \[Errno 2\] No such file"):
        data.train[0]


def test_too_large_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folder_module.MAX_BYTES == 64 * 2**20
    monkeypatch.setattr(folder_module, "MAX_BYTES", 1000)
    files = image_files() | {"train/b/2.png": image_bytes((200, 200))}
    path = write_zip(tmp_path / "bomb.zip", files)
    assert refusal(f"folder:{path}", shape=(3, 8, 8), classes=2) == (
        f"the image {path}/train/b/2.png cannot be read: it is larger than 64 MiB; replace or remove it"
    )
    data = load_data(f"folder:{write_directory(tmp_path / 'd', files)}", shape=(3, 8, 8), classes=2)
    with pytest.raises(EpgraphError, match=r"2\.png cannot be read: it is larger than 64 MiB; replace"):
        data.train[5]


def test_zip_that_lies_about_a_size(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    declared, real = (1000).to_bytes(4, "little"), 200 * 2**20
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in image_files().items():
            archive.writestr(name, content)
        archive.writestr("train/b/9.png", bytes(real))
    path.write_bytes(path.read_bytes().replace(real.to_bytes(4, "little"), declared))
    data = load_data(f"folder:{path}", shape=(3, 8, 8), classes=2)
    tracemalloc.start()
    try:
        with pytest.raises(EpgraphError, match=r"b/9\.png cannot be read: .*; replace or remove it"):
            data.train[6]
        assert tracemalloc.get_traced_memory()[1] < 2.5 * folder_module.MAX_BYTES
    finally:
        tracemalloc.stop()


def test_zip_compressed_in_an_unusual_way(tmp_path: Path) -> None:
    path = tmp_path / "p.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("train/a/0.png", image_bytes())
    assert refusal(f"folder:{path}", shape=(3, 8, 8), classes=2) == (
        f"the image {path}/train/a/0.png cannot be read: it is neither stored nor deflated; replace or remove it"
    )


def test_paths_that_climb_are_passed_over(tmp_path: Path) -> None:
    climbing = {"../train/a/9.png": b"", "train/../../a/9.png": b"", "/etc/passwd": b""}
    path = write_zip(tmp_path / "p.zip", image_files() | climbing)
    data = load_data(f"folder:{path}", shape=(3, 8, 8), classes=2)
    assert (len(data.train), len(data.test)) == (6, 4)
    batch(data)
    assert sorted(tmp_path.iterdir()) == [path]


# Determinism


def test_zip_and_directory_agree_whoever_reads(tmp_path: Path) -> None:
    files = image_files()
    zipped = load_data(f"folder:{write_zip(tmp_path / 'p.zip', files)}", shape=(3, 8, 8), classes=2)
    plain = load_data(f"folder:{write_directory(tmp_path / 'p', files)}", shape=(3, 8, 8), classes=2)
    zipped.train[0]  # opens the archive in this process, before the workers are forked
    for workers in (0, 2):
        assert torch.equal(batch(zipped, workers), batch(plain, workers))
    copy = pickle.loads(pickle.dumps(zipped.train))
    torch.manual_seed(0)
    x = zipped.train[0][0]
    torch.manual_seed(0)
    assert torch.equal(copy[0][0], x)


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "digits"])
def test_only_torch_draws(name: str) -> None:
    recipe = RECIPES[name]
    transform = make_transform(recipe, recipe.shape, augment=True)
    pixels = np.random.default_rng(0).integers(0, 256, (*recipe.shape[1:], 3)).astype(np.uint8)
    image = Image.fromarray(pixels if recipe.shape[0] == 3 else pixels[:, :, 0])

    def draw(seed: int) -> torch.Tensor:
        torch.manual_seed(3)
        random.seed(seed)
        np.random.seed(seed)
        states = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index,union-attr]
        examples = torch.stack([transform(image) for _ in range(40)])
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
    assert min(Counter(data.test.labels).values()) > 890  # type: ignore[attr-defined]

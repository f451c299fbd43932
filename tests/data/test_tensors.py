"""``tensors:PATH``, and data sets of torch's kind: inputs, labels and targets of the user's own."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import epgraph as ep
from epgraph.augmentation import Augmentation
from epgraph.data import Data, load_data
from epgraph.training.batches import batches

NET = """\
epgraph: 2
input: {shape: INPUT}
output: OUTPUT
edges: [{from: x, to: y, dense: {}}]
dynamics: {free_steps: 4, nudged_steps: 2}
data: {name: 'tensors:PATH'}
training: {epochs: 2, batch_size: 16, learning_rate: 0.02}
"""


def net(path: object, input: str = "[6]", output: str = "{shape: [3]}") -> str:
    return NET.replace("INPUT", input).replace("OUTPUT", output).replace("PATH", str(path))


def arrays(x: Any = None, y: Any = None) -> dict[str, Any]:
    draw = np.random.default_rng(0)
    x = draw.random((40, 6)) if x is None else x
    y = draw.random((40, 3)) if y is None else y
    return {"x_train": x[:30], "y_train": y[:30], "x_test": x[30:], "y_test": y[30:]}


def saved(path: Path, **content: Any) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **content)
    else:
        torch.save({name: torch.as_tensor(value) for name, value in content.items()}, path)
    return path


@pytest.mark.parametrize("name", ["a.npz", "a.pt"])
def test_regression_learns_the_target_itself(name: str, tmp_path: Path) -> None:
    content = arrays()
    path = saved(tmp_path / name, **content)
    result = ep.train(net(path), out=tmp_path / "run", pictures=False)
    assert isinstance(result.data, Data)
    x, y = result.data.train[4]
    assert torch.equal(x, torch.from_numpy(content["x_train"][4]).float())
    assert torch.equal(y, torch.from_numpy(content["y_train"][4]).float())
    assert result.data.sentence() == (
        f"tensors:{path}: 30 training and 10 test examples of shape [6], with targets; inputs as they are; "
        "not augmented"
    )
    first, last = (row["train_loss"] for row in ep.load_run(tmp_path / "run").metrics)
    assert last < first
    assert "test_error" not in result.metrics
    found = ep.evaluate(tmp_path / "run")
    assert (found.error, found.accuracy, found.examples) == (None, None, 10)
    output = result.engine.predict(torch.stack([x for x, _ in result.data.test])).states["y"]
    wanted = torch.stack([y for _, y in result.data.test])
    assert found.loss == pytest.approx(float((output - wanted).square().sum(1).mean()) / 2, rel=1e-5)


def test_tensors_of_types_that_numpy_lacks(tmp_path: Path) -> None:
    content = {name: torch.as_tensor(value).bfloat16() for name, value in arrays().items()}
    content["x_train"].requires_grad_()
    torch.save(content, tmp_path / "a.pt")
    data = load_data(f"tensors:{tmp_path / 'a.pt'}", shape=(6,), targets=(3,))
    assert torch.equal(data.train[4][0], content["x_train"][4].detach().float())
    assert torch.equal(data.test[2][1], content["y_test"][2].float())


def test_several_labels_at_once_are_targets(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", **arrays(y=np.random.default_rng(0).integers(0, 2, (40, 3))))
    data = ep.load_data(net(path))
    assert data.train[0][1].dtype == torch.float32
    assert data.recipe is not None
    assert data.recipe.output == (3,)
    one = saved(tmp_path / "b.npz", **arrays(y=np.linspace(0, 1, 40)))
    assert ep.load_data(net(one, output="{shape: [1]}")).train[0][1].shape == (1,)


@pytest.mark.parametrize("stored", [(40, 8, 8), (40, 8, 8, 1), (40, 1, 8, 8), (40, 8, 8, 3), (40, 3, 8, 8)])
def test_images_and_labels(stored: tuple[int, ...], tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, stored).astype(np.uint8)
    path = saved(tmp_path / "a.npz", **arrays(pixels, np.arange(40) % 3))
    channels = 3 if 3 in stored else 1
    data = ep.load_data(net(path, f"[{channels}, 8, 8]", "{classes: 4}"))
    image = pixels[5].reshape(8, 8, -1).transpose(2, 0, 1) if stored[1] == 8 else pixels[5]
    x, y = data.train[5]
    assert torch.equal(x, torch.from_numpy(np.ascontiguousarray(image)).float() / 255)
    assert (y, data.classes) == (2, ("0", "1", "2", "3"))
    changed = load_data(
        f"tensors:{path}",
        shape=(channels, 8, 8),
        classes=4,
        normalize=([0.5] * channels, [2] * channels),
        augment=Augmentation(randaugment=1, crop=1),
    )
    torch.testing.assert_close(changed.test[0][0], (data.test[0][0] - 0.5) / 2)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"y_test": None}, "it has no y_test"),
        ({"y_test": np.zeros((9, 3))}, "x_test is a NumPy ndarray of shape (10, 6) and float64 and y_test is"),
        ({"x_test": np.zeros((10, 7))}, "the arrays of training and test differ in shape or type; make them alike"),
        ({"x_train": np.full((30, 6), np.nan)}, "x_train has numbers that are not finite; replace them"),
        ({"x_train": np.full((30, 6), "a")}, "x_train is a NumPy ndarray of shape (30, 6) and <U1, and should"),
        ({"y_test": np.full((10, 3), 1j)}, "y_test is a NumPy ndarray of shape (10, 3) and complex128, and"),
        ({"y_train": np.zeros(30, int) - 1, "y_test": np.zeros(10, int)}, "a label is below 0; labels count from 0"),
    ],
)  # fmt: skip
def test_arrays_that_cannot_be(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    content = {name: value for name, value in (arrays() | changed).items() if value is not None}
    path = saved(tmp_path / "a.npz", **content)
    with pytest.raises(ep.EpgraphError) as caught:
        ep.load_data(net(path))
    assert f"{path}: {message}" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npz", b"PK nothing", "a.npz: "),
        ("a.pt", b"", "a.pt: "),
        ("a.pt", b"cos\nsystem\n(S'true'\ntR.", "a.pt: "),
        ("a.csv", b"", "a.csv: its name ends neither in .npz nor in .pt; write np.savez(PATH, x_train=…"),
    ],
)
def test_files_that_cannot_be_read(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ep.EpgraphError) as caught:
        ep.load_data(net(tmp_path / name))
    assert str(caught.value).startswith(f"{tmp_path}/{message}")
    with pytest.raises(ep.EpgraphError, match="cannot be read"):
        ep.load_data(net(tmp_path / f"no-{name}"))


@pytest.mark.parametrize(
    ("input", "output", "message"),
    [
        ("[6]", "{classes: 3}", "3:19: {} has targets of shape [3], but the network's output has 3 classes; "
         "write output: {{shape: [3]}}"),
        ("[5]", "{shape: [3]}", "2:16: {} has examples of shape [6], but the network's input is [5]; "
         "write input: {{shape: [6]}}"),
    ],
)  # fmt: skip
def test_misfits(input: str, output: str, message: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", **arrays())
    with pytest.raises(ep.EpgraphError) as caught:
        ep.load_data(net(path, input, output))
    assert str(caught.value) == f"<text>:{message.format(f'tensors:{path}')}"


def test_changes_are_for_images(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", **arrays())
    with pytest.raises(ep.EpgraphError) as caught:
        ep.load_data(net(path).replace("'}", "', augment: {flip: 0.5}, normalization: {mean: [1], std: [1]}}"))
    what = f"is for images, gray or RGB, and tensors:{path} has inputs of shape [6]; write"
    first, second = str(caught.value).splitlines()
    assert first.endswith(f"'augment' {what} augment: none")
    assert second.endswith(f"'normalization' {what} normalization: none")


class Sums(torch.utils.data.Dataset[Any]):
    """Examples that are made when they are asked for."""

    classes = ("small", "large")

    def __init__(self, count: int, first: Any = None) -> None:
        self.count, self.first = count, first

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        if index == 0 and self.first is not None:
            return self.first
        x = torch.rand(6)
        return x, int(x.sum() > 3)


def test_data_sets_of_torch(tmp_path: Path) -> None:
    network = net("none", output="{classes: 2}")
    one, two = (
        ep.train(network, (Sums(48), Sums(20)), out=tmp_path / name, workers=workers, pictures=False)
        for name, workers in (("a", 0), ("b", 2))
    )
    assert one.data.sentence() == (
        "Sums: 48 training and 20 test examples of shape [6], 2 classes (small, large); not augmented"
    )
    # What is drawn for an example depends on seed, epoch and example alone.
    assert one.metrics["train_loss"] == two.metrics["train_loss"]
    assert ep.evaluate(one.engine, Sums(30)).examples == 30
    held = network.replace("'}", "', validation: 0.2}")
    with pytest.raises(
        ep.EpgraphError, match=r"Sums has no validation examples, which data\.validation asks for; give ep\.Data"
    ):
        ep.train(held, (Sums(48), Sums(20)), out=tmp_path / "c")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Sums(3), "one data set cannot be trained and tested on; write (train, test)"),
        (3, "data expects a name, Data, or two data sets, found 3; write (train, test)"),
        ((Sums(3),), "data expects a name, Data, or two data sets, found a tuple; write (train, test)"),
        ((Sums(3), Sums(0)), "a Sums has no examples; give a data set that is not empty"),
        ((Sums(3, "x"), Sums(3)), "an example of a Sums should be a tensor and its label or target, found text 'x'; "
         "images are made tensors by transform=torchvision.transforms.ToTensor()"),
        ((Sums(3), Sums(3, ([1], 2))), "an example of a Sums should be a tensor and its label or target, found a pair "
         "with a list; images are made tensors by transform=torchvision.transforms.ToTensor()"),
    ],
)  # fmt: skip
def test_data_sets_that_cannot_be(data: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ep.EpgraphError) as caught:
        ep.train(net("none"), data, out=tmp_path / "run")
    assert str(caught.value) == message


class Drawn(Sums):
    """Examples that draw from every generator of a process."""

    def __getitem__(self, index: int) -> Any:
        return torch.stack([torch.rand(()), torch.tensor(random.random()), torch.tensor(np.random.rand())]), 0


def test_what_is_drawn_depends_on_seed_epoch_and_example_alone() -> None:
    def drawn(workers: int, order: list[int], epoch: int) -> torch.Tensor:
        cpu = torch.device("cpu")
        loader = batches(Drawn(8), 3, device=cpu, workers=workers, order=order, draw=(0, epoch))
        return torch.cat([x for x, _ in loader])[torch.tensor(order).argsort()]

    before, after = random.getstate(), list(range(8))
    first = drawn(0, after, 0)
    assert random.getstate() == before
    assert torch.equal(first, drawn(2, after[::-1], 0))
    assert not (first == drawn(2, after, 1)).any()


class Unlike(Sums):
    """Of its examples the fourth is unlike the others."""

    def __init__(self, count: int, fourth: Any) -> None:
        super().__init__(count)
        self.fourth = fourth

    def __getitem__(self, index: int) -> Any:
        return self.fourth if index == 3 else super().__getitem__(index)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("fourth", "message"),
    [
        ((torch.rand(5), 1), "a Tensor of shape (5,)"),
        ((torch.rand(6), "one"), "text 'one'"),
        (None, "None"),
    ],
)
def test_examples_that_are_unlike_the_others(workers: int, fourth: Any, message: str, tmp_path: Path) -> None:
    network = net("none", output="{classes: 2}")
    with pytest.raises(ep.EpgraphError) as caught:
        ep.train(network, (Unlike(8, fourth), Sums(8)), out=tmp_path / "run", workers=workers, pictures=False)
    assert str(caught.value).startswith("the examples of a batch cannot be joined: they are ")
    assert message in str(caught.value)
    assert "Traceback" not in str(caught.value)


class Named(Sums):
    """Examples whose labels are text."""

    def __getitem__(self, index: int) -> Any:
        return torch.rand(6), "small"


def test_labels_that_are_text(tmp_path: Path) -> None:
    with pytest.raises(ep.EpgraphError, match="and text 'small'; give tensors of one shape"):
        ep.train(net("none", output="{classes: 2}"), (Named(8), Named(8)), out=tmp_path / "run", pictures=False)

"""Predictions of one's own images: prepared as in the run, or refused with both sizes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import epgraph as ep
from epgraph.cli import run
from tests.helpers.pictures import image_files, write_directory
from tests.helpers.runs import NET


def trained(folder: Path, data: str, text: str = NET, *overrides: str) -> ep.TrainResult:
    # A limit changes the order of the examples.
    limit = 40 if data == "digits" else None
    options: dict[str, Any] = {"limit": limit, "epochs": 1, "pictures": False, "warn": lambda _: None}
    return ep.train(text, data, out=folder / "run", overrides=list(overrides), **options)


def outputs(result: ep.TrainResult) -> torch.Tensor:
    """Outputs for the test examples, as the training prepared them."""
    assert isinstance(result.data, ep.Data)
    return result.engine(torch.stack([x for x, _ in result.data.test])).detach()


@pytest.mark.parametrize("cost", ["squared_error", "cross_entropy", "softmax_readout"])
def test_arrays_are_prepared_as_in_the_run(cost: str, tmp_path: Path) -> None:
    changes = [f"output.cost={cost}", "data.normalization={mean: [0.3], std: [0.4]}"]
    result = trained(tmp_path, "digits", NET, *changes)
    assert isinstance(result.data, ep.Data)
    stored = result.data.test.stored(range(len(result.data.test)))[0]
    found = ep.predict(result.folder, stored)
    expected = outputs(result)
    if cost != "squared_error":
        expected = expected.softmax(1)
    assert found.kind == ("score" if cost == "squared_error" else "probability")
    torch.testing.assert_close(found.values, expected)
    np.savez(tmp_path / "own.npz", x=stored)
    torch.save({"x": stored[:, 0]}, tmp_path / "own.pt")
    for path in (tmp_path / "own.npz", tmp_path / "own.pt"):
        again = ep.predict(result.folder / "last.pt", path)
        assert torch.equal(again.values, found.values)
        assert again.inputs[3] == f"{path}[3]"
    # Of an engine alone the preparation is that of the section `data`.
    torch.testing.assert_close(ep.predict(result.engine, stored.numpy()).values, found.values)


def test_images_of_a_folder_are_resized(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_directory(tmp_path / "pictures", image_files())
    data = f"folder:{folder}"
    text = NET.replace("classes: 10", "classes: 2").replace("[1, 8, 8]", "[3, 8, 8]")
    result = trained(tmp_path, data, text)
    test = folder / "test"
    found = ep.predict(result.folder, [test])
    torch.testing.assert_close(found.values, outputs(result))
    assert found.labels == tuple(found.classes[i] for i in found.values.argmax(1).tolist())
    assert set(found.labels) <= {p.name for p in (folder / "train").iterdir()}
    capsys.readouterr()
    assert run(["predict", str(result.folder), str(test), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == found.to_dict()
    assert [p["input"] for p in printed["predictions"]] == sorted(str(p) for p in test.rglob("*.png"))
    assert run(["predict", str(result.folder), str(test), "--top", "1"]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first == f"{found.inputs[0]}: {found.labels[0]}, score {float(found.values[0].max()):.3f}"


def test_what_is_not_like_the_data_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = trained(tmp_path, "digits")
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "gray.png")
    Image.fromarray(pixels).convert("RGB").save(tmp_path / "equal.png")
    Image.fromarray(np.stack([pixels, pixels, pixels * 0], -1)).save(tmp_path / "color.png")
    Image.new("L", (640, 480)).save(tmp_path / "large.png")
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty").mkdir()
    np.save(tmp_path / "one.npy", pixels)
    assert ep.predict(result.folder, pixels[None]).values.shape == (1, 10), "a gray image needs no axis for its channel"
    one = ep.predict(result.folder, [tmp_path / "gray.png", tmp_path / "equal.png"]).values
    assert torch.equal(one[0], one[1])
    torch.testing.assert_close(one[0], result.engine(torch.from_numpy(pixels)[None, None] / 255)[0].detach())
    capsys.readouterr()
    assert run(["predict", str(result.folder), *(str(tmp_path / f"{n}.png") for n in ("large", "color", "text"))]) == 1
    large, color, text = capsys.readouterr().err.splitlines()
    assert "large.png: the image has 640×480 pixels, and the images of digits" in large
    assert large.endswith(
        "have 8×8; crop and resize it to 8×8; a network that was trained on folder:PATH resizes images"
    )
    assert color.endswith("color.png: the image has colors, and those of digits are gray; convert it to gray")
    assert "text.png cannot be read: it is no image" in text
    for images, message in (
        (tmp_path / "empty", "empty has no images; files are read that end in .png"),
        (tmp_path / "nothing.png", f"there is no file {tmp_path / 'nothing.png'}; name image files"),
        ([], "no image is named"),
        (np.array(0.5), "and should have one row of numbers for each example"),
        (3, "images expects a list, found 3"),
        (np.zeros((2, 9, 9), np.uint8), "x has examples of shape [1, 9, 9], and those of digits have [1, 8, 8]"),
        (np.full((2, 8, 8), 16.0), "x has numbers from 16 to 16, and pixels of digits are fractions from 0 to 1"),
        (np.full((2, 8, 8), np.nan), "x has numbers that are not finite"),
        (np.zeros((8, 8)), "give an array (N, 1, 8, 8); of a single example: x[None]"),
        (tmp_path / "one.npy", f"x=np.load('{tmp_path / 'one.npy'}'))"),
    ):
        with pytest.raises(ep.EpgraphError, match=re.escape(message)):
            ep.predict(result.folder, images)


def test_targets_that_are_no_labels(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(40, 6)) * 9, draw.random((40, 3))
    np.savez(tmp_path / "a.npz", x_train=x[:30], y_train=y[:30], x_test=x[30:], y_test=y[30:])
    text = """\
epgraph: 2
input: {name: x, shape: [6]}
output: {name: y, shape: [3]}
edges: [{from: x, to: y, dense: {}}]
"""
    result = trained(tmp_path, f"tensors:{tmp_path / 'a.npz'}", text)
    found = ep.predict(result.folder, x[30:])
    torch.testing.assert_close(found.values, outputs(result))
    assert (found.kind, found.labels, len(found.to_dict()["predictions"][0]["output"])) == ("output", (), 3)
    assert ep.evaluate(result.folder).lines()[0].startswith("10 test examples of tensors:")
    Image.new("L", (6, 1)).save(tmp_path / "one.png")
    with pytest.raises(
        ep.EpgraphError, match=r"it is not known how an image becomes an input .* give inputs as arrays"
    ):
        ep.predict(result.folder, tmp_path / "one.png")
    with pytest.raises(ep.EpgraphError, match=r"x has bytes, and the inputs of tensors:.* are other numbers"):
        ep.predict(result.folder, x[30:].astype(np.uint8))
    tracked = torch.from_numpy(x[30:]).bfloat16().requires_grad_()
    assert ep.predict(result.folder, tracked).values.shape == (10, 3)

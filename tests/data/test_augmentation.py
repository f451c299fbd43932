"""``data.augment``: what the language takes, and what is done to images then."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import torch
import yaml

import epgraph as ep
from epgraph.augmentation import Augmentation
from epgraph.cli import run
from epgraph.data import load_data
from epgraph.language.schema import json_schema
from tests.helpers.pictures import image_files, refusal, write_directory

NET = """\
epgraph: 2
input: {{name: x, shape: {shape}}}
output: {{name: y, classes: {classes}}}
edges:
  - {{from: x, to: y, dense: {{}}}}
data: {{augment: {augment}}}
training: {{epochs: 1}}
"""


def text(augment: str, shape: str = "[64]", classes: int = 10) -> str:
    return NET.format(shape=shape, classes=classes, augment=augment)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("published", "published"),
        ("none", "none"),
        ("false", "none"),
        ("null", "none"),
        ("{}", Augmentation()),
        ("{flip: 1}", Augmentation(flip=1.0)),
        ("{crop: 4, flip: 0.5}", Augmentation(flip=0.5, crop=4)),
        ("{randaugment: 3, magnitude: 5}", Augmentation(randaugment=3, magnitude=5)),
        ("{randaugment: 0, magnitude: 9}", Augmentation()),
    ],
)
def test_the_language(written: str, read: object) -> None:
    architecture = ep.load(text(written))
    assert architecture.data.augment == read
    assert ep.load(ep.to_yaml(architecture)) == architecture
    jsonschema.validate(yaml.safe_load(text(written)), json_schema())


def test_left_out() -> None:
    left_out = text("published").replace("data: {augment: published}\n", "")
    assert ep.load(left_out) == ep.load(text("published"))


WORDS = "6:17: 'augment' expects 'published', 'none' or a mapping, found"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("true", f"{WORDS} true"),
        ("3", f"{WORDS} 3"),
        ("[flip]", f"{WORDS} a list"),
        ("publishd", f"{WORDS} text 'publishd'; did you mean 'published'?"),
        ("{flp: 0.5}", "6:18: unknown key 'flp'; did you mean 'flip'?"),
        ("{flip: 1.5}", "6:24: 'flip' must be ≤ 1, found 1.5"),
        ("{flip: true}", "6:24: 'flip' expects a number, found true"),
        ("{crop: -1}", "6:24: 'crop' must be ≥ 0, found -1"),
        ("{crop: 0.5}", "6:24: 'crop' expects an integer, found 0.5"),
        ("{randaugment: {operations: 3}}", "6:31: 'randaugment' expects an integer, found a mapping"),
        (
            "{magnitude: 5}",
            "6:17: 'magnitude' is the strength of the operations of 'randaugment', and there are none; "
            "add e.g. randaugment: 3, or remove magnitude",
        ),
    ],
)
def test_mistakes(written: str, message: str) -> None:
    with pytest.raises(ep.EpgraphError) as caught:
        ep.load(text(written))
    assert str(caught.value) == f"<text>:{message}"


# What is done


def test_digits_are_augmented_as_asked() -> None:
    plain = load_data("digits", shape=(1, 8, 8), classes=10)
    flipped = load_data("digits", shape=(1, 8, 8), classes=10, augment=Augmentation(flip=1.0))
    assert torch.equal(flipped.train[5][0], plain.train[5][0].flip(2))
    moved = load_data("digits", shape=(64,), classes=10, augment=Augmentation(crop=1))
    wide = torch.nn.functional.pad(plain.train[5][0][None], (1, 1, 1, 1), mode="replicate")[0, 0]
    possible = {wide[i : i + 8, j : j + 8].numpy().tobytes() for i in range(3) for j in range(3)}
    found = {moved.train[5][0].numpy().tobytes() for _ in range(200)}
    assert found == possible
    assert torch.equal(moved.test[5][0], plain.test[5][0].flatten())


def test_augmentation_that_cannot_be() -> None:
    wanted = Augmentation(randaugment=1, crop=8)
    assert refusal("digits", shape=(64,), classes=10, augment=wanted) == (
        "data.augment.crop: 'crop' is 8, and the images of digits have 8×8 pixels: a crop could show nothing "
        "of them; write at most 7; an eighth of the width is common\n"
        "data.augment.randaugment: RandAugment works on images of bytes, and the pixels of digits are fractions; "
        "remove randaugment; flip and crop can be used"
    )


def test_randaugment_of_gray_images(tmp_path: Path) -> None:
    path = write_directory(tmp_path, image_files())
    data = load_data(f"folder:{path}", shape=(1, 8, 8), classes=2, augment=Augmentation(randaugment=2))
    torch.manual_seed(0)
    assert len({data.train[0][0].numpy().tobytes() for _ in range(40)}) > 5


# On the command line


def test_a_crop_too_large_is_named_in_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = tmp_path / "net.yaml"
    net.write_text(text("{crop: 9}"), encoding="utf-8")
    out = tmp_path / "run"
    assert run(["train", str(net), "--data", "digits", "--out", str(out)]) == 1
    assert f"{net}:6:24: 'crop' is 9, and the images of digits have 8×8 pixels" in capsys.readouterr().err
    assert not out.exists()
    options = ["--limit", "20", "--no-augment", "--no-pictures"]
    assert run(["train", str(net), "--data", "digits", "--out", str(out), *options]) == 0


def test_doubts_about_a_folder_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = write_directory(tmp_path / "pictures", image_files() | {"train/a/0.heic": b""})
    net = tmp_path / "net.yaml"
    net.write_text(text("{flip: 0.5}", "[3, 8, 8]", 2), encoding="utf-8")
    options = ["--out", str(tmp_path / "run"), "--no-pictures"]
    assert run(["train", str(net), "--data", f"folder:{pictures}", *options]) == 0
    assert f"warning: 1 file in {pictures} is left out: train/a/0.heic; " in capsys.readouterr().err

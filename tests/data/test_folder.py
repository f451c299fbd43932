"""Folders of images: how they are arranged, read and refused."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import tracemalloc
import zipfile
from collections import Counter
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms

from epgraph.augmentation import Augmentation
from epgraph.cli import run
from epgraph.data import folder as folder_module
from epgraph.data import load_data
from epgraph.data import source as source_module
from epgraph.errors import EpgraphError
from tests.helpers.pictures import (
    Write,
    batch,
    by_torchvision,
    image_bytes,
    image_files,
    refusal,
    write_directory,
    write_zip,
)


@pytest.fixture(params=["directory", "zip"])
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Write:
    """Write files as a directory or as a zip archive, and return its path."""
    if request.param == "zip":
        return lambda files: write_zip(tmp_path / "pictures.zip", files)

    def directory(files: dict[str, bytes]) -> Path:
        (tmp_path / "pictures").mkdir()
        return write_directory(tmp_path / "pictures", files)

    return directory


# Folders


@pytest.mark.parametrize("top", ["", "enclosing/"])
def test_folder(write: Write, top: str) -> None:
    files = image_files() | {"train/b/.hidden.png": b"", "train/b/notes.txt": b"", ".complete": b""}
    files |= {"train/b/LAST.JPG": image_bytes(format="JPEG")}
    beside = {"__MACOSX/train/b/._0.png": b""}  # as macOS adds it to an archive
    path = write({top + name: content for name, content in files.items()} | beside)
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
    gray = load_data(f"folder:{path}", shape=(1, 10, 12), classes=2, augment=False)
    expected = Image.open(path / "train/a/0.png").convert("L")
    resized = transforms.Resize((10, 12), antialias=True)(expected)
    assert torch.allclose(gray.train[0][0], transforms.ToTensor()(resized) * 2 - 1, atol=1e-6)
    assert {x.shape for x, _ in gray.train} == {(1, 10, 12)}
    assert load_data(f"folder:{path}", shape=(3, 5, 5), classes=2).train[0][0].shape == (3, 5, 5)


def test_folder_is_augmented_as_asked(tmp_path: Path) -> None:
    files = image_files() | {"train/a/0.png": image_bytes((32, 32))}
    path = write_directory(tmp_path, files)
    wanted = Augmentation(flip=0.5, randaugment=2, magnitude=7, crop=4)
    data = load_data(f"folder:{path}", shape=(3, 32, 32), classes=2, augment=wanted)
    preparation = data.train.preparation  # type: ignore[attr-defined]
    for seed in range(8):
        torch.manual_seed(seed)
        ours = data.train[0][0]
        torch.manual_seed(seed)
        (row,) = preparation.draw(1)
        assert torch.equal(ours, by_torchvision(Image.open(path / "train/a/0.png"), preparation, row))
    assert torch.equal(data.test[0][0], data.test[0][0])


def test_folder_is_not_augmented_unless_asked(tmp_path: Path) -> None:
    data = load_data(f"folder:{write_directory(tmp_path, image_files())}", shape=(3, 8, 8), classes=2)
    assert data.facts()["augment"] == {}
    for _ in range(20):
        assert torch.equal(data.train[0][0], data.train[0][0])


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


NET = """\
epgraph: 2
input: {name: x, shape: [64]}
output: {name: y, classes: 10}
defaults: {activation: relu1, gain: 0.8}
states: {h1: {shape: [64]}}
edges:
  - {from: x, to: h1, dense: {}}
  - {from: h1, to: y, dense: {}}
dynamics: {schedule: coloring, free_steps: 20, nudged_steps: 10}
learning: {estimator: centered, beta: 0.3}
training: {epochs: 3, batch_size: 32, learning_rate: 0.05, weight_decay: 1e-3, warm_start: false}
"""

ARRANGE = "arrange the images as train/<class>/*.png and test/<class>/*.png"
READ = "files are read that end in .png, .jpg, .jpeg, .bmp, .gif, .tif, .tiff, .webp, .ppm, .pgm, .pbm, .pnm"


@pytest.mark.parametrize(
    ("files", "text"),
    [
        (image_files(train=0), f"has no folder train/; {ARRANGE}"),
        (image_files(test=0), f"has no folder test/; {ARRANGE}"),
        ({"a/0.png": b"", "b/0.png": b""}, f"has no folder train/; {ARRANGE}"),
        (
            {"train/0.png": b"", "test/a/0.png": b""},
            f"has no images in train/<class>/, but train/0.png; {ARRANGE}; {READ}",
        ),
        (
            {"train/a/0.png": b"", "test/a/0.heic": b"", "test/b/1.heic": b""},
            f"has no images in test/<class>/, but test/a/0.heic, test/b/1.heic; {ARRANGE}; {READ}",
        ),
        (
            image_files() | {"train/c/0.heic": b"", "test/c/0.png": b""},
            "has the class 'c' in test/ but no images in train/c/; classes are the folders of train/: a, b, c",
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


def test_images_of_every_kind_are_read_at_every_depth(write: Write) -> None:
    formats = {"jpg": "JPEG", "JPEG": "JPEG", "bmp": "BMP", "gif": "GIF", "TIF": "TIFF", "tiff": "TIFF"}
    formats |= {"webp": "WEBP", "ppm": "PPM", "Png": "PNG"}
    files = image_files("ab") | {f"train/a/deep/er/x.{end}": image_bytes(format=f) for end, f in formats.items()}
    files |= {"test/b/deep/1.png": image_bytes(seed=5)}
    data = load_data(f"folder:{write(files)}", shape=(3, 8, 8), classes=2)
    assert data.warnings == ()
    assert Counter(label for _, label in data.train) == {0: 3 + len(formats), 1: 3}
    assert Counter(label for _, label in data.test) == {0: 2, 1: 3}


def test_files_that_are_left_out_are_named(write: Write) -> None:
    left_out = {"train/a/0.heic": b"", "train/a/deep/notes.txt": b"", "train/1.png": image_bytes(), "test/b/x.npy": b""}
    path = write(image_files() | left_out | {"train/a/.hidden": b"", "README.md": b"", "validation/a/0.png": b""})
    data = load_data(f"folder:{path}", shape=(3, 8, 8), classes=2)
    assert [str(warning) for warning in data.warnings] == [
        f"4 files in {path} are left out: test/b/x.npy, train/1.png, train/a/0.heic and 1 more; "
        f"in the folder of a class, {READ}"
    ]
    assert {warning.severity for warning in data.warnings} == {"warning"}


def test_classes_without_images_are_named(write: Write) -> None:
    files = image_files("ac") | image_files("bd", test=0) | {"train/e/0.txt": b"", "test/e/0.txt": b""}
    path = write(files)
    data = load_data(f"folder:{path}", shape=(3, 8, 8), classes=5)
    assert data.classes == ("a", "b", "c", "d", "e")
    assert [str(warning) for warning in data.warnings[1:]] == [
        f"1 of 5 classes has no images in train/ of {path}: e; add some, or remove the folder",
        f"3 of 5 classes have no images in test/ of {path}: b, d, e; the test error says nothing about them",
    ]


def test_labels_are_in_the_order_of_the_names(write: Write) -> None:
    names = ("2", "10", "b", "B", "é")
    files = {f"{part}/{name}/0.png": image_bytes() for part in ("train", "test") for name in names}
    data = load_data(f"folder:{write(files)}", shape=(3, 8, 8), classes=5)
    assert data.classes == ("10", "2", "B", "b", "é")
    assert "5 classes (10, 2, B and 2 more)" in data.sentence()


def test_links_are_followed_once(tmp_path: Path) -> None:
    path = write_directory(tmp_path / "p", image_files())
    (path / "train/a/again").symlink_to(path / "train", target_is_directory=True)
    (path / "train/b/more").symlink_to(path / "test/b", target_is_directory=True)
    (path / "train/b/broken.png").symlink_to(path / "nothing")
    data = load_data(f"folder:{path}", shape=(3, 8, 8), classes=2)
    # 'a' has its own images and, through the link, those of 'b' with their link; no folder twice.
    assert Counter(label for _, label in data.train) == {0: 3 + 3 + 2, 1: 3 + 2}
    assert [str(warning).partition("; ")[0] for warning in data.warnings] == [
        f"2 files in {path} are left out: train/a/again/b/broken.png, train/b/broken.png"
    ]


def test_pipes_are_left_out(tmp_path: Path) -> None:
    path = write_directory(tmp_path, image_files())
    os.mkfifo(path / "train/a/pipe.png")
    data = load_data(f"folder:{path}", shape=(3, 8, 8), classes=2, check=False)
    assert len(data.train) == 6
    assert str(data.warnings[0]).startswith(f"1 file in {path} is left out: train/a/pipe.png; ")
    (path / "train/a/0.png").unlink()
    os.mkfifo(path / "train/a/0.png")
    with pytest.raises(EpgraphError, match=r"train/a/0\.png"):
        data.train[0]


@pytest.mark.parametrize(
    ("shape", "classes", "text"),
    [
        (
            (3, 8, 8),
            10,
            "output.classes: {name} has 2 classes, but the network's output has 10 classes; "
            "write output: {{classes: 2}}",
        ),
        (
            (4, 8, 8),
            2,
            "input.shape: {name} has examples of shape [1, H, W] (gray) or [3, H, W] (RGB), "
            "but the network's input is [4, 8, 8]; write input: {{shape: [3, 8, 8]}}",
        ),
        (
            (8, 8),
            2,
            "input.shape: {name} has examples of shape [1, H, W] (gray) or [3, H, W] (RGB), "
            "but the network's input is [8, 8]; write input: {{shape: [1, 8, 8]}}",
        ),
    ],
)
def test_folder_misfit(tmp_path: Path, shape: tuple[int, ...], classes: int, text: str) -> None:
    name = f"folder:{write_directory(tmp_path, image_files())}"
    assert refusal(name, shape=shape, classes=classes) == text.format(name=name)


@pytest.mark.parametrize(
    ("content", "reason", "workers"),
    [
        (b"no image", "it is no image", 0),
        # A worker's exception arrives as one that is made from the text of its traceback.
        (b"no image", "it is no image", 1),
        (image_bytes((64, 64))[:2000], r"image file is truncated.*", 0),
    ],
    ids=["no image", "no image, worker", "cut short"],
)
def test_unreadable_image(write: Write, content: bytes, reason: str, workers: int) -> None:
    path = write(image_files() | {"train/a/1.png": content})
    data = load_data(f"folder:{path}", shape=(3, 8, 8), classes=2, check=False)
    text = rf"the image {re.escape(str(path))}/train/a/1\.png cannot be read: {reason}; replace or remove it"
    with pytest.raises(EpgraphError) as caught:
        list(DataLoader(data.train, 2, num_workers=workers))
    assert re.fullmatch(text, str(caught.value))


def test_broken_test_images_are_found_at_once(write: Write) -> None:
    path = write(image_files(test=9) | {"test/a/3.png": b"no image", "test/b/5.png": image_bytes((64, 64))[:2000]})
    text = refusal(f"folder:{path}", shape=(3, 8, 8), classes=2)
    first, second = text.splitlines()
    assert first == f"the image {path}/test/a/3.png cannot be read: it is no image; replace or remove it"
    assert second.startswith(f"the image {path}/test/b/5.png cannot be read: image file is truncated")
    # Those that the limit leaves out are not looked at.
    for limit in range(1, 18):
        chosen = load_data(f"folder:{path}", shape=(3, 8, 8), classes=2, limit=limit, check=False).test.order
        if 3 not in chosen and 14 not in chosen:
            load_data(f"folder:{path}", shape=(3, 8, 8), classes=2, limit=limit)
            break
    else:
        pytest.fail("no limit leaves both out")


def test_an_error_survives_the_way_between_processes(tmp_path: Path) -> None:
    data = load_data(f"folder:{write_directory(tmp_path, image_files())}", shape=(3, 8, 8), classes=2, check=False)
    (tmp_path / "train/b/1.png").unlink()
    with pytest.raises(EpgraphError) as caught:
        data.train[4]
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (type(copy), copy.diagnostics) == (type(caught.value), caught.value.diagnostics)


def test_image_that_is_gone(tmp_path: Path) -> None:
    path = write_directory(tmp_path, image_files())
    data = load_data(f"folder:{path}", shape=(3, 8, 8), classes=2, check=False)
    (path / "train/a/0.png").unlink()
    with pytest.raises(EpgraphError, match=r"a/0\.png cannot be read: No such file"):
        data.train[0]


def test_too_large_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert source_module.MAX_BYTES == 64 * 2**20
    monkeypatch.setattr(source_module, "MAX_BYTES", 1000)
    files = image_files() | {"train/b/2.png": image_bytes((200, 200))}
    path = write_zip(tmp_path / "bomb.zip", files)
    assert refusal(f"folder:{path}", shape=(3, 8, 8), classes=2) == (
        f"the image {path}/train/b/2.png cannot be read: it is larger than 64 MiB; replace or remove it"
    )
    data = load_data(f"folder:{write_directory(tmp_path / 'd', files)}", shape=(3, 8, 8), classes=2, check=False)
    with pytest.raises(EpgraphError, match=r"2\.png cannot be read: it is larger than 1,000 bytes; replace"):
        data.train[5]


def test_zip_that_lies_about_a_size(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    declared, real = (1000).to_bytes(4, "little"), 200 * 2**20
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in image_files().items():
            archive.writestr(name, content)
        archive.writestr("train/b/9.png", bytes(real))
    path.write_bytes(path.read_bytes().replace(real.to_bytes(4, "little"), declared))
    data = load_data(f"folder:{path}", shape=(3, 8, 8), classes=2, check=False)
    tracemalloc.start()
    try:
        with pytest.raises(EpgraphError, match=r"b/9\.png cannot be read: .*; replace or remove it"):
            data.train[6]
        assert tracemalloc.get_traced_memory()[1] < 2.5 * source_module.MAX_BYTES
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


# What is recorded


def test_facts(tmp_path: Path) -> None:
    files = {f"pictures/{name}": content for name, content in image_files().items()}
    path = write_zip(tmp_path / "p.zip", files)
    data = load_data(f"folder:{path}", shape=(1, 12, 8), classes=2, augment=Augmentation(randaugment=1, crop=1))
    facts = data.facts()
    assert json.loads(json.dumps(facts)) == facts
    assert (facts["name"], facts["classes"], facts["mean"], facts["std"]) == (
        f"folder:{path}",
        ["a", "b"],
        [0.5],
        [0.5],
    )
    assert facts["augment"] == {"randaugment": 1, "magnitude": 9, "crop": 1}
    assert data.sentence() == (
        f"folder:{path}: 6 training and 4 test examples of shape [1, 12, 8], 2 classes (a, b); images as 12×8 gray; "
        "mean 0.5, deviation 0.5; augmented by randaugment 1, magnitude 9, crop 1"
    )


def test_the_hash_is_of_names_and_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def digest(path: Path) -> tuple[str, str]:
        facts = load_data(f"folder:{path}", shape=(3, 8, 8), classes=2, limit=3, check=False).facts()
        return facts["sha256"], facts["sha256_of"]

    files = image_files()
    path = write_directory(tmp_path / "one", files)
    archive = write_zip(tmp_path / "one.zip", {f"inside/{name}": content for name, content in files.items()})
    for most, what in ((100, "all bytes"), (4, "names and sizes, and the bytes of 1 file in 3")):
        monkeypatch.setattr(folder_module, "MAX_HASHED_FILES", most)
        same = digest(path)
        assert same[1] == what
        assert same == digest(archive)
        changed = dict(files)
        changed["test/b/2.png"] = changed.pop("test/b/1.png")
        assert digest(write_directory(tmp_path / f"renamed{most}", changed)) != same
        changed = {**files, "train/b/1.png": files["train/b/1.png"] + b"x"}
        assert digest(write_directory(tmp_path / f"longer{most}", changed)) != same
        # The file that holds the place 4 of 10, from 0, is not among those whose bytes are taken where they are few.
        last = files["train/b/1.png"]
        changed = {**files, "train/b/1.png": last[:-1] + bytes([last[-1] ^ 1])}
        assert (digest(write_directory(tmp_path / f"bit{most}", changed)) == same) == (most == 4)


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    path = write_directory(tmp_path, image_files("a"))
    os.rename(path / "train/a", os.fsencode(path) + b"/train/\xff")
    os.rename(path / "test/a", os.fsencode(path) + b"/test/\xff")
    data = load_data(f"folder:{path}", shape=(3, 8, 8), classes=1)
    json.dumps(data.facts(), ensure_ascii=False).encode()
    data.sentence().encode()


# On the command line


def test_digits_from_files_reach_what_the_named_set_reaches(tmp_path: Path) -> None:
    """With seeds 0 to 2 the named set reaches 94.4 %, files 96.4 %, and flipped and cropped files 70.1 %."""
    named = load_data("digits", shape=(1, 8, 8), classes=10)
    for part, examples in (("train", named.train), ("test", named.test)):
        for number in range(len(examples)):
            x, label = examples[number]
            folder = tmp_path / "digits" / part / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray((x[0] * 255).round().byte().numpy()).save(folder / f"{number:04}.png")
    (tmp_path / "net.yaml").write_text(NET, encoding="utf-8")
    accuracy = {}
    for name in ("digits", f"folder:{tmp_path}/digits"):
        out = tmp_path / name.partition(":")[0]
        options = ["--data", name, "--out", str(out / "run"), "--threads", "1", "--no-pictures"]
        assert run(["train", str(tmp_path / "net.yaml"), *options]) == 0
        last = json.loads((out / "run/metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
        accuracy[name[:6]] = 1 - last["test_error"]
    # Two deviations of the difference between two shares of 360 examples.
    assert accuracy["folder"] > accuracy["digits"] - 0.035
    assert accuracy["digits"] > 0.9

"""Images that are decoded once and kept: who decodes, what is kept, and what happens where nothing can be."""

from __future__ import annotations

import io
import multiprocessing
import os
import re
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock

from epgraph.data import Data, load_data
from epgraph.data.cache import folder
from epgraph.progress import Display, displayed
from tests.helpers.pictures import image_bytes, image_files, refusal, write_directory


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def load(path: Path, **options: Any) -> Data:
    return load_data(f"folder:{path}", **{"shape": (3, 8, 8), "classes": 2, **options})


def examples(data: Data) -> list[torch.Tensor]:
    return [torch.stack([x for x, _ in part]) for part in (data.train, data.test)]


def kept() -> list[str]:
    return sorted(file.name for file in folder().glob("*") if file.suffix != ".lock")


def test_an_image_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_directory(tmp_path / "d", image_files())
    plain = examples(load(path, check=False))
    assert not folder().exists()
    first = load(path, validation=2, limit=3)
    assert isinstance(first.train.images.array, np.memmap)  # type: ignore[attr-defined]
    assert len(kept()) == 3
    data = load(path)
    assert len(kept()) == 5
    assert [y for _, y in data.train] == [0, 0, 0, 1, 1, 1]

    for one, two in zip(examples(load(path)), plain, strict=True):
        assert torch.equal(one, two)
    # The hash of all files is the name; what is decoded is not read again.
    monkeypatch.setattr("epgraph.data.folder.decode", None)
    assert torch.equal(examples(load(path))[0], plain[0])


def test_another_content_is_decoded_anew(tmp_path: Path) -> None:
    path = write_directory(tmp_path / "d", image_files())
    before = examples(load(path))[0]
    (path / "train/a/0.png").write_bytes(image_bytes(seed=99))
    after = examples(load(path))[0]
    assert not torch.equal(before[0], after[0])
    assert torch.equal(before[1:], after[1:])
    assert load(path, shape=(3, 5, 5)).train[0][0].shape == (3, 5, 5)


def test_a_change_that_the_hash_does_not_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large folder not all bytes are hashed; there the time of a file's change counts as well."""
    monkeypatch.setattr("epgraph.data.folder.Folder.sha256", lambda self: ("same", "the bytes of 1 file in 2"))
    path = write_directory(tmp_path / "d", image_files())
    before = examples(load(path))[0]
    (path / "train/a/0.png").write_bytes(image_bytes(seed=99))
    os.utime(path / "train/a/0.png", ns=(1, 1))
    assert not torch.equal(before[0], examples(load(path))[0][0])


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", None])
def test_a_damaged_file_is_written_anew(tmp_path: Path, damage: bytes | None) -> None:
    path = write_directory(tmp_path / "d", image_files())
    plain = examples(load(path))
    for name in kept():
        content = (folder() / name).read_bytes()
        (folder() / name).write_bytes(content[:-5] if damage is None else damage)
        (folder() / f"{name.removesuffix('.npy')}.123").write_bytes(b"left by a process that was killed")
    for one, two in zip(examples(load(path)), plain, strict=True):
        assert torch.equal(one, two)
    assert all(name.endswith(".npy") for name in kept())


def _load(path: Path, sums: Any) -> None:
    sums.put(float(sum(part.sum() for part in examples(load(path)))))


def test_processes_wait_for_each_other(tmp_path: Path) -> None:
    path = write_directory(tmp_path / "d", image_files(train=20))
    context = multiprocessing.get_context("fork")
    sums: Any = context.Queue()
    processes = [context.Process(target=_load, args=(path, sums)) for _ in range(4)]
    for process in processes:
        process.start()
    found = {sums.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    assert len(found) == 1
    assert len(kept()) == 2


def test_waiting_for_another_process_is_shown(tmp_path: Path) -> None:
    """How far the other one is follows from the size of the file that it writes."""
    path = write_directory(tmp_path / "d", image_files())
    plain = examples(load(path))
    name = max(kept(), key=lambda name: (folder() / name).stat().st_size)
    content = (folder() / name).read_bytes()
    (folder() / name).unlink()
    partial = (folder() / name).with_suffix(".1")
    lock = FileLock((folder() / name).with_suffix(".lock"), thread_local=False)
    lock.acquire()

    def other() -> None:
        """Write half of the file, then all of it."""
        partial.write_bytes(content[: len(content) // 2])
        time.sleep(2.5)
        partial.write_bytes(content)
        partial.replace(folder() / name)
        lock.release()

    thread, stream = threading.Thread(target=other), io.StringIO()
    thread.start()
    with displayed(Display(stream, interval=0.0)):
        waited = examples(load(path))
    thread.join()
    for one, two in zip(waited, plain, strict=True):
        assert torch.equal(one, two)
    first, second, *_ = [line for line in stream.getvalue().splitlines() if "another" in line]
    assert first == "decode the images: 0/6 images, in another process"
    assert re.fullmatch(r"decode the images: 3/6 images, in another process, \d:\d\d left", second)


def test_without_room_each_is_decoded_when_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_directory(tmp_path / "d", image_files())
    plain = examples(load(path, check=False))
    where = folder()

    def full(data: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        data = load(path)
    (warning,) = data.warnings
    assert str(warning) == (
        f"decoded images cannot be kept in {where}: No space left on device; each is decoded whenever it is used; "
        "make room there, or name another folder with XDG_CACHE_HOME"
    )
    assert kept() == []
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
        data = load(path)
    assert "they need 1.1 KiB, and 1,000 bytes are free; each is decoded" in str(data.warnings[0])
    for one, two in zip(examples(data), plain, strict=True):
        assert torch.equal(one, two)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    path = write_directory(tmp_path / "d", image_files())
    (tmp_path / "cache").write_bytes(b"a file")
    data = load(path)
    assert "decoded images cannot be kept in" in str(data.warnings[0])
    assert len(examples(data)[0]) == 6


def test_all_damaged_images_are_named_before_the_first_epoch(tmp_path: Path) -> None:
    files = image_files() | {"train/a/1.png": b"no image", "train/b/2.png": b""}
    path = write_directory(tmp_path / "d", files)
    first, second = refusal(f"folder:{path}", shape=(3, 8, 8), classes=2).splitlines()
    assert first == f"the image {path}/train/a/1.png cannot be read: it is no image; replace or remove it"
    assert second.startswith(f"the image {path}/train/b/2.png cannot be read: ")
    assert kept() == []

"""Damaged checkpoints, logs and records: exit code 1 and a message, whatever is wrong; nothing is changed."""

from __future__ import annotations

import json
import os
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from epgraph.cli import run
from tests.helpers.runs import NET, content, train


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damage")
    (folder / "net.yaml").write_text(NET)
    assert train(folder / "net.yaml", folder / "run", "--epochs", "3", "--no-pictures") == 0
    return folder / "run"


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


Change = Callable[[dict[str, Any]], Any]


def put(key: str, value: Any) -> Change:
    return lambda c: c.update({key: value})


def drop(key: str) -> Change:
    return lambda c: c.pop(key)


def inside(key: str, change: Change) -> Change:
    return lambda c: change(c[key])


WEIGHT = "edges.h1_h2.weight"
BIAS = "states.h1.bias"

CONTENTS: dict[str, Change] = {
    **{
        f"no {key}": drop(key)
        for key in (
            "epgraph_checkpoint", "architecture", "schedule", "backend", "model", "data", "optimizer", "epoch", "batch",
            "examples", "sums", "counts", "seconds", "warm", "generators", "best",
        )
    },
    "another version": put("epgraph_checkpoint", 1),
    "a version that is text": put("epgraph_checkpoint", "2"),
    "a key too many": put("surprise", 1),
    "an architecture that is a list": put("architecture", []),
    "an architecture without edges": inside("architecture", drop("edges")),
    "an architecture with an unknown key": inside("architecture", put("color", "red")),
    "an architecture whose shapes do not fit": inside(
        "architecture", lambda a: a["states"]["h1"].update(shape=[4, 9, 9])
    ),
    "an unknown schedule": put("schedule", "sometimes"),
    "a model that is a list": put("model", []),
    "a model that is empty": put("model", {}),
    "a model without a weight": inside("model", drop(WEIGHT)),
    "a model with a weight too many": inside("model", put("edges.more.weight", torch.zeros(1))),
    "a weight of another shape": inside("model", put(WEIGHT, torch.zeros(6, 4, 3))),
    "a weight of integers": inside("model", put(WEIGHT, torch.zeros(6, 4, 3, 3, dtype=torch.int64))),
    "a weight that is a number": inside("model", put(WEIGHT, 1.0)),
    "an optimizer that is a list": put("optimizer", []),
    "an optimizer of an unknown parameter": inside("optimizer", put("edges.more.weight", {})),
    "a momentum of another shape": inside("optimizer", put(BIAS, {"momentum_buffer": torch.zeros(5)})),
    "a momentum that is text": inside("optimizer", put(BIAS, {"momentum_buffer": "fast"})),
    "a state of another optimizer": inside("optimizer", put(BIAS, {"exp_avg": torch.zeros(4)})),
    "an epoch that is a fraction": put("epoch", 1.5),
    "an epoch that is negative": put("epoch", -1),
    "an epoch that is a truth": put("epoch", True),
    "a batch that is negative": put("batch", -1),
    "more examples than there are": put("examples", 171),
    "examples without a batch": put("examples", 3),
    "a time that is no number": put("seconds", float("nan")),
    "a time that is negative": put("seconds", -1.0),
    "sums without counts": put("sums", {"loss": torch.zeros(())}),
    "counts without sums": put("counts", {"loss": 3}),
    "a sum of several": lambda c: c.update(sums={"loss": torch.zeros(2)}, counts={"loss": 3}),
    "a count of none": lambda c: c.update(sums={"loss": torch.zeros(())}, counts={"loss": 0}),
    "warm states of another shape": inside("warm", put("h1", torch.zeros(50, 3, 4, 4))),
    "warm states of integers": inside("warm", lambda w: w.update({k: v.long() for k, v in w.items()})),
    "warm states of which one lacks": inside("warm", drop("h1")),
    "warm states of several batch sizes": inside("warm", lambda w: w.update(h1=w["h1"][:1])),
    "warm states that are a list": put("warm", []),
    "no generator": put("generators", {}),
    "a generator of floats": put("generators", {"cpu": torch.zeros(5056)}),
    "a generator that is too short": put("generators", {"cpu": torch.zeros(7, dtype=torch.uint8)}),
    "a best that lacks its value": put("best", {"epoch": 1}),
    "a best that is a number": put("best", 1.0),
    "an average of an unknown parameter": put("average", {"edges.more.weight": torch.zeros(1)}),
    "an average of another shape": put("average", {BIAS: torch.zeros(5)}),
    "another data set": put("data", "mnist"),
}  # fmt: skip


def flip(path: Path, seed: int) -> None:
    """Flip one bit of what the archive's largest record holds."""
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    bits = bytearray(path.read_bytes())
    start = bits.index(largest.filename.encode()) + len(largest.filename) + 64
    bits[start + random.Random(seed).randrange(largest.file_size - 128)] ^= 1 << seed % 8
    path.write_bytes(bits)


def no_file(path: Path, make: Callable[[Path], Any]) -> None:
    path.unlink()
    make(path)


def deflated(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        parts = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)


def foreign(path: Path) -> None:
    torch.save({"weights": torch.zeros(3)}, path)


def pickled(path: Path) -> None:
    """Code, which must not be run: it would make the file 'ran' beside it."""

    class Code:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(path.with_name("ran")),))

    torch.save({"epgraph_checkpoint": Code()}, path)


FILES: dict[str, Callable[[Path], Any]] = {
    **{f"bit {seed} flipped": lambda path, seed=seed: flip(path, seed) for seed in range(8)},
    "cut in half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "cut at the end": lambda path: os.truncate(path, path.stat().st_size - 30),
    "empty": lambda path: os.truncate(path, 0),
    "text": lambda path: path.write_text("hello"),
    "zeros": lambda path: path.write_bytes(bytes(10_000)),
    "a folder": lambda path: no_file(path, Path.mkdir),
    "a pipe": lambda path: no_file(path, os.mkfifo),
    "compressed": deflated,
    "a foreign checkpoint": foreign,
    "a list": lambda path: torch.save([1, 2], path),
    "code": pickled,
}


@pytest.mark.parametrize("name", [*CONTENTS, *FILES])
def test_a_damaged_checkpoint(name: str, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = out / "last.pt"
    if name in FILES:
        FILES[name](path)
    else:
        checkpoint = torch.load(path, weights_only=True)
        CONTENTS[name](checkpoint)
        torch.save(checkpoint, path)
    before = content(out)
    capsys.readouterr()
    assert run(["train", str(out), "--resume", "--epochs", "4", "--no-pictures"]) == 1
    said = capsys.readouterr().err
    assert "internal error" not in said
    assert "Traceback" not in said
    assert "checkpoint" in said or "last.pt" in said or "another network" in said
    assert content(out) == before
    assert not (out / "ran").exists()


def test_there_are_sixty_kinds() -> None:
    assert len(CONTENTS) + len(FILES) + len(LOGS) + len(RECORDS) >= 60


def text(change: Callable[[list[str]], Any]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        rows = path.read_text().splitlines(keepends=True)
        change(rows)
        path.write_text("".join(rows))

    return apply


LOGS: dict[str, Callable[[Path], Any]] = {
    "a line that is cut": text(lambda rows: rows.__setitem__(1, rows[1][:20] + "\n")),
    "an epoch that is text": text(lambda rows: rows.__setitem__(0, '{"epoch": "one"}\n')),
    "an epoch that is a list": text(lambda rows: rows.__setitem__(0, '{"epoch": []}\n')),
    "100,000 brackets": text(lambda rows: rows.__setitem__(0, '{"a": ' + "[" * 100_000 + "\n")),
    "bytes that are no text": lambda path: path.write_bytes(b'{"epoch": 1}\n\xff\xfe\n'),
    "a folder": lambda path: no_file(path, Path.mkdir),
    "a pipe": lambda path: no_file(path, os.mkfifo),
}


@pytest.mark.parametrize("file", ["metrics.jsonl", "batches.jsonl"])
@pytest.mark.parametrize("name", LOGS)
def test_a_damaged_log(name: str, file: str, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    LOGS[name](out / file)
    before = content(out)
    capsys.readouterr()
    assert run(["train", str(out), "--resume", "--epochs", "4", "--no-pictures"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(str(out / file))
    assert "internal error" not in said
    assert content(out)[file] == before[file] if file in before else True
    assert content(out)["last.pt"] == before["last.pt"]


def test_lines_of_others_stay_and_a_torn_one_goes(out: Path) -> None:
    path = out / "metrics.jsonl"
    rows = path.read_text().splitlines()
    note, other = "# a note, with an ünusual letter", '{"comment": "mine"}'
    path.write_text("\n".join([note, *rows[:2], other, rows[2], '{"epoch": 4, "train_lo']))
    assert run(["train", str(out), "--resume", "--epochs", "4", "--no-pictures"]) == 0
    found = path.read_text().splitlines()
    assert found[:5] == [note, *rows[:2], other, rows[2]]
    assert json.loads(found[5])["epoch"] == 4
    assert len(found) == 6


def test_lines_after_the_checkpoint_are_repeated(out: Path) -> None:
    """They come from a process that was killed between its log and its checkpoint."""
    for file in ("metrics.jsonl", "batches.jsonl"):
        with (out / file).open("a") as log:
            log.write('{"epoch": 4, "batch": 1}\n{"epoch": 5, "batch": 9}\n')
    assert run(["train", str(out), "--resume", "--epochs", "5", "--no-pictures"]) == 0
    rows = [json.loads(line) for line in (out / "batches.jsonl").read_text().splitlines()]
    assert [(row["epoch"], row["batch"]) for row in rows] == [(e, b) for e in (1, 2, 3, 4, 5) for b in (1, 2, 3, 4)]
    assert all("loss" in row for row in rows)
    assert [json.loads(line)["epoch"] for line in (out / "metrics.jsonl").read_text().splitlines()] == [1, 2, 3, 4, 5]


def record(change: Change) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        found = json.loads(path.read_text())
        change(found)
        path.write_text(json.dumps(found))

    return apply


RECORDS: dict[str, Callable[[Path], Any]] = {
    "no JSON": lambda path: path.write_text("run"),
    "a list": lambda path: path.write_text("[]"),
    "100,000 brackets": lambda path: path.write_text("[" * 100_000),
    "bytes that are no text": lambda path: path.write_bytes(b"\xff\xfe{}"),
    "another version": record(put("epgraph_run", 9)),
    "no settings": record(drop("settings")),
    "settings of no network": record(inside("settings", drop("edges"))),
    "settings that are a list": record(put("settings", [])),
    "no history": record(put("history", [])),
    "options that are text": record(put("options", "all")),
    "an option that lacks": record(inside("options", drop("dtype"))),
    "an option that is none": record(inside("options", put("dtype", "float31"))),
    "a device that is none": record(inside("options", put("device", "abacus"))),
    "a limit that is text": record(inside("options", put("limit", "few"))),
    "a folder": lambda path: no_file(path, Path.mkdir),
    "a pipe": lambda path: no_file(path, os.mkfifo),
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_damaged_record(name: str, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    RECORDS[name](out / "run.json")
    before = content(out)
    capsys.readouterr()
    assert run(["train", str(out), "--resume", "--epochs", "4", "--no-pictures"]) == 1
    said = capsys.readouterr().err
    assert "internal error" not in said
    assert "run.json" in said
    assert content(out) == before


def test_a_run_that_died_in_its_first_write_begins_anew(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "run.json.partial").write_text("{")
    assert train(finished.parent / "net.yaml", out, "--no-pictures", "--resume", "--epochs", "1") == 0
    assert not (out / "run.json.partial").exists()

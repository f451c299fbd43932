"""Choosing a backend by measurement: what is measured is recorded, and what is recorded is taken, where it can be."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

import epgraph as ep
from epgraph.cli import run
from epgraph.emit import BACKENDS
from epgraph.emit.record import record, recorded
from epgraph.engine import tune as tuning
from epgraph.engine.tune import measure, tune

DIGITS = "examples/digits.yaml"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(tuning, "ROUNDS", 1)
    return tmp_path / "epgraph" / "backends"


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 3])


def test_the_fastest_is_recorded_and_taken_by_engines_of_the_same_network(cache: Path) -> None:
    engine = ep.compile(DIGITS)
    found, path = tune(engine, *batch(), candidates=["eager", "channels_last", "onednn"])
    assert path.parent == cache
    assert {t.backend for t in found} == {"eager", "channels_last", "onednn"}
    assert [t.iteration for t in found] == sorted(t.iteration for t in found)
    assert engine.machine.backend.name == found[0].backend
    assert json.loads(path.read_text())["timings"][0]["iteration"] == found[0].iteration
    record(engine.plan, engine.device, engine.dtype, "channels_last", {})
    assert ep.compile(DIGITS).machine.backend.name == "channels_last"
    # Another network, schedule or precision is another choice.
    assert ep.compile("examples/mlp.yaml").machine.backend.name == "eager"
    assert ep.compile(DIGITS, schedule="sequential").machine.backend.name == "eager"
    assert ep.compile(DIGITS, dtype=torch.float64).machine.backend.name == "eager"
    assert ep.compile(DIGITS, backend="onednn").machine.backend.name == "onednn"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"backend": "gone"}',
        b'{"backend": ["onednn"]}',
        b"\x00",
        b"[" * 100_000,
        b'{"backend": "\xff"}',
    ],
)
def test_a_damaged_record_is_named(content: bytes) -> None:
    engine = ep.compile(DIGITS)
    where = engine.plan, engine.device, engine.dtype
    path = record(*where, "onednn", {})
    path.write_bytes(content)
    with pytest.raises(ep.EpgraphError) as caught:
        _ = ep.compile(DIGITS).machine
    assert str(caught.value) == (
        f"{path}: the record of 'epgraph tune' is damaged; delete it; 'epgraph tune' makes a new one"
    )
    path.unlink()
    assert ep.compile(DIGITS).machine.backend.name == "eager"


def test_a_pipe_in_place_of_a_record_is_named() -> None:
    engine = ep.compile(DIGITS)
    where = engine.plan, engine.device, engine.dtype
    path = record(*where, "onednn", {})
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ep.EpgraphError, match="it is a pipe"):
        recorded(*where)


def test_a_record_of_what_cannot_be_used_here_is_ignored() -> None:
    engine = ep.compile(DIGITS, dtype=torch.float64)
    where = engine.plan, engine.device, engine.dtype
    record(*where, "onednn", {})  # which packs no float64
    assert recorded(*where) is None


def test_what_is_wrong_or_fails_is_never_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ep.compile(DIGITS)
    whole = type(engine).run

    def broken(self: Any, *arguments: Any, **options: Any) -> Any:
        if self.backend == "onednn":
            raise RuntimeError("no compiler\nat all")
        found = whole(self, *arguments, **options)
        if self.backend == "channels_last":
            for state in found.states.values():
                state.add_(1)
        return found

    monkeypatch.setattr(type(engine), "run", broken)
    found = {t.backend: t for t in measure(engine, *batch(), candidates=["onednn", "channels_last", "eager"])}
    assert next(iter(found)) == "eager"
    assert found["onednn"].reason == "RuntimeError: no compiler"
    assert found["channels_last"].reason.startswith("its states differ from the eager ones by ")
    assert engine.backend == "auto"


def test_the_command_prints_every_backend_and_records_one(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [name for name in BACKENDS if name != "inductor"]  # which compiles for a minute
    options = [part for name in names for part in ("--backend", name)]
    assert run(["tune", DIGITS, "--batch", "4", "--device", "cpu", "--dtype", "float64", *options]) == 0
    text = capsys.readouterr().out
    assert text.startswith("batch 4, float64 on cpu; an iteration has 25 free and 12 nudged sweeps; seconds")
    assert "oneDNN packs float32, not float64" in text
    assert all(f"\n{name} " in text for name in names)
    assert run(["tune", DIGITS, "--batch", "2", "--device", "cpu", "--backend", "eager", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["backend"] == "eager"
    assert json.loads(Path(found["record"]).read_text())["batch"] == 2


def test_a_folder_that_cannot_be_written_is_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert run(["tune", DIGITS, "--batch", "2", "--device", "cpu", "--backend", "eager"]) == 1
    assert "set XDG_CACHE_HOME to a folder that can be written" in capsys.readouterr().err
    assert run(["tune", DIGITS, "--backend", "onedn"]) == 1
    assert "did you mean 'onednn'?" in capsys.readouterr().err


def test_nothing_is_recorded_where_nothing_can_be_used(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--batch", "2", "--device", "cpu", "--dtype", "float64", "--backend", "onednn"]
    assert run(["tune", DIGITS, *options]) == 1
    assert "onednn: oneDNN packs float32, not float64; measure 'eager'" in capsys.readouterr().err
    assert not cache.exists()

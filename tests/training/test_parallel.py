"""Several processes train one network: as one process would, and none is left behind when one of them fails."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch.utils.data import TensorDataset

import epgraph as ep
from epgraph.cli import run
from epgraph.runs.launch import launch
from epgraph.training import load_checkpoint
from epgraph.training.batches import batches
from epgraph.training.ranks import Ranks, refuse_divided
from tests.helpers.ranks import train_ranks
from tests.helpers.runs import NET, lines, record

ROOT = Path(__file__).parents[2]


def arguments(net: Path, out: Path, *more: str) -> list[str]:
    """Three epochs of three whole batches, and a last one of a single example: for the first process alone."""
    fixed = ["--data", "digits", "--limit", "151", "--epochs", "3", "--dtype", "float64", "--no-pictures"]
    return ["train", str(net), *fixed, "--set", "training.warm_start=true", "--out", str(out), *more]


def torchrun(size: int, options: list[str], fault: str = "", restarts: int = 0) -> tuple[int, str]:
    """Train under torchrun; return its exit code and all that was printed."""
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={size}"),
        *(f"--max-restarts={restarts}", "--monitor-interval=0.2", "-m", "tests.helpers.ranks", *options),
    ]
    environment = {**os.environ, "EPGRAPH_TEST_FAULT": fault}
    done = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, timeout=400)
    return done.returncode, done.stdout + done.stderr


def assert_equal_to_rounding(one: Path, other: Path, logged: float = 1e-6) -> None:
    """Parameters, optimizer, states to start from, and to the precision ``logged`` the lines of epochs and batches."""
    a, b = load_checkpoint(one), load_checkpoint(other)
    assert (a["epoch"], a["examples"], a["counts"]) == (b["epoch"], b["examples"], b["counts"])
    moved = {name: values["momentum_buffer"] for name, values in a["optimizer"].items()}
    moved_there = {name: values["momentum_buffer"] for name, values in b["optimizer"].items()}
    for mine, theirs in ((a["model"], b["model"]), (moved, moved_there), (a["warm"] or {}, b["warm"] or {})):
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            assert torch.linalg.vector_norm(value - theirs[name]) <= 1e-6 * torch.linalg.vector_norm(value), name
    for log in ("metrics.jsonl", "batches.jsonl"):
        mine_rows, their_rows = lines(one, log), lines(other, log)
        assert [list(row) for row in mine_rows] == [list(row) for row in their_rows]
        for mine_row, their_row in zip(mine_rows, their_rows, strict=True):
            numbers = {name: value for name, value in mine_row.items() if not isinstance(value, str)}
            assert {name: their_row[name] for name in numbers} == pytest.approx(numbers, rel=logged, abs=1e-9)
            assert all(their_row[name] == mine_row[name] for name in mine_row.keys() - numbers.keys())


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.yaml"
    path.write_text(NET)
    return path


@pytest.fixture
def whole(net: Path, tmp_path: Path) -> Path:
    """The run of one process."""
    assert run(arguments(net, tmp_path / "whole")) == 0
    return tmp_path / "whole"


def test_two_processes_of_torchrun_train_as_one(whole: Path, net: Path, tmp_path: Path) -> None:
    code, printed = torchrun(2, arguments(net, tmp_path / "two"))
    assert code == 0, printed
    assert_equal_to_rounding(whole, tmp_path / "two")
    assert printed.count("epoch 3/3") == 1
    assert record(tmp_path / "two")["history"][0]["machine"]["processes"] == 2


@pytest.mark.parametrize(
    "more",
    [
        ["--set", "learning.estimator=random_sign"],
        ["--set", "dynamics.noise=0.05"],
        ["--set", "data.augment={flip: 0.5, crop: 1}", "--set", "data.validation=0.2"],
    ],
    ids=["sign", "noise", "augmentation"],
)
def test_what_is_random_does_not_depend_on_the_number_of_processes(more: list[str], net: Path, tmp_path: Path) -> None:
    assert run(arguments(net, tmp_path / "one", "--epochs", "1", *more)) == 0
    assert train_ranks(2, arguments(net, tmp_path / "two", "--epochs", "1", *more), tmp_path / "said") == [0, 0]
    a, b = load_checkpoint(tmp_path / "one")["model"], load_checkpoint(tmp_path / "two")["model"]
    for name, value in a.items():
        torch.testing.assert_close(b[name], value, rtol=1e-9, atol=1e-12)


def test_a_signal_to_one_process_stops_all_and_any_number_goes_on(whole: Path, net: Path, tmp_path: Path) -> None:
    out, said = tmp_path / "two", tmp_path / "said"
    assert train_ranks(2, arguments(net, out), said, fault="1:6:term") == [143, 143]
    assert (said / "0").read_text().count("stopped by SIGTERM at epoch 2, batch 3") == 1
    assert not (said / "1").read_text()
    assert run(arguments(net, out, "--resume")) == 0
    assert_equal_to_rounding(whole, out)


@pytest.mark.parametrize(("fault", "codes"), [("error", [1, 1]), ("bug", [1, 2])])
def test_a_process_that_fails_takes_the_others_along(fault: str, codes: list[int], net: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    assert train_ranks(2, arguments(net, tmp_path / "two"), tmp_path / "said", fault=f"1:3:{fault}") == codes
    assert time.monotonic() - started < 60
    said = [(tmp_path / "said" / str(rank)).read_text() for rank in (0, 1)]
    assert ("the disk of the data is gone" if fault == "error" else "process 1 failed: ZeroDivisionError") in said[0]
    assert not said[1] or fault == "bug"


def test_a_started_again_job_goes_on_and_another_one_does_not(whole: Path, net: Path, tmp_path: Path) -> None:
    """``--overwrite`` and ``--from`` were for the first start; what an older job left, a restart replaces as asked."""
    out, said, restarted = tmp_path / "two", tmp_path / "said", {"TORCHELASTIC_RESTART_COUNT": 1}
    given = arguments(net, out, "--overwrite")
    assert train_ranks(2, given, said, fault="0:6:term") == [143, 143]
    assert train_ranks(2, given, said, **restarted) == [0, 0]
    assert [start["epoch"] for start in record(out)["history"]] == [0, 1]
    assert_equal_to_rounding(whole, out)
    assert train_ranks(2, given, said, **restarted, TORCHELASTIC_RUN_ID="other") == [0, 0]
    assert [start["epoch"] for start in record(out)["history"]] == [0]


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "logged"), [("float64", 1e-6), ("float32", 1e-3)])
def test_three_processes_train_as_one(dtype: str, logged: float, net: Path, tmp_path: Path) -> None:
    """A residual is a small difference of states: in float32 it has three digits, which rounding reaches."""
    assert run(arguments(net, tmp_path / "one", "--dtype", dtype)) == 0
    code, printed = torchrun(3, arguments(net, tmp_path / "three", "--dtype", dtype))
    assert code == 0, printed
    assert_equal_to_rounding(tmp_path / "one", tmp_path / "three", logged)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_is_started_again_and_the_run_is_the_same(
    rank: int, whole: Path, net: Path, tmp_path: Path
) -> None:
    more = ["--set", "training.checkpoint_minutes=0.001", "--overwrite"]
    code, printed = torchrun(2, arguments(net, tmp_path / "two", *more), f"{rank}:7:kill", restarts=1)
    assert code == 0, printed
    starts = record(tmp_path / "two")["history"]
    assert len(starts) == 2
    assert (starts[1]["epoch"], starts[1]["batch"]) >= (1, 0)
    assert_equal_to_rounding(whole, tmp_path / "two")


def test_what_cannot_be_divided_is_refused(
    net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    normed = ep.compile(ep.load(net, ["learning.estimator=backprop", "states.h1.norm=batch"]))
    with pytest.raises(ep.EpgraphError, match=r"norm: batch .*statistics of its own share"):
        refuse_divided(normed.graph)
    with pytest.raises(ep.EpgraphError, match="estimator 'continual', for which a batch must not be cut"):
        refuse_divided(ep.compile(ep.load(net, ["learning.estimator=continual"])).graph)
    refuse_divided(ep.compile(ep.load(net, ["learning.estimator=backprop"])).graph)
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    assert run(["sweep", str(net), "--data", "digits", "--seeds", "0..1", "--out", str(tmp_path / "sweep")]) == 1
    assert "the processes share the trials" in capsys.readouterr().err
    monkeypatch.setenv("RANK", "2")
    with pytest.raises(ep.EpgraphError, match="RANK is 2, but there are 2 processes"):
        launch()


def test_shares_are_contiguous_and_the_first_process_is_never_without() -> None:
    def ranks(rank: int, size: int) -> Ranks:
        alone = Ranks()
        alone.rank, alone.size = rank, size
        return alone

    for count in range(1, 9):
        for size in range(1, 6):
            shares = [list(range(count))[ranks(rank, size).share(count)] for rank in range(size)]
            assert [example for share in shares for example in share] == list(range(count))
            assert shares[0]
            assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_every_process_is_at_the_same_batch() -> None:
    """With more processes than examples of a batch, one may have its only example in the short last batch."""
    size, examples = 8, TensorDataset(torch.arange(13), torch.zeros(13))
    seen = []
    for rank in range(size):
        one = Ranks()
        one.rank, one.size = rank, size
        seen.append([x.tolist() for x, _ in batches(examples, 5, device=torch.device("cpu"), share=one.share)])
    assert [sorted(x for share in shares for x in share) for shares in zip(*seen, strict=True)] == [
        [0, 1, 2, 3, 4],
        [5, 6, 7, 8, 9],
        [10, 11, 12],
    ]

"""Progress: bars on a terminal, plain lines elsewhere, and what an epoch measures of the machine."""

from __future__ import annotations

import io
import itertools
import json
import os
import pty
import re
import select
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

import epgraph as ep
from epgraph.cli import run
from epgraph.compiler.compiled import Compiled
from epgraph.progress import Display, Progress, current, displayed, duration, tracked
from epgraph.training.histograms import VALUES, histograms
from epgraph.training.metrics import MEASURED, EpochLog
from epgraph.training.pace import Pace
from epgraph.training.peak_memory import peak_memory
from tests.helpers import processes
from tests.helpers.runs import NET, lines, train
from tests.helpers.sweeps import SWEEP

FACTS = (
    r"loss \d\.\d{4}, top-1 \d+\.\d\d%, residual \d\.\de[+-]\d\d, 10\+5 sweeps, [\d.e+]+ images/s, "
    r"\d+:\d\d left of the epoch, \d+:\d\d of the run"
)
TESTED = FACTS.replace(r"10\+5", "10")


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def ticking(step: float) -> Callable[[], float]:
    """A clock that goes on by so many seconds whenever it is read."""
    counted = itertools.count()
    return lambda: next(counted) * step


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.yaml"
    path.write_text(NET)
    return path


def test_a_plain_line_comes_every_half_minute_and_not_before() -> None:
    clock, stream = Clock(), io.StringIO()
    with displayed(Display(stream, clock=clock)):
        for _ in tracked(range(100), 100, "decode", "images"):
            clock.now += 7.0
    # After 35, 70, 105, … seconds: the first multiples of 7 that are half a minute after the last line.
    said = [int(re.findall(r"decode: (\d+)/100 images", line)[0]) for line in stream.getvalue().splitlines()]
    assert said == list(range(5, 101, 5))
    assert stream.getvalue().splitlines()[0] == "decode: 5/100 images, 11:05 left"


def test_compiling_is_said_when_it_begins_and_once_for_each_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    def double(x: torch.Tensor) -> tuple[torch.Tensor]:
        return (2 * x,)

    stream = io.StringIO()
    seen: list[str] = []

    def compile_later(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            seen.append(stream.getvalue())
            return function(*arguments)

        return call

    monkeypatch.setattr("torch.compile", compile_later)
    functions = [Compiled(double, f"free_{place + 1}", place, 2) for place in range(2)]
    with displayed(Display(stream)):
        for batch in (3, 3, 5):
            for function in functions:
                assert torch.equal(function(torch.ones(batch))[0], torch.full((batch,), 2.0))
    said = [f"compile the sweeps: {place}/2 functions, free_{place + 1}\n" for place in range(2)]
    assert stream.getvalue() == "".join(2 * said)
    assert seen[0] == said[0], "before it compiles"
    assert len(seen) == 6


def test_a_long_pause_between_two_works_is_no_reason_for_a_line() -> None:
    clock, stream = Clock(), io.StringIO()
    with displayed(Display(stream, clock=clock)):
        for _ in range(2):
            clock.now += 1000.0
            list(tracked(range(3), 3, "read", "files"))
    assert stream.getvalue() == ""


def test_short_works_in_a_row_share_the_half_minute() -> None:
    clock, stream = Clock(), io.StringIO()
    with displayed(Display(stream, clock=clock)):
        for number in range(8):
            for _ in tracked(range(2), 2, f"work {number}", "files"):
                clock.now += 5.0
    assert [line.split(":")[0] for line in stream.getvalue().splitlines()] == ["work 2", "work 5"]


def test_every_line_is_flushed() -> None:
    class Stream(io.StringIO):
        flushed = 0

        def flush(self) -> None:
            self.flushed += 1

    stream = Stream()
    with displayed(Display(stream, clock=ticking(40.0))):
        list(tracked(range(2), 2, "read", "files"))
    assert stream.flushed == len(stream.getvalue().splitlines()) > 0


def test_a_slow_part_is_said_before_it_begins() -> None:
    stream = io.StringIO()
    with displayed(Display(stream, clock=Clock())), Progress("measure", 3, "backends") as progress:
        progress.begin("eager")
        progress.begin("inductor", slow=True)
    assert stream.getvalue() == "measure: 1/3 backends, inductor, 0:00 left\n"


def test_a_stream_that_is_gone_ends_the_showing_and_not_the_work() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    with displayed(Display(Gone(), clock=ticking(40.0))):
        assert list(tracked(range(4), 4, "read", "files")) == [0, 1, 2, 3]


def test_a_hidden_display_shows_nothing() -> None:
    stream = io.StringIO()
    with displayed(Display(stream, clock=ticking(40.0), hidden=True)):
        list(tracked(range(4), 4, "read", "files"))
    assert stream.getvalue() == ""


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3600, "1:00:00"), (90_061, "25:01:01")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_time_left_is_that_of_all_parts_of_all_epochs() -> None:
    clock, pace = Clock(), Pace(epochs=3)
    with displayed(Display(io.StringIO(), clock=clock)):
        for part, batches in (("train", 10), ("test", 4)):
            with Progress(part, batches, "batches") as shown:
                for _ in range(batches):
                    clock.now += 2.0
                    shown.step()
                pace.note(part, shown)
        with Progress("train", 10, "batches", done=5) as shown:
            clock.now += 2.0
            shown.step()
            # 4 of 10 batches and the test; then the same for a third epoch.
            assert pace.left("train", 1, shown) == "0:16 left of the epoch, 0:44 of the run"


def test_a_training_without_a_terminal_says_everything(
    net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = io.StringIO()
    with displayed(Display(stream, clock=ticking(40.0))):
        assert train(net, tmp_path / "run") == 0
    said = stream.getvalue()
    assert re.search(rf"^epoch 2/2: 3/4 batches, {FACTS}$", said, re.MULTILINE), said
    assert re.search(rf"^the test of epoch 1: 4/4 batches, {TESTED}$", said, re.MULTILINE), said
    printed = capsys.readouterr()
    assert ("batches" in printed.err, len(printed.out.splitlines())) == (False, 5)


def test_quick_epochs_print_no_more_than_their_line(
    net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clock, stream = Clock(), io.StringIO()

    class Slow(ep.Callback):
        def epoch(self, metrics: dict[str, float]) -> None:
            clock.now += 20.0

    from epgraph.cli.console import Console
    from epgraph.cli.progress import EpochLines

    with displayed(Display(stream, clock=clock)):
        lines_of_epochs = EpochLines(Console(), as_json=False)
        ep.train(net, "digits", out=tmp_path / "run", limit=60, epochs=4, pictures=False, progress=True,
            callbacks=[Slow(), lines_of_epochs])  # fmt: skip
    assert stream.getvalue() == ""
    assert capsys.readouterr().out.count("epoch ") == 4


def test_json_lines_stay_pure(
    net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with displayed(Display(clock=ticking(40.0))):
        assert train(net, tmp_path / "run", "--json") == 0
        printed = capsys.readouterr()
        assert [json.loads(line)["epoch"] for line in printed.out.splitlines()] == [1, 2]
        assert "epoch 1/2: 1/4 batches, loss" in printed.err
        for command, said in {
            ("eval", str(tmp_path / "run"), "--limit", "100"): "test: 1/2 batches, loss",
            ("gradcheck", str(net), "--quick", "--examples", "2"): "check the gradient: 1/4 parts, eigenvalues",
            ("tune", str(net), "--backend", "eager", "--batch", "2"): "measure: 0/1 backends, eager",
            ("compare", str(tmp_path / "run")): "read the runs: 1/1 folders",
            ("train", str(tmp_path / "run"), "--resume", "--epochs", "3"): "epoch 3/3: 1/4 batches, loss",
        }.items():
            assert run([*command, "--json"]) == 0
            printed = capsys.readouterr()
            assert len([json.loads(line) for line in printed.out.splitlines()]) == 1
            assert said in printed.err, printed.err


def test_a_sweep_says_which_trial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with displayed(Display(clock=ticking(40.0))):
        (tmp_path / "net.yaml").write_text(SWEEP)
        options = ["--data", "digits", "--limit", "60", "--epochs", "1", "--threads", "1", "--workers", "0", "--json"]
        assert run(["sweep", str(tmp_path / "net.yaml"), "--out", str(tmp_path / "out"), *options]) == 0
    printed = capsys.readouterr()
    assert len(json.loads(printed.out)["trials"]) == 4
    assert "trial 4 of 4, epoch 1/1: 1/2 batches, loss" in printed.err
    assert f"read {tmp_path / 'out'}: 4/4 trials" in printed.err


def test_images_that_are_decoded_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for part, label in itertools.product(("train", "test"), "ab"):
        folder = tmp_path / "images" / part / label
        folder.mkdir(parents=True)
        for number in range(3):
            Image.fromarray(np.full((8, 8), number, np.uint8)).save(folder / f"{number}.png")
    stream = io.StringIO()
    with displayed(Display(stream, clock=ticking(40.0))):
        ep.load_data(NET.replace("classes: 10", "classes: 2"), f"folder:{tmp_path / 'images'}").facts()
    assert "decode the images: 6/6 images" in stream.getvalue()
    assert "identify the data: 12/12 images" in stream.getvalue()


def test_of_several_processes_the_others_show_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from epgraph.runs.launch import Launch
    from epgraph.training import parallel
    from epgraph.training.ranks import Ranks

    shown: list[bool] = []

    class Session:
        def __init__(self, *arguments: Any) -> None: ...

        def train(self) -> None:
            shown.append(not current().hidden)

    from contextlib import nullcontext

    ranks = Ranks()
    monkeypatch.setattr(parallel, "together", lambda launch: nullcontext(ranks))
    monkeypatch.setattr(parallel, "prepared", lambda request: nullcontext())
    monkeypatch.setattr(parallel, "Session", Session)
    from epgraph.runs.start import Flags, Request

    for rank in (0, 1):
        ranks.rank = rank
        parallel.train_together(Request("x"), None, Flags(progress=True), [], print, Launch(rank, 2))
    assert shown == [True, False]


def train_aloud(net: Path, out: Path) -> int:
    """Train in a process whose standard error is a terminal; nothing else is to be drawn there."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.stderr = os.fdopen(2, "w", closefd=False)  # the stream that the process was born with takes it for a file
    with displayed(Display(clock=ticking(1.0))):
        return train(net, out)


def test_a_bar_of_80_columns_shows_everything(net: Path, tmp_path: Path) -> None:
    """Drawn on a pseudo-terminal; two lines, and both are cleared in the end."""
    mine, theirs = pty.openpty()
    import fcntl
    import struct
    import termios

    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = processes.start(partial(train_aloud, net, tmp_path / "run"), Path(os.ttyname(theirs)))
    while process.is_alive() and not select.select([mine], [], [], 0.05)[0]:
        pass  # the other end stays open here until the process has it
    os.close(theirs)
    drawn = b""
    try:
        while part := os.read(mine, 65536):
            drawn += part
    except OSError:  # the other end is closed
        pass
    process.join()
    text = drawn.decode()
    assert process.exitcode == 0, text
    facts, left = FACTS.split(", \\d+:", 1)
    assert re.search(facts, text), text
    assert re.search(r"epoch 2/2: 3/4 batches +75%\|[^|]*\|, \d+:" + left, text), text
    visible = re.split(r"[\r\n]|\x1b\[A", text)
    assert [line for line in visible if len(line) > 80 and "warning" not in line] == []
    assert visible[-1].strip() == ""


# What an epoch measures


def test_an_epoch_says_how_fast_it_was_and_what_it_needed(net: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert train(net, out) == 0
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        assert 0 < row["images_per_second"] <= 170 / row["seconds"] * 1000
        assert row["images_per_second"] >= 170 / row["seconds"]  # the seconds are those of the tests too
        assert 50 < row["peak_memory_mib"] < 100_000
    assert rows[0]["peak_memory_mib"] <= rows[1]["peak_memory_mib"]
    assert not {name for row in lines(out) for name in row} & set(MEASURED)


def test_the_peak_of_memory_is_that_of_the_system(tmp_path: Path) -> None:
    here = peak_memory(torch.device("cpu"))
    ballast = torch.ones(64 << 18)  # 64 MiB
    assert peak_memory(torch.device("cpu"))["peak_memory_mib"] >= here["peak_memory_mib"]
    assert float(ballast[0]) == 1
    status = tmp_path / "status"
    status.write_text("VmPeak:\t  999 kB\nVmHWM:\t  2048 kB\n")
    assert peak_memory(torch.device("cpu"), status=status) == {"peak_memory_mib": 2.0}
    # Without /proc the system call answers; it may count the parent too.
    assert peak_memory(torch.device("cpu"), status=tmp_path / "none")["peak_memory_mib"] >= 50


# Histograms


def board(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"histograms": 0, "scalars": 0})
    found.Reload()
    return found


def test_tensorboard_has_histograms_of_every_weight_and_state(net: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert train(net, out) == 0
    found = board(out / "tensorboard")
    names = set(found.Tags()["histograms"])
    engine = ep.load_run(out).engine
    assert names == {
        *(f"parameters/{name}" for name, _ in engine.named_parameters()),
        *(f"states/{name}" for name in engine.graph.dynamic),
    }
    for name in names:
        assert [event.step for event in found.Histograms(name)] == [1, 2]
    assert {"seconds", "images/per_second", "peak/memory_mib"} <= set(found.Tags()["scalars"])
    name, last = next(iter(engine.named_parameters()))
    weight = found.Histograms(f"parameters/{name}")[-1].histogram_value
    assert (weight.num, weight.max) == (last.numel(), pytest.approx(float(last.detach().max()), rel=1e-6))


def test_histograms_can_be_left_out(net: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert train(net, out, "--no-histograms") == 0
    tags = board(out / "tensorboard").Tags()
    assert (tags["histograms"], "train/loss" in tags["scalars"]) == ([], True)


def test_histograms_leave_the_training_as_it_is(net: Path, tmp_path: Path) -> None:
    """They draw no number of torch's generator, on which the noise of states depends."""
    noise = ["--set", "dynamics.noise=0.1"]
    assert train(net, tmp_path / "with", *noise) == 0
    assert train(net, tmp_path / "without", *noise, "--no-histograms") == 0
    assert lines(tmp_path / "with") == lines(tmp_path / "without")


def test_a_large_tensor_is_sampled_and_no_number_is_left_out() -> None:
    engine = ep.compile(NET)
    large = torch.randn(3, VALUES)
    odd = torch.tensor([1.0, float("nan"), float("inf")])
    found = dict(histograms(engine, {"h1": large, "h2": odd, "y": odd[1:]}))
    assert len(found["states/h1"]) == VALUES
    assert found["states/h2"].tolist() == [1.0]
    assert "states/y" not in found
    assert abs(float(found["states/h1"].std()) - 1) < 0.02


def test_histograms_that_cannot_be_written_end_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **options: Any) -> None:
        raise OSError("no room")

    monkeypatch.setattr(SummaryWriter, "add_histogram", broken)
    said: list[str] = []
    log = EpochLog(tmp_path, said.append)
    for epoch in (1, 2):
        log.write({"epoch": epoch, "train_loss": 1.0}, [("states/h", np.ones(3))])
    log.close()
    assert said == ["TensorBoard is not written any more: no room"]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2

"""Sweeps: what they train, that they go on after a death, that processes share them, and what they refuse."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import epgraph as ep
from epgraph.cli import run
from epgraph.language import RUN_SCHEMA, json_schema
from epgraph.sweeps.definition import Definition
from epgraph.sweeps.study import Trials
from tests.helpers.processes import forked
from tests.helpers.runs import NET, stopped_after
from tests.helpers.sweeps import BRANCHED, SWEEP, killed, starts, sweep, table, waited


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep that nothing disturbed: two networks with two seeds each."""
    out = tmp_path_factory.mktemp("sweep") / "whole"
    sweep(out)
    return out


class Killed(BaseException):
    pass


def test_every_variation_is_a_run_with_every_seed(whole: Path) -> None:
    found = Trials(whole).all()
    assert [(one.label, one.seed) for one in found] == [(v, s) for s in range(2) for v in ("whole", "less")]
    for one in found:
        loaded = ep.load_run(one.folder)
        training = loaded.engine.architecture.training
        edges = len(loaded.engine.architecture.edges)
        assert (training.seed, edges) == (one.seed, 4 if one.label == "whole" else 3)
        assert one.value == loaded.metrics[-1]["test_error"]
        # A run of its own with the same settings comes to the same.
    alone = ep.train(BRANCHED, "digits", out=whole.parent / "alone", seed=1, limit=170, pictures=False, warn=print)
    assert alone.metrics["test_error"] == found[2].value
    board = EventAccumulator(str(found[0].folder / "tensorboard")).Reload()
    assert board.PluginTagToContent("hparams").keys() >= {"_hparams_/experiment", "_hparams_/session_start_info"}
    assert "test/error" in board.Tags()["scalars"]
    assert {path.name for path in whole.iterdir()} >= {"comparison.md", "runs.csv", "curves.png", "sweep.json"}


def test_trials_share_the_schema_of_their_sweep(whole: Path, tmp_path: Path) -> None:
    """The line for editors leads to it by a relative path; a run elsewhere, or with another language, has its own."""
    assert json.loads((whole / RUN_SCHEMA).read_text(encoding="utf-8")) == json_schema()
    for one in Trials(whole).all():
        first = (one.folder / "architecture.yaml").read_text(encoding="utf-8").splitlines()[0]
        named = one.folder / first.rpartition("$schema=")[2]
        assert named.resolve() == (whole / RUN_SCHEMA).resolve()
        assert [path.name for path in one.folder.iterdir() if path.name == RUN_SCHEMA] == []
    assert [path.parent for path in whole.rglob(RUN_SCHEMA)] == [whole]
    (tmp_path / "sweep.json").write_text("{}", encoding="utf-8")
    (tmp_path / RUN_SCHEMA).write_text("{}", encoding="utf-8")
    ep.train(NET, "digits", out=tmp_path / "trials" / "own", limit=70, pictures=False, warn=print)
    own = (tmp_path / "trials" / "own" / "architecture.yaml").read_text(encoding="utf-8")
    assert own.startswith(f"# yaml-language-server: $schema={RUN_SCHEMA}\n")
    assert (tmp_path / "trials" / "own" / RUN_SCHEMA).read_bytes() == (whole / RUN_SCHEMA).read_bytes()


def test_a_sweep_that_dies_in_a_training_comes_to_the_same_table(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, left = ep.Engine.backward, [0]

    def backward(*arguments: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        return original(*arguments, **options)

    monkeypatch.setattr(ep.Engine, "backward", backward)
    out = tmp_path / "sweep"
    for batches in (2, 11, 6):  # in the first epoch, in a later trial, and at the end of an epoch
        left[0] = batches
        with pytest.raises(Killed):
            sweep(out)
    left[0] = 0
    with (out / "journal.log").open("a") as journal:
        journal.write('{"op_code": 4, "worker')  # a line that a process did not finish when it died
    sweep(out)
    assert table(out) == table(whole)
    assert (out / "runs.csv").read_text() == (whole / "runs.csv").read_text()


def test_an_interrupt_says_what_is_saved_and_the_same_command_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, said = tmp_path / "sweep", list[str]()
    original = Trials.finish

    def finish(*arguments: Any) -> None:
        original(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trials, "finish", finish)
        with pytest.raises(ep.Stopped) as stopped:
            sweep(out, epochs=1, report=said.append)
    message = f"stopped by SIGINT at 1 of 4 trials; {out} holds their results; the same command goes on"
    assert str(stopped.value) == message
    assert stopped.value.exit_code == 130
    assert not any("going on" in line for line in said)
    sweep(out, epochs=1, report=said.append)
    assert f"going on with {out}: 1 of 4 trials are done" in said
    with pytest.raises(ep.EpgraphError, match=r"is a sweep folder: give one of its runs, e\.g\. .*trials/000-whole"):
        ep.evaluate(out)


def test_a_signal_within_a_trial_is_told_as_one_of_a_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message of a training would advise --resume, which a sweep does not have."""
    (tmp_path / "net.yaml").write_text(NET, encoding="utf-8")
    options = ["--data", "digits", "--limit", "70", "--out", str(tmp_path / "sweep")]
    with stopped_after(monkeypatch, 1, signal.SIGTERM):
        assert run(["sweep", str(tmp_path / "net.yaml"), "--seeds", "0,1", *options]) == 128 + signal.SIGTERM
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("epgraph: stopped by SIGTERM at epoch 1, batch 1; ")
    assert last.endswith("; the same command goes on")


def test_a_sweep_folder_is_no_run_whatever_the_command(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = str(tmp_path / "net.html")
    for command in (
        ["explore", str(whole), "-o", page],
        ["train", str(whole), "--resume"],
        ["render", str(whole), "-o", str(tmp_path / "net.svg")],
        ["gradcheck", str(whole)],
    ):
        assert run(command) == 1
        assert capsys.readouterr().err.startswith(f"{whole} is a sweep folder: give one of its runs, e.g. ")
    with pytest.raises(ep.EpgraphError, match="is a sweep folder: give one of its runs"):
        ep.converge(whole)


def test_processes_share_the_trials_of_a_sweep(whole: Path, tmp_path: Path) -> None:
    """None is run twice, and one that a dead process left is taken up again by a living one."""
    out = tmp_path / "sweep"
    assert killed(forked(lambda: sweep(out)), 0.4)
    workers = [forked(lambda: sweep(out)) for _ in range(2)]
    assert [waited(worker) for worker in workers] == [0, 0]
    assert table(out) == table(whole)
    assert sum(starts(out)) in (4, 5), "one trial may have been begun by the process that was killed"
    before = {path: path.stat().st_mtime_ns for path in out.rglob("last.pt")}
    assert [one.state for one in sweep(out).trials] == ["complete"] * 4
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("last.pt")}, "a finished one trains nothing"


@pytest.mark.slow
def test_a_sweep_that_is_killed_at_random_instants_comes_to_the_same_table(tmp_path: Path) -> None:
    """Ten sweeps, each killed at five instants; the instants fall into the whole length of a sweep."""
    source = SWEEP.replace("0..1", "0..2")
    sweep(tmp_path / "whole", source)
    started = time.monotonic()
    assert waited(forked(lambda: sweep(tmp_path / "undisturbed", source))) == 0
    length = time.monotonic() - started
    generator, hits = random.Random(0), 0
    for number in range(10):
        out = tmp_path / f"sweep{number}"

        def work(out: Path = out) -> None:
            sweep(out, source)

        hits += sum(killed(forked(work), generator.uniform(0.0, 0.4 * length)) for _ in range(5))
        assert waited(forked(work)) == 0
        assert len(table(out)) == 6
        assert table(out) == table(tmp_path / "whole")
        assert (out / "runs.csv").read_text() == (tmp_path / "whole" / "runs.csv").read_text()
    assert hits > 25, "most kills found a sweep that was still under way"


def test_more_seeds_and_values_extend_a_sweep(tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    first = sweep(out, NET, grid={"learning.beta": [0.1, 0.2]}, epochs=1)
    before = [path.stat().st_mtime_ns for path in sorted(out.rglob("last.pt"))]
    more = sweep(out, NET, grid={"learning.beta": [0.1, 0.2, 0.3]}, seeds="0..1", epochs=1)
    assert [one.label for one in more.trials[:2]] == [one.label for one in first.trials]
    assert len(more.trials) == 6
    assert [path.stat().st_mtime_ns for path in sorted(out.rglob("last.pt"))][:2] == before
    assert more.comparison is not None
    assert [group.label for group in more.comparison.groups] == [f"learning.beta={beta}" for beta in (0.1, 0.2, 0.3)]
    # A trial that is no part of the sweep any more is left as it is.
    study = optuna.load_study(study_name="sweep", storage=JournalStorage(JournalFileBackend(str(out / "journal.log"))))
    lost = optuna.trial.create_trial(
        state=optuna.trial.TrialState.RUNNING,
        params=more.trials[5].point | {"learning.beta": "0.9"},
        distributions={
            "variant": optuna.distributions.CategoricalDistribution(["whole"]),
            "learning.beta": optuna.distributions.CategoricalDistribution(["0.9"]),
        },
        user_attrs={"seed": 0, "label": "lost", "settings": "lost", "folder": "trials/lost"},
    )
    study.add_trial(lost)
    # The folder alone goes on with what was said last.
    assert [one.state for one in ep.sweep(out, warn=print).trials] == ["complete"] * 6 + ["open"]


def test_a_sampler_chooses_the_same_after_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {
        "ranges": {"training.learning_rate": "0.01..0.2 log", "states.h1.channels": "2..5"},
        "grid": {"learning.beta": [0.1, 0.2]},
        "sampler": "tpe",
        "trials": 2,
        "seeds": [0, 1],
        "pruner": "median",
        "epochs": 1,
    }
    whole = sweep(tmp_path / "whole", NET, **options)
    points = [tuple(one.point.values()) for one in whole.trials]
    assert points[0] == points[1] != points[2] == points[3], "every choice with every seed"
    assert all(2 <= point[2 + 1] <= 5 and 0.01 <= point[2] <= 0.2 for point in points)
    assert sweep(tmp_path / "part", NET, **{**options, "trials": 1}).trials[0].point == whole.trials[0].point
    again = sweep(tmp_path / "part", NET, **options)
    assert [(one.point, one.seed, one.value, one.state) for one in again.trials] == [
        (one.point, one.seed, one.value, one.state) for one in whole.trials
    ]


def test_a_trial_that_diverges_fails_alone(tmp_path: Path) -> None:
    net = NET.replace("relu1", "tanh").replace("learning_rate: 0.05", "learning_rate: 0.05, clip_norm: null")
    doubts: list[ep.Diagnostic] = []
    options: dict[str, Any] = {"grid": {"training.learning_rate": [1e30, 1e-5]}, "epochs": 1, "warn": doubts.extend}
    result = sweep(tmp_path / "sweep", net, **options)
    assert [one.state for one in result.trials] == ["failed", "complete"]
    assert "training stopped in epoch 1" in result.trials[0].error
    assert any("the accuracy is at chance" in doubt.message for doubt in doubts), "the other one learns nothing"
    assert len(doubts) == len(set(doubts)), "what is doubtful about a network is said once, and not by each trial"
    assert result.comparison is not None
    assert result.comparison.notes[0].startswith("left out: training.learning_rate=1e+30, seed 0, failed: training")


# What is refused


def test_all_mistakes_at_once_with_their_places(tmp_path: Path) -> None:
    net = tmp_path / "net.yaml"
    section = """\
sweep:
  grid: {learning.beat: [0.1], training.epochs: [-1, 2], edges.9.gain: [1.0]}
  variants: {whole: {}, other: {set: {defaults.gain: "x"}}, less: {without: skip}}
"""
    net.write_text(NET + section)
    first = NET.count("\n") + 2
    with pytest.raises(ep.EpgraphError) as caught:
        ep.sweep(net, "digits", out=tmp_path / "out", grid={"states.h1.channels": [0]})
    assert {*map(str, caught.value.diagnostics)} == {
        "--grid states.h1.channels=0: 'channels' must be ≥ 1, found 0",
        f"{net}:{first + 1}:54: 'gain' expects a number, found text 'x'",
        f"{net}:{first}:26: unknown key 'beat'; did you mean 'beta'?",
        f"{net}:{first}:50: 'epochs' must be ≥ 1, found -1",
        f"{net}:{first}:73: there is no 'edges[9]' in the file; name keys as in the file, list positions from 0; "
        "e.g. edges.0.gain=0.7",
    }
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"without": ["skip"]}, "--without skip: 'skip' is no edge of <text>; name a kind (conv, dense), an edge"),
        ({"without": ["x->h1"]}, "state 'h1' is unreachable"),
        ({"ranges": {"learning.beta": "0.1..0.2"}}, "--range learning.beta=0.1..0.2: a range needs a sampler"),
        ({"ranges": {"learning.beta": "2..1"}}, "LOW must be below HIGH, found 2..1"),
        ({"ranges": {"learning.beta": "0..1 log"}}, "with log, LOW must be above 0, found 0..1 log"),
        ({"ranges": {"learning.beta": "0.1"}}, "a range is LOW..HIGH, found text '0.1'"),
        ({"sampler": "tpe"}, "--sampler tpe: a sampler needs a number of trials"),
        ({"trials": 3}, "--trials 3: a grid has as many trials as points"),
        ({"seeds": "0..x"}, "--seeds 0..x: 'seeds' expects whole numbers from 0 on"),
        ({"seeds": [1, 1]}, "--seeds 1,1: 'seeds' has a seed twice"),
        ({"grid": {"training.seed": [1, 2]}}, "seeds have a key of their own; write seeds: 0..4"),
        ({"grid": {"learning.beta": 0.1}}, "grid['learning.beta'] expects a list"),
        ({"grid": {"learning.beta": [0.1 * i for i in range(1, 3000)]}}, "the grid has 2,999 points"),
        ({"grid": {"input.shape": [[1, 8, 8], [1, 9, 9]]}}, "digits"),
    ],
)
def test_what_cannot_be_is_refused_before_any_training(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ep.EpgraphError) as caught:
        sweep(tmp_path / "out", NET, **options)
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_what_is_wrong_with_every_value_of_a_key_is_said_once(tmp_path: Path) -> None:
    with pytest.raises(ep.EpgraphError) as caught:
        sweep(tmp_path / "out", NET, grid={"learning.bta": [0.1, 0.2]})
    assert str(caught.value) == "--grid learning.bta=0.1,0.2: unknown key 'bta'; did you mean 'beta'?"


def test_a_sweep_in_which_nothing_varies_is_warned_of() -> None:
    def doubts(*overrides: str) -> list[str]:
        return [one.message for one in Definition([NET], overrides, (), {}, ()).check()]

    assert doubts() == ["nothing varies in this sweep: it is one training"]
    assert doubts("sweep.seeds=0..1") == []
    assert doubts("sweep.grid={learning.beta: [0.1, 0.2]}") == []


def test_a_folder_of_another_sweep_is_refused(whole: Path, tmp_path: Path) -> None:
    record = (whole / "sweep.json").read_text()
    for options, message in [
        ({"epochs": 3}, "training.epochs is 2 there and 3 now"),
        ({"limit": 100}, "data.limit is 170 there and 100 now"),
        ({"grid": {"learning.beta": [0.1]}}, "holds a sweep over variant"),
    ]:
        with pytest.raises(ep.EpgraphError, match=message) as caught:
            sweep(whole, **options)
        assert "data.root" not in str(caught.value)
    assert (whole / "sweep.json").read_text() == record
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ep.EpgraphError, match="is no sweep folder"):
        sweep(tmp_path)


def test_a_folder_that_goes_on_takes_no_other_settings(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--seeds", "0..4", "--limit", "100", "--set", "learning.beta=0.2", "--no-augment"]
    assert run(["sweep", str(whole), *options]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"{whole} is a sweep folder, and goes on as it was started, without --seeds, --set, --limit, --augment; "
        f"to extend the sweep, name its network file, and the folder with --out {whole}"
    ]
    assert run(["sweep", str(whole)]) == 0


def test_several_files_are_variants_and_the_first_has_the_section(tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text(SWEEP)
    two.write_text(NET.replace("channels: 6", "channels: 5"))
    definition = Definition([one, two])
    assert list(definition.variants) == ["one whole", "one less", "two whole", "two less"]
    assert len(definition.points) == 4
    with pytest.raises(ep.EpgraphError, match="the first file alone may have this section"):
        Definition([two, one])


def test_the_command_prints_the_table_and_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.yaml").write_text(NET)
    command = ["sweep", "net.yaml", "--data", "digits", "--limit", "170", "--epochs", "1", "--seeds", "0,1"]
    assert run([*command, "--grid", "input.shape=[1,8,8]", "--grid", "learning.beta=0.1,0.2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "trial 1 of 4: input.shape=[1, 8, 8], learning.beta=0.1, seed 0"
    assert any("Two seeds decide nothing" in line for line in lines)
    assert lines[-1] == "sweep folder: runs/tiny-sweep"
    assert run(["sweep", "runs/tiny-sweep", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [trial["state"] for trial in found["trials"]] == ["complete"] * 4
    assert run(["check", "net.yaml"]) == 0


def test_other_commands_check_the_section_and_leave_it_out(tmp_path: Path) -> None:
    assert ep.load(SWEEP) == ep.load(BRANCHED)
    net = tmp_path / "net.yaml"
    net.write_text(NET + "sweep: {gird: {}, seeds: 0..x, range: {learning.beta: 0.1}, variants: {a: {withot: skip}}}\n")
    line = NET.count("\n") + 1
    assert sorted(map(str, ep.check(net).diagnostics)) == [
        f"{net}:{line}:26: 'seeds' expects whole numbers from 0 on, at most 1000 of them, found text '0..x'; "
        "e.g. 0..4, or [0, 1, 2]",
        f"{net}:{line}:55: a range is LOW..HIGH, found 0.1; e.g. 0.05..0.5, or 0.001..0.1 log",
        f"{net}:{line}:76: unknown key 'withot'",
        f"{net}:{line}:9: unknown key 'gird'; did you mean 'grid'?",
    ]

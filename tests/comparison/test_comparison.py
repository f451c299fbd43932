"""Comparisons: their statistics against scipy and published figures, their groups, and what they say of few seeds."""

from __future__ import annotations

import csv
import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

import epgraph as ep
from epgraph.cli import run
from epgraph.comparison.statistics import holm, paired, power, seeds_needed
from epgraph.comparison.verdict import untrained, verdict
from epgraph.runs.record import Given, Options, Record, invocation

NET = """\
epgraph: 2
name: {name}
input: {{shape: [1, 8, 8]}}
output: {{classes: 10}}
states: {{h1: {{channels: 4}}, h2: {{channels: 4}}}}
edges:
  - {{from: x, to: h1, conv: {{kernel: 3, padding: 1}}}}
  - {{from: h1, to: h2, conv: {{kernel: 3, padding: 1}}}}
{skip}  - {{from: h2, to: y, dense: {{}}}}
training: {{seed: {seed}, epochs: 2}}
"""
SKIP = "  - {from: h1, to: h2, skip: {}}\n"


def folder(
    path: Path, seed: int, errors: list[float], skip: bool = True, finished: bool = True, overrides: Sequence[str] = ()
) -> Path:
    """Write a run folder as a training with these test errors leaves it."""
    network = ep.load(NET.format(name="net", skip=SKIP if skip else "", seed=seed), overrides)
    options = Options(dtype="float32", device="cpu", backend="eager", threads=1, workers=0)
    settings = network.to_dict(complete=True)
    record = Record(
        settings=settings,
        given=Given(file="net.yaml", settings=settings),
        options=options,
        data={},
        finished=finished,
        history=[invocation([])],
    )
    path.mkdir(parents=True)
    record.write(path)
    rows = [{"epoch": i + 1, "test_error": error, "train_loss": error} for i, error in enumerate(errors)]
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Six seeds with and without a skip, which helps by two points, more or less."""
    found = []
    for seed in range(6):
        found.append(folder(tmp_path / f"with-{seed}", seed, [0.5, 0.10 + 0.01 * seed]))
        worse = [0.12, 0.135, 0.14, 0.15, 0.165, 0.17][seed]
        found.append(folder(tmp_path / f"without-{seed}", seed, [0.6, worse], skip=False))
    return found


# Statistics


@pytest.mark.parametrize(("effect", "seeds"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10), (1.5, 6)])
def test_the_seeds_needed_are_those_of_published_tables(effect: float, seeds: int) -> None:
    """G*Power 3.1, difference between two dependent means, two-sided, α = 0.05, power 0.8."""
    assert seeds_needed(effect) == seeds_needed(-effect) == seeds
    assert power(effect, seeds) >= 0.8 > power(effect, seeds - 1)


def test_no_number_of_seeds_settles_nothing() -> None:
    assert seeds_needed(0.01) is None
    assert seeds_needed(100.0) == 2
    assert all(power(e / 4, n) <= power(e / 4, n + 1) for e in range(1, 40) for n in range(2, 60))


def test_the_power_is_what_simulated_experiments_find() -> None:
    generator = random.Random(0)
    hits = 0
    for _ in range(2000):
        differences = [generator.gauss(0.9, 1.0) for _ in range(8)]
        hits += float(stats.ttest_1samp(differences, 0.0).pvalue) < 0.05
    assert hits / 2000 == pytest.approx(power(0.9, 8), abs=0.03)


def test_a_paired_test_is_that_of_the_differences() -> None:
    a, b = [0.10, 0.11, 0.12, 0.13, 0.16], [0.12, 0.11, 0.13, 0.17, 0.17]
    differences = [y - x for x, y in zip(a, b, strict=True)]
    test = paired("a", "b", range(5), a, b)
    one = stats.ttest_1samp(differences, 0.0)
    assert test.difference == pytest.approx(sum(differences) / 5)
    assert test.t_p == pytest.approx(float(one.pvalue))
    assert test.effect == pytest.approx(float(one.statistic) / math.sqrt(5))
    half = stats.t.ppf(0.975, 4) * (test.deviation or 0) / math.sqrt(5)
    assert (test.low, test.high) == pytest.approx((0.016 - half, 0.016 + half))


def test_holm_corrects_as_published() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ([], [], "b against a: no seed in common, so nothing can be paired."),
        ([0.1], [0.2], "test error +10.00 points. One common seed has no spread, so there is no test"),
        ([0.1, 0.2], [0.3, 0.5], "Two seeds decide nothing, whatever p is: train at least 3, better 5."),
        ([0.1, 0.2], [0.2, 0.3], "on all 2 common seeds the difference is the same, so there is no spread"),
        ([0.1, 0.2], [0.1, 0.2], "on all 2 common seeds the values are equal, so there is no spread"),
        ([0.10, 0.11, 0.12], [0.13, 0.141, 0.149], "b is worse."),
        ([0.10, 0.11, 0.12], [0.07, 0.079, 0.091], "b is better."),
        ([0.10, 0.11, 0.12], [0.11, 0.10, 0.13], "Not settled: about 97 seeds would settle a difference of this size"),
        ([0.1, 0.2, 0.3], [0.2, 0.3, 0.10001], "Not settled: more than 1000 seeds would settle"),
    ],
)
def test_the_verdict_says_what_the_seeds_allow(a: list[float], b: list[float], said: str) -> None:
    assert said in verdict("test_error", paired("a", "b", range(len(a)), a, b))


# Runs


def test_a_finished_run_without_metrics_is_named(runs: list[Path]) -> None:
    (runs[3] / "metrics.jsonl").write_text("")
    with pytest.raises(ep.EpgraphError, match=r"metrics.jsonl: holds no epoch; train the run anew"):
        ep.compare(runs)


def test_runs_are_grouped_and_paired_by_seed(runs: list[Path], tmp_path: Path) -> None:
    unfinished = folder(tmp_path / "unfinished", 9, [0.5], finished=False)
    twin = folder(tmp_path / "twin", 0, [0.5, 0.9])
    result = ep.compare([*runs, unfinished, twin])
    with_skip, without = result.groups
    assert list(with_skip.values) == list(without.values) == list(range(6))
    assert with_skip.means["test_error"] == pytest.approx(0.125)
    assert result.differing == {"edges.h1->h2 (2)": ["skip", "–"]}
    (test,) = result.tests
    differences = [without.values[seed] - with_skip.values[seed] for seed in range(6)]
    assert test.difference == pytest.approx(sum(differences) / 6)
    assert test.wilcoxon_p == pytest.approx(2 / 2**6)
    assert test.t_p is not None
    assert test.t_p < 0.001
    assert result.notes == (
        f"left out: {unfinished} has not finished",
        f"left out: {twin} has the settings and the seed of {runs[0]}",
    )


def test_settings_that_differ_name_their_groups(tmp_path: Path) -> None:
    paths = []
    for beta in (0.1, 0.2, 0.3):
        for seed in (0, 1):
            path = folder(tmp_path / f"{beta}-{seed}", seed, [0.5, beta + 0.01 * seed * beta])
            record = json.loads((path / "run.json").read_text())
            record["settings"]["learning"]["beta"] = beta
            (path / "run.json").write_text(json.dumps(record))
            paths.append(path)
    result = ep.compare(paths)
    assert [group.label for group in result.groups] == ["beta=0.1", "beta=0.2", "beta=0.3"]
    assert result.differing == {"learning.beta": ["0.1", "0.2", "0.3"]}
    assert all(test.holm_p is not None and test.t_p is not None and test.holm_p >= test.t_p for test in result.tests)
    # Another baseline is another order of the runs.
    assert ep.compare(paths[::-1]).groups[0].label == "beta=0.3"


def test_the_command_writes_tables_and_curves(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = [tmp_path / name for name in ("a.md", "a.csv", "a.svg", "a.png")]
    named = [part for output in outputs for part in ("-o", str(output))]
    assert run(["compare", *map(str, runs), *named]) == 0
    printed = capsys.readouterr().out
    assert "12.50 ± 1.87 %" in printed
    assert "h1->h2 (2)=skip" in printed
    rows = list(csv.reader((tmp_path / "a.csv").read_text().splitlines()))
    assert rows[0] == ["setting", "seed", "test_error"]
    assert [float(row[2]) for row in rows[1:7]] == [0.10 + 0.01 * seed for seed in range(6)]
    assert "| 12.50 ± 1.87 % |" in (tmp_path / "a.md").read_text()
    assert b"<svg" in (tmp_path / "a.svg").read_bytes()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert run(["compare", *map(str, runs), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["tests"][0]["seeds"] == list(range(6))
    assert found["verdicts"][0].endswith("is worse.")


@pytest.mark.parametrize(
    ("errors", "seeds", "title"),
    [([0.5, 0.04], 2, "mean, and range of the seeds"), ([0.5], 2, "mean of the seeds"), ([0.5, 0.1], 1, "")],
)
def test_the_legend_says_what_is_drawn(tmp_path: Path, errors: list[float], seeds: int, title: str) -> None:
    """A range needs two seeds, and an area two epochs."""
    runs = [folder(tmp_path / f"{seed}", seed, [error + 0.01 * seed for error in errors]) for seed in range(seeds)]
    drawn = ep.compare(runs).write(tmp_path / "a.svg").read_text()
    # matplotlib writes a text as a comment beside its outlines.
    assert ("of the seeds" in drawn) is bool(title)
    assert f"<!-- {title} -->" in drawn or not title
    assert ("log scale" in drawn) is (max(errors) >= 10 * min(errors))


def test_keys_without_effect_make_no_difference(tmp_path: Path) -> None:
    """Backpropagation reads neither beta nor the sweeps: runs that differ in them alone are of one setting."""
    backprop = ["energy=predictive", "learning.estimator=backprop"]
    predictive = ["energy=predictive", "learning.beta=0.02", "dynamics.nudged_steps=5"]
    made = [
        folder(tmp_path / "ep", 0, [0.1], overrides=predictive),
        folder(tmp_path / "bp", 0, [0.1], overrides=[*backprop, "learning.beta=0.3"]),
        folder(tmp_path / "bp-1", 1, [0.1], overrides=[*backprop, "dynamics.free_steps=7"]),
    ]
    found = ep.compare(made)
    assert [group.label for group in found.groups] == ["estimator=centered", "estimator=backprop"]
    assert found.groups[1].folders == tuple(made[1:])
    assert list(found.differing) == ["learning.estimator"]
    # What has an effect in several settings is told for those.
    made.append(folder(tmp_path / "ep-2", 0, [0.1], overrides=[*predictive, "learning.beta=0.04"]))
    assert ep.compare(made).differing["learning.beta"] == ["0.02", "–", "0.04"]


def test_a_folder_that_is_no_run_is_told_what_is(tmp_path: Path) -> None:
    with pytest.raises(ep.EpgraphError, match="name a folder that 'epgraph train' or 'epgraph sweep' left"):
        ep.compare(tmp_path)
    with pytest.raises(ep.EpgraphError, match=r"^\. is no run folder: it has no run\.json"):
        ep.report(".")
    with pytest.raises(ep.EpgraphError, match="of a sweep folder, one of the folders in trials/"):
        ep.evaluate(tmp_path)


def test_what_cannot_be_compared_is_refused(runs: list[Path], tmp_path: Path) -> None:
    unfinished = folder(tmp_path / "unfinished", 9, [0.5], finished=False)
    for paths, metric, message in [
        ([tmp_path / "none"], "test_error", "run.json: cannot be read"),
        ([unfinished], "test_error", "no run has finished, so there is nothing to compare"),
        (runs, "test_loss", "has no test_loss; choose another metric: epoch, test_error, train_loss"),
        (runs, "accuracy", "unknown metric 'accuracy'"),
        ([], "test_error", "no run is named"),
    ]:
        with pytest.raises(ep.EpgraphError) as caught:
            ep.compare(paths, metric=metric)
        assert message in str(caught.value)
    with pytest.raises(ep.EpgraphError, match=r"unknown suffix '\.txt'"):
        ep.compare(runs).write(tmp_path / "a.txt")


def _changed(path: Path, **values: Any) -> None:
    Record.read(path).model_copy(update=values).write(path)


def test_what_the_settings_do_not_say_tells_runs_apart(tmp_path: Path) -> None:
    kinds: dict[str, dict[str, Any]] = {
        "plain": {"data": {"sha256": "0" * 64}},
        "other images": {"data": {"sha256": "1" * 64}},
        "from weights": {"data": {"sha256": "0" * 64}, "weights_from": "/runs/before"},
    }
    paths = []
    for kind, values in kinds.items():
        for seed in (0, 1):
            paths.append(folder(tmp_path / f"{kind} {seed}", seed, [0.5, 0.2 + 0.1 * seed]))
            _changed(paths[-1], **values)
    result = ep.compare(paths)
    assert [list(group.values) for group in result.groups] == [[0, 1]] * 3
    assert result.differing == {
        "data.sha256": ["0" * 12, "1" * 12, "0" * 12],
        "weights": ["–", "–", "those of a run"],
    }


def test_settings_that_changed_within_a_run_are_said(tmp_path: Path) -> None:
    path = folder(tmp_path / "a", 0, [0.5, 0.2])
    later = invocation([])
    later.epoch, later.changed = 1, {"training.learning_rate": (0.1, 0.05), "data.root": ("a", "b"), "threads": (1, 2)}
    _changed(path, history=[invocation([]), later])
    assert ep.compare([path]).notes == (
        f"{path} went on with other settings after epoch 1: training.learning_rate 0.1 to 0.05",
    )


@pytest.mark.parametrize(
    ("errors", "largest", "said"),
    [
        ([0.9, 0.9], None, "{} is at chance on all 2 seeds: it did not train here, so this does not say how much"),
        ([0.9, 0.2], None, "{} is at chance on 1 of 2 seeds (0): it did not train there"),
        ([0.2, 0.21], None, ""),
        ([0.2, 0.21], 0.8, "{} is at chance on all 2 seeds"),  # most examples are of one class
    ],
)
def test_settings_that_did_not_train_are_told_first(
    tmp_path: Path, errors: list[float], largest: float | None, said: str
) -> None:
    runs = [folder(tmp_path / f"a{seed}", seed, [0.5, 0.05 + 0.01 * seed]) for seed in (0, 1)]
    runs += [folder(tmp_path / f"b{seed}", seed, [0.9, error], skip=False) for seed, error in enumerate(errors)]
    for run_folder in runs:
        _changed(run_folder, data={"test": 360, "largest_class": largest})
    result = ep.compare(runs)
    assert [len(group.untrained) for group in result.groups] == [0, sum(e > 0.5 or bool(largest) for e in errors)]
    expected = said.format(result.groups[1].label)
    assert any(line.startswith(expected) for line in result.lines())
    assert result.sentences()[0].startswith(expected)
    assert expected in result.markdown()
    assert ("at chance" in result.markdown()) is bool(said)


def test_what_a_setting_without_edges_does_not_say() -> None:
    assert untrained("without skip", [0, 1, 2, 3, 4], 5, True) == (
        "without skip is at chance on all 5 seeds: it did not train here, so this does not say how much skip helps a "
        "network that trains."
    )
    assert untrained("net", [0], 1, False) == "net is at chance on its one seed, 0: it did not train here."

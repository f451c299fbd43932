"""The section ``data``: what the language takes, what is checked, what is held out, and what a run records."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
import yaml

import epgraph as ep
from epgraph.cli import run
from epgraph.data import DATA_SETS, load_data
from epgraph.data.examples import held_out
from epgraph.language.schema import json_schema
from tests.helpers.runs import assert_same_runs, lines, load_checkpoint, record, stopped_after

NET = """\
epgraph: 2
name: tiny
input: {name: x, shape: [1, 8, 8]}
output: {name: y, classes: 10}
edges: [{from: x, to: y, dense: {}}]
data: DATA
training: {epochs: 3, batch_size: 50, learning_rate: 0.05}
"""


def text(data: str) -> str:
    return NET.replace("DATA", data)


# The language


@pytest.mark.parametrize(
    "written",
    [
        "{name: digits}",
        "{name: cifar10, augment: none, normalization: none, limit: 5, validation: 0.25, seed: 3, root: elsewhere}",
        "{name: 'tensors:a b.npz', normalization: {mean: [0.5, 0, 1], std: [1, 2.5, 3]}, validation: 500}",
        "{normalization: false, validation: null, limit: null}",
        "{}",
    ],
)
def test_what_is_written_is_read(written: str) -> None:
    architecture = ep.load(text(written))
    for complete in (False, True):
        assert ep.load(ep.to_yaml(architecture, complete=complete)) == architecture
    jsonschema.validate(yaml.safe_load(text(written)), json_schema())


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("{nme: digits}", "6:8: unknown key 'nme'; did you mean 'name'?"),
        ("{name: 3}", "6:14: 'name' expects text, found 3"),
        ("{limit: 0}", "6:15: 'limit' must be ≥ 1, found 0"),
        *(
            (
                f"{{validation: {value}}}",
                "6:20: 'validation' expects a fraction between 0 and 1, or a number of examples, found "
                f"{found}; e.g. 0.1, or 5000",
            )
            for value, found in (("0", "0"), ("1.5", "1.5"), ("true", "True"), ("half", "text 'half'"))
        ),
        ("{normalization: true}", "6:23: 'normalization' expects 'published', 'none' or a mapping, found true"),
        ("{normalization: {mean: [1, 2], std: [1]}}", "6:23: 'mean' has 2 numbers and 'std' has 1; "
         "write one of each for every channel"),
        ("{normalization: {mean: [1], std: [0]}}", "6:41: 'std[0]' must be > 0, found 0"),
        ("{normalization: {men: [1]}}", "6:24: unknown key 'men'; did you mean 'mean'?"),
    ],
)  # fmt: skip
def test_mistakes(written: str, message: str) -> None:
    with pytest.raises(ep.EpgraphError) as caught:
        ep.load(text(written))
    assert f"<text>:{message}" in str(caught.value).splitlines()


def test_the_augmentation_stands_here_and_nowhere_else() -> None:
    with pytest.raises(ep.EpgraphError) as caught:
        ep.load(text("{}").replace("epochs: 3", "augment: none"))
    assert str(caught.value) == "<text>:7:12: unknown key 'augment'; it belongs in 'data'"


# What is checked


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("{name: digitz}", "6:14: there is no data set 'digitz'; did you mean 'digits'?"),
        ("{name: cifar100}", "4:28: cifar100 has 100 classes, but the network's output has 10 classes; "
         "write output: {classes: 100}"),
        ("{name: mnist}", "3:25: mnist has examples of shape [1, 28, 28], but the network's input is [1, 8, 8]; "
         "write input: {shape: [1, 28, 28]} or {shape: [1, 32, 32]}"),
        ("{name: digits, augment: {crop: 8}}", "6:38: 'crop' is 8, and the images of digits have 8×8 pixels: "
         "a crop could show nothing of them; write at most 7; an eighth of the width is common"),
        ("{name: digits, normalization: {mean: [1, 2, 3], std: [1, 1, 1]}}",
         "6:44: 'mean' has 3 numbers, and the images of digits have 1 channels; write one number for every channel"),
    ],
)  # fmt: skip
def test_check_finds_what_does_not_fit(written: str, message: str, tmp_path: Path) -> None:
    found = ep.check(text(written))
    assert f"<text>:{message}" in [str(d) for d in found.diagnostics]
    assert not found.ok
    with pytest.raises(ep.EpgraphError) as caught:
        ep.train(text(written), out=tmp_path / "run")
    assert f"<text>:{message}" in str(caught.value).splitlines()
    assert not (tmp_path / "run").exists()
    ep.compile(text(written))  # a network needs no data


def test_what_an_option_names_is_checked_in_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = tmp_path / "net.yaml"
    net.write_text(text("{name: cifar10}"))
    assert run(["train", str(net), "--data", "digitz", "--out", str(tmp_path / "run")]) == 1
    assert "--data digitz: there is no data set 'digitz'; did you mean 'digits'?" in capsys.readouterr().err
    assert run(["check", str(net), "--set", "data.name=digits"]) == 0


def test_the_published_recipes_can_be_written() -> None:
    """Written out, they are what ``published`` means."""
    for name, data_set in DATA_SETS.items():
        recipe = data_set.recipe
        if not recipe.mean:
            continue
        net = text("{}").replace("[1, 8, 8]", str(list(recipe.shape))).replace("10}", f"{recipe.output}}}")
        normalization = {"mean": list(recipe.mean), "std": list(recipe.std)}
        section = {"name": name, "augment": recipe.augmentation.facts(), "normalization": normalization}
        section = yaml.safe_load(json.dumps(section))
        data = ep.load(net.replace("data: {}", f"data: {json.dumps(section)}")).data
        assert data.augmentation == recipe.augmentation
        assert data.normalizing == (recipe.mean, recipe.std)


def test_normalization() -> None:
    plain = load_data("digits", shape=(1, 8, 8), classes=10).train[3][0]
    changed = load_data("digits", shape=(64,), classes=10, normalize=([0.5], [0.25])).train[3][0]
    torch.testing.assert_close(changed, ((plain - 0.5) / 0.25).flatten())


# What is held out


def test_every_class_gives_its_share() -> None:
    labels = np.repeat([0, 1, 2, 3], [600, 300, 90, 10])
    rest, out = held_out(labels, 100, seed=0)
    assert sorted(rest + out) == list(range(1000))
    assert Counter(labels[out].tolist()) == {0: 60, 1: 30, 2: 9, 3: 1}
    assert held_out(labels, 100, seed=0)[1] == out
    assert held_out(labels, 100, seed=1)[1] != out
    # Targets that are no labels are of one class.
    assert len(held_out(np.zeros((50, 3)), 7, seed=0)[1]) == 7


def test_what_is_held_out_does_not_depend_on_the_limit() -> None:
    def load(**options: Any) -> list[set[bytes]]:
        data = load_data("digits", shape=(64,), classes=10, validation=0.2, **options)
        assert data.validation is not None
        return [{x.numpy().tobytes() for x, _ in part} for part in (data.train, data.validation, data.test)]

    train, out, test = load()
    assert (len(train), len(out)) == (1150, 287)
    assert not train & out
    few, some, tests = load(limit=50)
    assert (len(few), len(some), len(tests)) == (50, 50, 50)
    assert few < train
    assert some < out
    assert tests < test
    whole = load_data("digits", shape=(64,), classes=10, validation=287)
    assert whole.facts().items() >= {"train": 1150, "validation": 287, "seed": 0, "test": 360}.items()
    assert whole.sentence().startswith("digits: 1,150 training, 287 validation and 360 test examples of shape [64]")


@pytest.mark.parametrize(("validation", "count"), [(1437, "1,437"), (5000, "5,000"), (0.0001, "0")])
def test_what_cannot_be_held_out(validation: float, count: str, tmp_path: Path) -> None:
    with pytest.raises(ep.EpgraphError) as caught:
        ep.train(text(f"{{name: digits, validation: {validation}}}"), out=tmp_path / "run")
    assert str(caught.value) == (
        f"<text>:6:34: {count} of the 1,437 training examples of digits cannot be validation examples; "
        "take some, and leave some to train on"
    )


# A run


def test_a_run_of_the_file_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.yaml").write_text(text("{name: digits, limit: 60, validation: 0.25, seed: 4, augment: {crop: 1}}"))
    assert run(["train", "net.yaml", "--no-pictures"]) == 0
    assert "digits: 60 training, 60 validation and 60 test examples (limit 60)" in capsys.readouterr().out
    out = Path("runs/tiny-digits")
    found = record(out)
    assert found["settings"]["data"].items() >= {"validation": 0.25, "seed": 4, "root": str(tmp_path / "data")}.items()
    assert found["data"].items() >= {"train": 60, "validation": 60, "augment": {"crop": 1}}.items()
    rows = lines(out)
    best = min(rows, key=lambda row: row["validation_error"])
    assert load_checkpoint(out / "best.pt")["best"] == {"epoch": best["epoch"], "value": best["validation_error"]}
    # From another place, and without a word about the data.
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run(["train", str(tmp_path / out), "--resume", "--epochs", "4", "--no-pictures"]) == 0
    assert record(tmp_path / out)["history"][1]["changed"] == {"training.epochs": [3, 4]}
    capsys.readouterr()
    assert run(["eval", str(tmp_path / out), "--json"]) == 0
    evaluated = json.loads(capsys.readouterr().out)
    assert evaluated["examples"] == 60
    assert evaluated["error"] == lines(tmp_path / out)[-1]["test_error"]
    assert run(["train", str(tmp_path / out), "--resume", "--set", "data.seed=5", "--no-pictures"]) == 1
    assert "data.seed is 4 in the run and 5 now" in capsys.readouterr().err


@pytest.mark.parametrize("batches", [2, 5])
def test_a_run_goes_on_with_the_same_changes(batches: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = tmp_path / "net.yaml"
    net.write_text(text("{name: digits, limit: 170, validation: 0.2, augment: {flip: 0.5, crop: 2}}"))
    command = ["train", str(net), "--no-pictures", "--out"]
    assert run([*command, str(tmp_path / "whole")]) == 0
    with stopped_after(monkeypatch, batches):
        assert run([*command, str(tmp_path / "cut")]) == 130
    assert run([*command, str(tmp_path / "cut"), "--resume"]) == 0
    assert_same_runs(tmp_path / "whole", tmp_path / "cut")


def test_options_override_the_file(tmp_path: Path) -> None:
    net = tmp_path / "net.yaml"
    net.write_text(text("{name: mnist, limit: 60, root: elsewhere, augment: {crop: 3}}"))
    options = ["--data", "digits", "--limit", "70", "--data-root", str(tmp_path), "--no-augment", "--epochs", "1"]
    assert run(["train", str(net), "--out", str(tmp_path / "run"), "--no-pictures", *options]) == 0
    data = record(tmp_path / "run")["settings"]["data"]
    assert data.items() >= {"name": "digits", "limit": 70, "root": str(tmp_path), "augment": "none"}.items()


def test_without_data_there_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ep.EpgraphError) as caught:
        ep.train(text("{}"), out=tmp_path / "run")
    assert str(caught.value) == "no data set is named; write data: {name: digits} in the file, or pass --data digits"


def test_a_number_of_examples_is_whole() -> None:
    with pytest.raises(ep.EpgraphError, match="validation expects a fraction between 0 and 1, or a number of examples"):
        load_data("digits", shape=(64,), classes=10, validation=1.5)

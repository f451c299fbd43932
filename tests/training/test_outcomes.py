"""What an evaluation says of the classes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import epgraph as ep
from epgraph.cli import run
from epgraph.training.evaluate import EvaluateResult
from epgraph.training.outcomes import Tally

LINEAR = """\
epgraph: 2
input: {name: x, shape: [1, 8, 8]}
output: {name: y, classes: 10}
edges: [{from: x, to: y, dense: {}}]
training: {epochs: 3, batch_size: 20, learning_rate: 0.05}
"""


def test_counts_are_those_of_sklearn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from sklearn.metrics import accuracy_score, confusion_matrix, recall_score, top_k_accuracy_score

    trained = ep.train(LINEAR, "digits", out=tmp_path / "run", limit=170, pictures=False, warn=lambda _: None)
    # Without --data: the data of the run, limit included.
    result = ep.evaluate(tmp_path / "run")
    assert isinstance(trained.data, ep.Data)
    x, y = torch.stack([x for x, _ in trained.data.test]), [y for _, y in trained.data.test]
    output = trained.engine(x)
    predicted = output.argmax(1)
    assert result.examples == 170
    assert 0.3 < result.accuracy == pytest.approx(accuracy_score(y, predicted))  # type: ignore[operator]
    assert result.top5 == pytest.approx(top_k_accuracy_score(y, output, k=5))
    assert result.confusion == tuple(map(tuple, confusion_matrix(y, predicted).tolist()))
    assert result.class_accuracy == pytest.approx(recall_score(y, predicted, average=None))
    assert run(["eval", str(tmp_path / "run"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(json.dumps(result.to_dict()))
    assert (printed["accuracy"], printed["classes"]) == (result.accuracy, list("0123456789"))
    assert run(["eval", str(tmp_path / "run")]) == 0
    head, axes, names, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith(f"accuracy {result.accuracy:.2%}, top-5 {result.top5:.2%} on 170 test examples of digits")
    assert axes == "rows: true class, with the share that is right; columns: predicted class"
    assert names.split() == ["class", "accuracy", "predicted", *"0123456789"]
    for i, row in enumerate(rows):
        assert row.split() == [str(i), f"{result.class_accuracy[i]:.1%}", *map(str, result.confusion[i])]


def test_a_hundred_classes_stay_readable() -> None:
    labels = torch.arange(99).repeat(20)  # none of the last class
    output = torch.eye(100)[labels]
    output[labels == 7] = torch.eye(100)[8]
    tally = Tally("y")
    for part in range(2):
        tally.see({"y": output[part::2]}, labels[part::2])
    names = tuple(f"class {i}" for i in range(100))
    result = EvaluateResult("own", 1980, 0.1, 1e-3, 1 / 99, tally.top5, names, tally.confusion)
    assert (result.class_accuracy[7], result.class_accuracy[8], result.class_accuracy[99]) == (0, 1, None)
    _, worst, first, *rest = result.lines()
    assert (worst, first) == ("worst of 99 classes:", "  class 7: 0.0% of 20")
    assert rest[-2:] == ["most frequent confusions:", "  class 7 predicted as class 8: 20 of 20"]
    assert len(rest) < 20


def test_equal_outputs_are_no_five_guesses_more() -> None:
    tally = Tally("y")
    tally.see({"y": torch.ones(10, 10)}, torch.arange(10))
    assert tally.top5 == 0.5

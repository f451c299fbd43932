"""What an evaluation says of the classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

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


PIXELS = """\
epgraph: 2
input: {shape: [3, 4, 4]}
output: {classes: 2}
edges: [{from: x, to: y, dense: {}}]
training: {epochs: 1, batch_size: 4}
data: {name: "folder:PATH"}
"""


def _pictures(path: Path, *classes: str) -> Any:
    """Write two images of each class in both parts; return those of the test, (N, 4, 4, 3)."""
    pixels = np.random.default_rng(0).integers(0, 256, (2 * len(classes), 4, 4, 3)).astype(np.uint8)
    for part in ("train", "test"):
        for number, image in enumerate(pixels):
            folder = path / part / classes[number // 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{number}.png")
    return pixels


def test_other_data_are_seen_as_the_network_has_learnt_to_see(tmp_path: Path) -> None:
    pixels, y = _pictures(tmp_path / "a", "cat", "dog"), np.array([0, 0, 1, 1])
    ep.train(PIXELS.replace("PATH", str(tmp_path / "a")), out=tmp_path / "run", pictures=False, warn=lambda _: None)
    heard: list[str] = []

    def losses(name: str) -> float:
        return ep.evaluate(tmp_path / "run", name, warn=lambda found: heard.extend(map(str, found))).loss

    own = losses(f"folder:{tmp_path / 'a'}")
    assert not heard
    arrays = tmp_path / "a.npz"
    np.savez(arrays, x_train=pixels, y_train=y, x_test=pixels, y_test=y)
    assert losses(f"tensors:{arrays}") == pytest.approx(own)
    (said,) = heard
    assert said.endswith("on which the run was trained; mean [0.5, 0.5, 0.5], deviation [0.5, 0.5, 0.5]")
    # Numbers that are no bytes are taken as they are.
    fractions = pixels.transpose(0, 3, 1, 2) / 127.5 - 1
    np.savez(arrays, x_train=fractions, y_train=y, x_test=fractions, y_test=y)
    heard.clear()
    assert losses(f"tensors:{arrays}") == pytest.approx(own, rel=1e-4)
    assert not heard


def test_classes_with_other_names_are_said(tmp_path: Path) -> None:
    for name, classes in (("a", ("cat", "dog")), ("b", ("dog", "hen"))):
        _pictures(tmp_path / name, *classes)
    ep.train(PIXELS.replace("PATH", str(tmp_path / "a")), out=tmp_path / "run", pictures=False, warn=lambda _: None)
    where = f"folder:{tmp_path / 'b'}"
    with pytest.warns(UserWarning, match=r"\(dog, hen\) are not those of the run \(cat, dog\); label 0 is the first"):
        ep.evaluate(tmp_path / "run" / "best.pt", where)

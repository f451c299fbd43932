"""Data sets of the user's own: registered by name, used as ``--data NAME``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import epgraph as ep
from epgraph.cli import run
from epgraph.data import data_set_names, load_data
from tests.helpers.runs import NET

PLUGIN = """\
import numpy as np
import epgraph as ep

def read(root, download):
    draw = np.random.RandomState(0)
    x, y = draw.randint(0, 256, (60, 8, 8)).astype(np.uint8), np.arange(60) % 10
    return (x[:40], y[:40]), (x[40:], y[40:])

ep.register_dataset("noise-8", read, shape=(1, 8, 8), classes=10, mean=[0.5], std=[0.25])
"""


def test_a_plugin_brings_a_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(PLUGIN)
    Path("net.yaml").write_text(NET)
    assert run(["train", "net.yaml", "--data", "noise-8", "--epochs", "1", "--no-pictures"]) == 1
    assert f"there is no data set 'noise-8'; known: {', '.join(data_set_names()[:12])}" in capsys.readouterr().err
    arguments = ["--data", "noise-8", "--plugin", "own.py"]
    assert run(["train", "net.yaml", *arguments, "--out", "run", "--epochs", "1", "--no-pictures"]) == 0
    assert "noise-8: 40 training and 20 test examples of shape [1, 8, 8], 10 classes" in capsys.readouterr().out
    assert json.loads(Path("run/run.json").read_text())["data"]["mean"] == [0.5]
    assert run(["eval", "run", *arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["examples"] == 20
    assert data_set_names()[-3:] == ("noise-8", "folder:PATH", "tensors:PATH")
    assert run(["train", "--plugin", "own.py", "--help"]) == 0
    assert "noise-8, tensors:PATH (a .npz or .pt), or" in " ".join(capsys.readouterr().out.split())


def register(read: Any, **changed: Any) -> None:
    ep.register_dataset("mine", read, **{"shape": (3, 4, 5), "classes": ["a", "b"], **changed})


def parts(dtype: str = "uint8", labels: Any = (0, 1, 1), stored: tuple[int, ...] = (4, 5, 3)) -> Any:
    part = (np.full((3, *stored), 51).astype(dtype), np.array(labels))
    return lambda root, download: (part, part)


def test_examples_are_prepared_as_registered() -> None:
    register(parts(), mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 1.0))
    data = load_data("mine", shape=(3, 4, 5), classes=2)
    x, y = data.train[2]
    expected = torch.tensor([0.2, 0.0, -0.1])[:, None, None].expand(3, 4, 5)
    torch.testing.assert_close(x, expected)
    assert (y, len(data.test), data.classes) == (1, 3, ("a", "b"))
    register(parts("float32"), bytes=False)
    assert float(load_data("mine", shape=(60,), classes=2).train[0][0].max()) == 51


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda root, download: 1 / 0, "data set 'mine' cannot be read: ZeroDivisionError: division by zero"),
        (lambda root, download: 3, "data set 'mine' cannot be read: TypeError: "),
        (parts("float32"), "data set 'mine' has for images a NumPy ndarray of shape (3, 4, 5, 3) and float32; its"),
        (parts(stored=(5, 4, 3)), "its images should be of shape (N, 4, 5, 3) and uint8"),
        (parts(labels=(0, 1, 2)), "data set 'mine' should have a label from 0 to 1 for each of its images"),
        (parts(labels=(0, 1)), "data set 'mine' should have a label from 0 to 1 for each of its images"),
        (parts(labels=(0.0, 1.0, 1.0)), "data set 'mine' should have a label from 0 to 1 for each of its images"),
    ],
)  # fmt: skip
def test_what_is_read_is_held_to_what_was_registered(read: Any, message: str) -> None:
    register(read)
    with pytest.raises(ep.EpgraphError, match=re.escape(message)):
        load_data("mine", shape=(3, 4, 5), classes=2)


@pytest.mark.parametrize(
    ("name", "changed", "message"),
    [
        ("digits", {}, "'digits' cannot be registered: it is built in; choose another name"),
        ("folder:x", {}, "'folder:x' cannot be registered: it is not a name"),
        ("mine", {"shape": (4, 5)}, "shape must be (1, H, W) or (3, H, W), found (4, 5)"),
        ("mine", {"mean": (0.5,)}, "mean and std need one number a channel (1), and those of std are positive"),
        ("mine", {"mean": (0.5,), "std": (0,)}, "mean and std need one number a channel (1)"),
        ("mine", {"classes": 0}, "classes must be at least 1, found 0"),
        ("mine", {"read": "x"}, "'mine' cannot be registered: expected a function, found text 'x'"),
    ],
)
def test_what_cannot_be_registered(name: str, changed: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"read": parts(), "shape": (1, 4, 5), "classes": 2, **changed}
    with pytest.raises(ep.EpgraphError, match=re.escape(message)):
        ep.register_dataset(name, arguments.pop("read"), **arguments)

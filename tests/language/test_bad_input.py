"""Every mistake gives file:line:column, what was expected and a hint that works; never a traceback."""

from __future__ import annotations

import pickle
import textwrap
import time
from pathlib import Path

import pytest
import torch

import epgraph as ep
from epgraph.cli import run
from epgraph.graph import inspect

GOOD = """\
epgraph: 2
input:  {name: x, shape: [3, 8, 8]}
output: {name: y, classes: 10}
states:
  h1: {channels: 8}
  h2: {channels: 8}
edges:
  - {from: x,  to: h1, conv: {kernel: 3, padding: 1}}
  - {from: h1, to: h2, conv: {kernel: 3, padding: 1, stride: 2}}
  - {from: h2, to: y,  dense: {}}
"""


def test_the_unbroken_file_is_good() -> None:
    assert ep.load(GOOD).states.keys() == {"h1", "h2"}
    assert pickle.loads(pickle.dumps(ep.load(GOOD))) == ep.load(GOOD)


BOMBS = {
    "brackets": "[" * 200_000,
    "closed brackets": "[" * 200_000 + "]" * 200_000,
    "braces": "{a: " * 200_000,
    "dashes": "- " * 200_000,
    "indentation": "".join(" " * i + "a:\n" for i in range(2000)),
    "aliases": "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)),
    "digits": "epgraph: " + "9" * 100_000,
    "null bytes": "epgraph: 2\n\0\n",
    "a long word": "epgraph: 2\n" + "x" * 1_000_000 + ": 1\n",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_quickly(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bomb.yaml"
    path.write_text(BOMBS[name], encoding="utf-8")
    started = time.process_time()
    assert run(["check", str(path)]) == 1
    assert time.process_time() - started < 5  # a hang would take hours; the bar is generous on purpose
    err = capsys.readouterr().err
    assert err.startswith(f"{path}:")
    assert "Traceback" not in err
    assert len(err) < 2000


@pytest.mark.parametrize("content", [b"\xff\xfe\x00epgraph", b"epgraph: 2\nname: \xe9t\xe9\n", bytes(range(256))])
def test_bytes_that_are_not_text(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "binary.yaml"
    path.write_bytes(content)
    assert run(["check", str(path)]) == 1
    assert "UTF-8" in capsys.readouterr().err


def test_a_checkpoint_is_no_network_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "last.pt"
    torch.save({}, path)
    assert run(["check", str(path)]) == 1
    said = f"{path} is an archive, as checkpoints are, and no network file; give the run folder of a checkpoint\n"
    assert capsys.readouterr().err == said


def test_the_place_of_bad_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"epgraph: 2\nname: \xe9t\xe9\n")
    assert run(["check", str(path)]) == 1
    first, *_ = capsys.readouterr().err.splitlines()
    assert first == f"{path}:2:7: the file is not UTF-8 text; save it as UTF-8"


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "nothing.yaml"
    assert run(["check", str(path)]) == 1
    assert capsys.readouterr().err == (
        f"{path}: cannot be read: No such file or directory; give the path of a YAML file\n"
    )


def test_a_folder_instead_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(tmp_path)]) == 1
    assert "cannot be read: it is a directory" in capsys.readouterr().err


def test_anchors_and_aliases_are_fine_in_moderation() -> None:
    text = GOOD.replace("h1: {channels: 8}", "h1: &wide {channels: 8}").replace("h2: {channels: 8}", "h2: *wide")
    assert ep.load(text).states["h2"].channels == 8


def test_yaml_1_2_scalars() -> None:
    text = GOOD + "learning: {beta: 1e-4}\ndynamics: {tolerance: 1.5E-3}\nname: no\n"
    architecture = ep.load(text)
    assert architecture.learning.beta == 1e-4
    assert architecture.dynamics.tolerance == 1.5e-3
    assert architecture.name == "no"


def test_a_state_that_cannot_learn_is_a_warning() -> None:
    text = GOOD.replace("states:\n", "states:\n  dead: {shape: [4]}\n") + "  - {from: x, to: dead, dense: {}}\n"
    architecture, diagnostics = inspect(text)
    assert architecture is not None
    assert [str(d) for d in diagnostics] == [
        "<text>:5:3: state 'dead' has no path to the output 'y', so it learns nothing; "
        "add an edge from it towards 'y', or remove the state"
    ]
    assert diagnostics[0].severity == "warning"


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("learning.beta", "--set learning.beta: expected KEY.PATH=VALUE; e.g. --set learning.beta=0.2"),
        ("learning.beta=-1", "--set learning.beta=-1: 'beta' must be > 0, found -1"),
        ("learning.betta=1", "--set learning.betta=1: unknown key 'betta'; did you mean 'beta'?"),
        (
            "states.h9.channels=3",
            "--set states.h9.channels=3: state 'h9' is unreachable: no path of edges joins it to the input 'x'; "
            "add an edge, e.g. {from: x, to: h9, …}, or remove the state",
        ),
        (
            "edges.9.gain=1",
            "--set edges.9.gain=1: there is no 'edges[9]' in the file; "
            "name keys as in the file, list positions from 0; e.g. edges.0.gain=0.7",
        ),
        (
            "edges.0.gain=[",
            "--set edges.0.gain:2:1: this is not YAML: did not find expected node content; "
            "check brackets, commas and indentation around this line",
        ),
    ],
)
def test_an_override_that_is_wrong(assignment: str, message: str) -> None:
    with pytest.raises(ep.EpgraphError) as caught:
        ep.load(GOOD, [assignment])
    assert str(caught.value) == message


def test_an_override_takes_effect() -> None:
    architecture = ep.load(GOOD, ["learning.beta=0.25", "edges.0.gain=0.9", "dynamics.schedule=coloring"])
    assert architecture.learning.beta == 0.25
    assert architecture.edges[0].gain == 0.9
    assert architecture.dynamics.schedule == "coloring"


def test_python_users_get_the_path_instead_of_a_line() -> None:
    data = {
        "epgraph": 2,
        "input": {"shape": [4]},
        "output": {"classes": 2},
        "edges": [{"from": "x", "to": "z", "dense": {}}],
    }
    architecture = ep.Architecture.model_validate(data)
    with pytest.raises(ep.EpgraphError) as caught:
        ep.build(architecture)
    assert str(caught.value) == textwrap.dedent(
        """\
        edges[0].to: 'to' names no state: 'z'; known: x, y"""
    )


def test_an_edge_out_of_the_output_is_a_warning() -> None:
    architecture, diagnostics = inspect(GOOD + "  - {from: y, to: h1, dense: {}}\n", ["dynamics.schedule=coloring"])
    assert architecture is not None
    assert [(d.severity, d.line, d.hint) for d in diagnostics] == [
        ("warning", 11, "write it into the output; an edge acts both ways")
    ]

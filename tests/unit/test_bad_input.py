"""Every mistake gives file:line:column, what was expected and a hint that works; never a traceback."""

from __future__ import annotations

import textwrap
import time
from pathlib import Path

import pytest

import epgraph as ep
from epgraph.cli import run
from epgraph.graph import inspect

GOOD = """\
epgraph: 1
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


def edit(old: str, new: str) -> str:
    assert GOOD.count(old) == 1, old
    return GOOD.replace(old, new)


# name → (text, the messages it gives, without the name of the file)
CASES: dict[str, tuple[str, list[str]]] = {
    "unknown key": (
        edit("stride: 2", "strid: 2"),
        ["9:54: unknown key 'strid'; did you mean 'stride'?"],
    ),
    "unknown key at the top": (
        GOOD + "dynamic: {}\n",
        ["11:1: unknown key 'dynamic'; did you mean 'dynamics'?"],
    ),
    "unknown key of a state": (
        edit("h1: {channels: 8}", "h1: {chanels: 8}"),
        ["5:8: unknown key 'chanels'; did you mean 'channels'?"],
    ),
    "unknown key near nothing": (
        edit("h1: {channels: 8}", "h1: {channels: 8, zzz: 1}"),
        ["5:21: unknown key 'zzz'; known: channels, shape, activation, bias, learning_rate"],
    ),
    "text is not an integer": (
        edit("kernel: 3, padding: 1, stride", 'kernel: "3", padding: 1, stride'),
        ["9:39: 'kernel' expects an integer, found text '3'"],
    ),
    "true is not an integer": (
        edit("classes: 10", "classes: true"),
        ["3:28: 'classes' expects an integer, found true"],
    ),
    "a fraction is not an integer": (
        edit("classes: 10", "classes: 10.5"),
        ["3:28: 'classes' expects an integer, found 10.5"],
    ),
    "no is text": (
        edit("h1: {channels: 8}", "h1: {channels: 8, bias: no}"),
        ["5:27: 'bias' expects true or false, found text 'no'"],
    ),
    "not positive": (
        edit("h1: {channels: 8}", "h1: {channels: 0}"),
        ["5:18: 'channels' must be ≥ 1, found 0"],
    ),
    "not finite": (
        GOOD + "learning: {beta: .inf}\n",
        ["11:18: 'beta' expects a finite number, found inf"],
    ),
    "negative beta": (
        GOOD + "learning: {beta: -0.1}\n",
        ["11:18: 'beta' must be > 0, found -0.1"],
    ),
    "unknown schedule": (
        GOOD + "dynamics: {schedule: evenodd}\n",
        [
            "11:22: 'schedule' expects 'synchronous', 'even_odd', 'coloring', 'sequential' or 'forward_backward', "
            "found text 'evenodd'; did you mean 'even_odd'?"
        ],
    ),
    "unknown activation": (
        GOOD + "defaults: {activation: tanhh}\n",
        ["11:24: unknown activation 'tanhh'; did you mean 'tanh'?"],
    ),
    "relu without its level": (
        GOOD + "defaults: {activation: relu}\n",
        ["11:24: 'relu' needs its clipping level α; write relu6, or {relu: α}"],
    ),
    "relu with crossed bounds": (
        GOOD + "defaults: {activation: {relu: [5, 1]}}\n",
        ["11:24: relu needs 0 < low ≤ high, found [5, 1]; e.g. {relu: [1, 10]}"],
    ),
    "no classes and no shape": (
        edit("classes: 10", "bias: false"),
        ["3:9: missing key 'classes'; classes: 10 for labels, or shape: [3, 32, 32] for targets of that shape"],
    ),
    "classes and shape": (
        edit("classes: 10", "classes: 10, shape: [10]"),
        [
            "3:9: both 'classes' and 'shape' are given; "
            "classes: 10 for labels, or shape: [3, 32, 32] for targets of that shape"
        ],
    ),
    "unknown cost": (
        edit("classes: 10", "classes: 10, cost: softmax"),
        [
            "3:38: 'cost' expects 'squared_error', 'cross_entropy' or 'softmax_readout', found text 'softmax'; "
            "did you mean 'softmax_readout'?"
        ],
    ),
    "a state that only a readout joins": (
        edit("classes: 10", "classes: 10, cost: softmax_readout").replace(
            "  h2: {channels: 8}\n", "  h2: {channels: 8}\n  h3: {shape: [4]}\n"
        )
        + "  - {from: h3, to: y, dense: {}}\n",
        [
            "7:3: state 'h3' is unreachable: no path of edges joins it to the input 'x'; "
            "add an edge, e.g. {from: x, to: h3, …}, or remove the state"
        ],
    ),
    "options of an activation": (
        GOOD + "defaults: {activation: {softclip: {sharp: 3}}}\n",
        ["11:24: unknown option 'sharp' of softclip; did you mean 'sharpness'?"],
    ),
    "more bits than there are": (
        GOOD + "dynamics: {state_bits: 25}\n",
        ["11:24: 'state_bits' must be ≤ 24, found 25"],
    ),
    "a flow beyond the value": (
        GOOD + "dynamics: {flow: 1.5}\n",
        ["11:18: 'flow' must be ≤ 1, found 1.5"],
    ),
    "missing end": (
        edit("{from: h2, to: y,  dense: {}}", "{from: h2, dense: {}}"),
        ["10:5: missing key 'to'; an edge needs both ends: from and to"],
    ),
    "end that names no state": (
        edit("to: h2, conv", "to: h3, conv"),
        ["9:20: 'to' names no state: 'h3'; known: x, h1, h2, y"],
    ),
    "no kind": (
        edit("dense: {}", "gain: 1"),
        [
            "10:5: an edge holds exactly one kind, found none; "
            "one of: conv, skip, identity, dense, conv_transpose, pool, lateral, self, memory; "
            "e.g. conv: {kernel: 3, padding: 1}"
        ],
    ),
    "two kinds": (
        edit("dense: {}", "dense: {}, skip: {}"),
        [
            "10:5: an edge holds exactly one kind, found 'skip' and 'dense'; "
            "one of: conv, skip, identity, dense, conv_transpose, pool, lateral, self, memory; "
            "e.g. conv: {kernel: 3, padding: 1}"
        ],
    ),
    "shape mismatch, stride": (
        edit("h2: {channels: 8}", "h2: {shape: [8, 8, 8]}"),
        ["9:30: shape mismatch: conv h1→h2 gives 8×4×4 from 8×8×8, but the target is 8×8×8; stride: 1 would fit"],
    ),
    "shape mismatch, padding": (
        edit("to: h1, conv: {kernel: 3, padding: 1}", "to: h1, conv: {kernel: 3}").replace(
            "h1: {channels: 8}", "h1: {shape: [8, 8, 8]}"
        ),
        ["8:30: shape mismatch: conv x→h1 gives 8×6×6 from 3×8×8, but the target is 8×8×8; padding: 1 would fit"],
    ),
    "shape mismatch between two edges": (
        GOOD + "  - {from: x, to: h2, skip: {}}\n",
        [
            "11:29: shape mismatch: skip x→h2 gives 8×8×8 from 3×8×8, but the target is 8×4×4 "
            "(fixed by the edge h1→h2); stride: 2 would fit"
        ],
    ),
    "an edge from the small state to the large": (
        GOOD + "  - {from: h2, to: h1, skip: {}}\n",
        [
            "11:30: shape mismatch: skip h2→h1 gives 8×4×4 from 8×4×4, but the target is 8×8×8 "
            "(fixed by the edge x→h1); write it from the larger state, with stride: 2; an edge acts both ways"
        ],
    ),
    "a misspelt option says nothing about shapes": (
        edit("stride: 2", "strid: 2") + "  - {from: x, to: h2, skip: {stride: 2}}\n",
        ["9:54: unknown key 'strid'; did you mean 'stride'?"],
    ),
    "identity between different shapes": (
        GOOD + "  - {from: h1, to: h2, identity: {}}\n",
        [
            "11:34: shape mismatch: identity h1→h2 gives 8×8×8 from 8×8×8, but the target is 8×4×4 "
            "(fixed by the edge h1→h2); use 'skip: {stride: 2}' (a 1×1 convolution) between different shapes"
        ],
    ),
    "convolution of a vector": (
        edit("shape: [3, 8, 8]", "shape: [192]"),
        [
            "8:30: shape mismatch: conv x→h1 needs a source of channels×height×width, but the source is 192; "
            "write its shape as [channels, height, width], or use 'dense: {}'"
        ],
    ),
    "kernel too large": (
        edit("to: h1, conv: {kernel: 3, padding: 1}", "to: h1, conv: {kernel: 9}"),
        [
            "8:30: shape mismatch: conv x→h1 has a kernel of 9 with padding 0, which does not fit into 3×8×8; "
            "use a smaller kernel, more padding or no pooling"
        ],
    ),
    "convolution into the output": (
        edit("to: y,  dense: {}", "to: y,  conv: {kernel: 1}"),
        [
            "10:30: shape mismatch: conv h2→y gives 10×4×4 from 8×4×4, but the target is 10; "
            "use 'dense: {}' to reach a state that is not an image"
        ],
    ),
    "size that nothing fixes": (
        edit("conv: {kernel: 3, padding: 1, stride: 2}", "dense: {}"),
        [
            "6:3: the height and width of state 'h2' do not follow from its edges; "
            "give it shape: [8, H, W], or [8] for units without pixels"
        ],
    ),
    "shape and channels": (
        edit("h1: {channels: 8}", "h1: {channels: 8, shape: [8, 8, 8]}"),
        [
            "5:7: both 'shape' and 'channels' are given; "
            "keep 'shape', or keep 'channels' and let the edges give height and width"
        ],
    ),
    "duplicate state": (
        edit("h2: {channels: 8}", "h1: {channels: 8}").replace("to: h2", "to: h1 ").replace("from: h2", "from: h1"),
        [
            "6:3: duplicate name 'h1'; it is already used at line 5, column 3",
            "9:20: self-loop: the edge joins 'h1' to itself, which makes Φ quadratic in that state "
            "and its update no longer the minimiser of F; join it to another state, "
            "or write {at: h1, self: {}} in its place",
        ],
    ),
    "state named like the input": (
        edit("h1: {channels: 8}", "x: {channels: 8}\n  h1: {channels: 8}"),
        ["5:3: duplicate name 'x': the input has it; choose another name"],
    ),
    "duplicate edge name": (
        edit("dense: {}", "dense: {}, name: a").replace("stride: 2}", "stride: 2}, name: a"),
        ["10:41: duplicate name 'a': edges[1] has it; choose another name, or leave it out"],
    ),
    "not a name": (
        edit("h1: {channels: 8}", "h1: {channels: 8}\n  a.b: {channels: 8}"),
        [
            "6:3: 'a.b' is not a name; a name is a letter followed by at most 63 letters, digits or '_'",
        ],
    ),
    "unreachable state": (
        edit("h2: {channels: 8}", "h2: {channels: 8}\n  h3: {channels: 8}"),
        [
            "7:3: state 'h3' is unreachable: no path of edges joins it to the input 'x'; "
            "add an edge, e.g. {from: x, to: h3, …}, or remove the state"
        ],
    ),
    "output not reachable": (
        edit("  - {from: h2, to: y,  dense: {}}\n", ""),
        [
            "3:1: the output 'y' is not reachable from the input 'x'; "
            "add an edge into 'y' from a state that the input reaches"
        ],
    ),
    "self-loop": (
        GOOD + "  - {from: h1, to: h1, identity: {}}\n",
        [
            "11:20: self-loop: the edge joins 'h1' to itself, which makes Φ quadratic in that state "
            "and its update no longer the minimiser of F; join it to another state, "
            "or write {at: h1, self: {}} in its place"
        ],
    ),
    "empty file": ("", ["1:1: the file is empty; start with 'epgraph: 1'; see examples/"]),
    "only comments": ("# nothing\n\n", ["1:1: the file is empty; start with 'epgraph: 1'; see examples/"]),
    "a list": ("- a\n- b\n", ["1:1: expected a mapping of keys, found a list; start with 'epgraph: 1'"]),
    "not YAML": (
        "epgraph: 1\nedges: [a, b\nstates: {}\n",
        [
            "3:7: this is not YAML: did not find expected ',' or ']'; "
            "check brackets, commas and indentation around this line"
        ],
    ),
    "tabs": (
        "epgraph: 1\ninput:\n\tname: x\n",
        [
            "3:1: this is not YAML: found character that cannot start any token; "
            "check the quotes, brackets and indentation here"
        ],
    ),
    "a tag": (
        "epgraph: 1\nname: !!python/object/apply:os.system ['id']\n",
        [
            "2:7: the tag 'tag:yaml.org,2002:python/object/apply:os.system' is not allowed; "
            "remove it; the language has no tags"
        ],
    ),
    "a custom tag": (
        "epgraph: 1\nname: !secret net\n",
        ["2:7: the tag '!secret' is not allowed; remove it; the language has no tags"],
    ),
    "two documents": (
        GOOD + "---\nepgraph: 1\n",
        ["11:1: a second document begins here; one file holds one network"],
    ),
    "alias to itself": (
        "epgraph: 1\nedges: &a [*a]\n",
        ["2:12: the alias '*a' refers to itself; write the value out"],
    ),
    "alias without anchor": (
        "epgraph: 1\nedges: [*a]\n",
        ["2:9: the alias '*a' has no anchor before it; write the value out"],
    ),
    "key that is a list": (
        "epgraph: 1\n? [a]\n: 1\n",
        ["2:3: a key must be text; put the key in quotes"],
    ),
    "an absurd number": (
        edit("classes: 10", "classes: 1" + "0" * 50),
        ["3:28: 'classes' must be ≤ 16,777,216, found 10000000000000000000… (51 digits)"],
    ),
    "a newer language": (
        edit("epgraph: 1", "epgraph: 2"),
        ["1:10: this file is written in language version 2, and this epgraph reads version 1; upgrade epgraph"],
    ),
    "no version": (
        edit("epgraph: 1\n", ""),
        ["1:1: missing key 'epgraph'; write 'epgraph: 1' at the top"],
    ),
    "no edges": (
        GOOD.split("edges:")[0],
        ["1:1: missing key 'edges'; e.g. edges: [{from: x, to: y, dense: {}}]"],
    ),
    "nesterov without momentum": (
        GOOD + "training: {momentum: 0}\n",
        ["11:11: Nesterov's momentum needs a momentum above 0; set nesterov: false, or momentum: 0.9"],
    ),
    "many mistakes at once": (
        edit("kernel: 3, padding: 1, stride", 'kernel: "3", padding: 1, stride')
        .replace("h1: {channels: 8}", "h1: {channels: 8, activaton: tanh}")
        .replace("classes: 10", "classes: -1")
        + "  - {from: h1, to: nowhere, skip: {}}\n"
        + "dynamics: {free_step: 3}\n",
        [
            "3:28: 'classes' must be ≥ 1, found -1",
            "5:21: unknown key 'activaton'; did you mean 'activation'?",
            "9:39: 'kernel' expects an integer, found text '3'",
            "12:12: unknown key 'free_step'; did you mean 'free_steps'?",
        ],
    ),
    "schema and graph mistakes at once": (
        edit("h1: {channels: 8}", "h1: {channels: 8, activaton: tanh}")
        + "  - {from: h1, to: nowhere, skip: {}}\n  - {from: h1, to: h1, skip: {}, gaim: 1}\n",
        [
            "5:21: unknown key 'activaton'; did you mean 'activation'?",
            "11:20: 'to' names no state: 'nowhere'; known: x, h1, h2, y",
            "12:20: self-loop: the edge joins 'h1' to itself, which makes Φ quadratic in that state "
            "and its update no longer the minimiser of F; join it to another state, "
            "or write {at: h1, self: {}} in its place",
            "12:34: unknown key 'gaim'; did you mean 'gain'?",
        ],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_message(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, expected = CASES[name]
    path = tmp_path / "net.yaml"
    path.write_text(text, encoding="utf-8")
    assert run(["check", str(path)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [f"{path}:{line}" for line in expected]


def test_the_unbroken_file_is_good() -> None:
    assert ep.load(GOOD).states.keys() == {"h1", "h2"}


BOMBS = {
    "brackets": "[" * 200_000,
    "closed brackets": "[" * 200_000 + "]" * 200_000,
    "braces": "{a: " * 200_000,
    "dashes": "- " * 200_000,
    "indentation": "".join(" " * i + "a:\n" for i in range(2000)),
    "aliases": "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)),
    "digits": "epgraph: " + "9" * 100_000,
    "null bytes": "epgraph: 1\n\0\n",
    "a long word": "epgraph: 1\n" + "x" * 1_000_000 + ": 1\n",
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


@pytest.mark.parametrize("content", [b"\xff\xfe\x00epgraph", b"epgraph: 1\nname: \xe9t\xe9\n", bytes(range(256))])
def test_bytes_that_are_not_text(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "binary.yaml"
    path.write_bytes(content)
    assert run(["check", str(path)]) == 1
    assert "UTF-8" in capsys.readouterr().err


def test_the_place_of_bad_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"epgraph: 1\nname: \xe9t\xe9\n")
    assert run(["check", str(path)]) == 1
    assert capsys.readouterr().err == f"{path}:2:7: the file is not UTF-8 text; save it as UTF-8\n"


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "nothing.yaml"
    assert run(["check", str(path)]) == 1
    assert capsys.readouterr().err == (
        f"{path}: cannot be read: No such file or directory; give the path of a YAML file\n"
    )


def test_a_folder_instead_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(tmp_path)]) == 1
    assert "cannot be read: Is a directory" in capsys.readouterr().err


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
        "<text>:5:3: state 'dead' has no path to the output 'y', so nothing it holds can be learnt; "
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
        "epgraph": 1,
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
    architecture, diagnostics = inspect(GOOD + "  - {from: y, to: h1, dense: {}}\n")
    assert architecture is not None
    assert [(d.severity, d.line, d.hint) for d in diagnostics] == [
        ("warning", 11, "an edge acts both ways; write it into the output")
    ]

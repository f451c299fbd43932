"""Mistakes in blocks, expressions and patterns: said once, where they stand, with a hint and the way to the place."""

from __future__ import annotations

from pathlib import Path

import pytest

from epgraph.errors import EpgraphError
from epgraph.graph import inspect

GOOD = """\
epgraph: 2
input:  {name: x, shape: [3, 16, 16]}
output: {name: y, classes: 10}
defaults: {conv: {kernel: 3, padding: 1}}
parameters: {widths: [8, 16, 32]}
blocks:
  residual:
    parameters: {channels: 64, stride: 2}
    ports: [other]
    states:
      a: {channels: $channels}
      b: {channels: $channels}
    edges:
      - {from: in, to: a, conv: {}}
      - {from: a, to: b, conv: {stride: $stride}}
      - {from: in, to: b, skip: {stride: $stride}}
states:
  h: {block: residual, from: x, repeat: 3, with: {channels: {each: $widths}}}
groups:
  late: [h2.*, h3.b]
edges:
  - {from: h, to: y, dense: {}}
"""

IN_H1 = " [in block 'residual' as h1, at net.yaml:18:3; and 2 more instances]"
NOT_CLOSED = "the bracket of '$(' is not closed; end the expression with ')', and put one with commas in quotes"
WITH = "with: {channels: {each: $widths}}"

CASES: list[tuple[str, str, list[str]]] = [
    ("a: {channels: $channels}", "a: {channels: $chanels}",
     [f"11:21: there is no parameter 'chanels'; did you mean 'channels'?{IN_H1}"]),
    ("to: a, conv: {}", "to: a, conv: {strid: 1}", [f"14:34: unknown key 'strid'; did you mean 'stride'?{IN_H1}"]),
    ("{from: in, to: a", "{from: inn, to: a", [f"14:16: 'from' names no state: 'inn'; did you mean 'in'?{IN_H1}"]),
    ("a: {channels: $channels}", "a: {block: residual, from: in}",
     [f"11:18: block 'residual' contains itself: residual → residual; leave one of these instances out{IN_H1}"]),
    ("block: residual", "block: residul", ["18:14: there is no block 'residul'; did you mean 'residual'?"]),
    ("from: x, repeat", "repeat",
     ["18:3: the port 'in' of block 'residual' is bound to no state; write from: … at the instance"]),
    ("{from: in, to: a", "{from: other, to: a",
     ["18:3: the port 'other' of block 'residual' is bound to no state; write ports: {other: …} at the instance"]),
    ("from: x, repeat: 3", "from: x, channels: 3, repeat: 3",
     ["18:33: unknown key 'channels'; it is a parameter: write with: {channels: …}"]),
    (WITH, "with: {chanels: 3}", ["18:51: block 'residual' has no parameter 'chanels'; did you mean 'channels'?"]),
    ("repeat: 3", "repeat: 4", ["18:68: 'each' needs one value for each of 4 instances, found 3"]),
    (WITH, 'with: {channels: "$(widths[7])"}', ["18:61: the list has no entry of that number (the first is 0)"]),
    (WITH, "with: {channels: $(widths[0])}",
     ["18:69: this is not YAML: did not find expected ',' or '}'; put an expression with brackets, commas or "
      "': ' in quotes: \"$(widths[0])\""]),
    ("from: h, to", "from: h7.b, to", ["22:12: 'from' names no state: 'h7.b'; did you mean 'h3.b'?"]),
    ("from: h, to", "from: z*, to",
     ["22:12: 'z*' matches no state; states are called e.g. h1.a, h1.b, h2.a, h2.b"]),
    ("from: h, to: y", "from: late, to: y, name: foo",
     ["22:31: one name for 3 edges: 'foo'; leave it out: each is called '<from>_<to>'"]),
    ("[h2.*, h3.b]", "[late]", ["20:9: group 'late' contains itself: late → late; leave it out"]),
    ("padding: 1}}", "paddin: 1}}", ["4:30: unknown key 'paddin'; did you mean 'padding'?"]),
    ("kernel: 3", 'kernel: "3"', ["4:27: 'kernel' expects an integer, found text '3'; write 3 without quotes"]),
    ("epgraph: 2", "epgraph: 1",
     ["1:10: this file is written in language version 1, and this epgraph reads version 2; "
      "write 'epgraph: 2', and '$$' for a dollar sign that begins no expression"]),
    ("states:\n  h:", "states:\n  h2_a: {channels: 3}\n  h:",
     ["11:7: duplicate name 'h2_a': a state at net.yaml:18:3 has it; choose another name "
      "[in block 'residual' as h2, at net.yaml:19:3]"]),
    ("    states:", "    stats:",
     ["10:5: unknown key 'stats'; did you mean 'states'?"]),
    ("states:\n  h:",
     "  spare:\n    states: {q: {chanels: 3}}\n    edges: [{from: in, to: q, conv: {stride: true}}]\nstates:\n  h:",
     ["17:3: block 'spare' is not used; e.g. states: {h: {block: spare, from: …}}, or remove it",
      "18:18: unknown key 'chanels'; did you mean 'channels'? [in block 'spare', which is not used]",
      "19:46: 'stride' expects an integer, found true [in block 'spare', which is not used]"]),
    ("stride: $stride}", "stride: $(min(stride, 2))}",
     [f"15:41: {NOT_CLOSED}{IN_H1}"]),
    ("a: {channels: $channels}", "a: {channels: $(max(channels, min(2, i)))}",
     [f"11:21: {NOT_CLOSED}{IN_H1}"]),
    ("{widths: [8, 16, 32]}", "{widths: [8, $(min(16, 20)), 32]}",
     [f"5:26: {NOT_CLOSED}"]),
    ("with: {channels: {each: $widths}}", "with: {channels: $(max(8, 16))}",
     ["18:74: text '16))' is not a name; put an expression with commas in quotes"]),
    ("a: {channels: $channels}", "a: {channels: $(max(channels}",
     [f"11:21: {NOT_CLOSED}{IN_H1}"]),
    ("a: {channels: $channels}", "a: {channels: $(2 ^ i)}",
     [f"11:21: '^' is no operator of expressions; a power is '**': $(2 ** i){IN_H1}"]),
    ("a: {channels: $channels}", "a: {channels: $channels-1}",
     ["11:21: 'channels' expects an integer, found text '8-1'; write $(channels - 1) [$channels is given at "
      "net.yaml:18:68; $widths is given at net.yaml:5:22; in block 'residual' as h1, at "
      "net.yaml:18:3; and 2 more instances]"]),
    ("widths: [8, 16, 32]}", "widths: [8, 16, 32], wide: '16'}\ndynamics: {free_steps: $wide}",
     ["6:24: 'free_steps' expects an integer, found text '16'; write 16 without quotes [$wide is given at "
      "net.yaml:5:41]"]),
    ("with: {channels: {each: $widths}}", "with: {channels: $widths}",
     [f"{line}:21: 'channels' expects an integer, found a list; to give one value to each instance write channels: "
      "{each: $widths} [$channels is given at net.yaml:18:61; $widths is given at net.yaml:5:22; in block 'residual' "
      "as h1, at net.yaml:18:3; and 2 more instances]" for line in (11, 12)]),
    ("to: y, dense: {}", "to: y, dense: {}, gain: widths",
     ["22:39: 'gain' expects a number, found text 'widths'; write $widths for the parameter"]),
    ("ports: [other]", "ports: [in, other]",
     ["9:13: the port 'in' is always there; leave it out; use from at the instance to bind it"]),
    ("ports: [other]", "ports: [other, other]", ["9:20: duplicate name 'other': another port has it; leave it out"]),
    ("from: x, repeat: 3", "from: x, ports: {in: x}, repeat: 3",
     ["18:41: the port 'in' is bound by 'from'; use from in place of ports: {in: …}"]),
]  # fmt: skip


def messages(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    Path("net.yaml").write_text(text, encoding="utf-8")
    try:
        _, diagnostics = inspect("net.yaml")
    except EpgraphError as error:
        diagnostics = list(error.diagnostics)
    ordered = sorted(diagnostics, key=lambda d: (d.line or 0, d.column or 0))
    return [str(d).removeprefix("net.yaml:") for d in ordered]


def test_the_unbroken_file_is_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert messages(GOOD + "dynamics: {schedule: coloring}\n", tmp_path, monkeypatch) == []


@pytest.mark.parametrize(("old", "new", "expected"), CASES, ids=[new.split("\n")[0] for _, new, _ in CASES])
def test_message(old: str, new: str, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert old in GOOD
    assert messages(GOOD.replace(old, new, 1), tmp_path, monkeypatch) == expected


def test_one_broken_block_does_not_hide_another_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = GOOD.replace("$stride}}\n      - {from: in", "$strid}}\n      - {from: in", 1) + "training: {epoch: 3}\n"
    assert messages(text, tmp_path, monkeypatch) == [
        f"15:41: there is no parameter 'strid'; did you mean 'stride'?{IN_H1}",
        "23:12: unknown key 'epoch'; did you mean 'epochs'?",
    ]


@pytest.mark.parametrize("wrong", ["with: {chanels: 8}", "ports: {othr: x}", "repet: 2", "repeat: $(3 -)"])
def test_a_wrong_instance_leaves_its_block_checked(wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = GOOD.replace("to: a, conv: {}", "to: a, conv: {strid: 1}").replace(f"repeat: 3, {WITH}", wrong)
    text = text.replace("late: [h2.*, h3.b]", "late: [h.*]")
    found = [message for message in messages(text, tmp_path, monkeypatch) if "parameter 'widths'" not in message]
    assert found[0].startswith("14:34: unknown key 'strid'; did you mean 'stride'? [in block 'residual'")
    assert not any("not used" in message for message in found)
    assert found[1].startswith("18:")


def test_what_is_set_wrong_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.yaml").write_text(GOOD, encoding="utf-8")
    top, rest = GOOD.split("states:\n  h:")
    Path("blocks.yaml").write_text(top, encoding="utf-8")
    Path("more.yaml").write_text(f"epgraph: 2\ninclude: [blocks.yaml]\nstates:\n  h:{rest}", encoding="utf-8")
    for file in ("net.yaml", "more.yaml"):
        for assignment, expected in {
            "blocks.residual.states.a.activation=rellu": "unknown activation",
            "blocks.residual.states.a.chanels=3": "unknown key 'chanels'",
            "blocks.residual.edges.0.conv.kernel=big": "'kernel' expects an integer",
            "states.k.chanels=3": "unknown key 'chanels'",
        }.items():
            _, found = inspect(file, [assignment])
            texts = [str(d) for d in found if d.severity == "error" and expected.split("'")[0] in d.message]
            assert len(texts) == 1, [str(d) for d in found]
            assert texts[0].startswith(f"--set {assignment}: {expected}")


def test_a_mistake_of_many_instances_is_one() -> None:
    """Also of more than are explained one by one."""
    text = (
        "epgraph: 2\ninput: {shape: [4]}\noutput: {classes: 2}\n"
        "blocks: {b: {states: {s: {shape: [4]}}, edges: [{from: in, to: s, lateral: {kernal: 3}}]}}\n"
        "states: {h: {block: b, from: x, repeat: 1300}}\nedges: [{from: h, to: y, dense: {}, gian: 1}]\n"
    )
    _, found = inspect(text)
    assert [d.message for d in found] == ["unknown key 'kernal'", "unknown key 'gian'"]
    assert found[0].trail[-1] == "and 1299 more instances"

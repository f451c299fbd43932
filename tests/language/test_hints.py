"""Hints that used to fail when they were followed: what is said, and that the file is right once it is done."""

from __future__ import annotations

import shlex

import pytest

import epgraph as ep
from epgraph.errors import EpgraphError
from epgraph.graph import inspect

HEAD = """\
epgraph: 2
input:  {shape: [1, 8, 8]}
output: {classes: 2}
states: {h: {channels: 3}, b: {channels: 3}}
edges:
  - {from: x, to: h, conv: {kernel: 3, padding: 1}}
  - {from: h, to: b, conv: {kernel: 3, padding: 1}, name: up}
  - {from: b, to: y, dense: {}, name: out}
"""
BLOCK = """\
epgraph: 2
input:  {shape: [1, 8, 8]}
output: {classes: 2}
blocks:
  layer:
    states: {s: {channels: 3}, t: {channels: 3}}
    edges:
      - {from: in, to: s, conv: {kernel: 3, padding: 1}}
      - {from: s, to: t, conv: {kernel: 3, padding: 1}}
      - {EDGE}
states: {h: {block: layer, from: x, repeat: 2}}
edges: [{from: h, to: y, dense: {}}]
"""


def hint(text: str) -> str:
    """The hint of the one mistake of a file."""
    _, found = inspect(text)
    errors = [d for d in found if d.severity == "error"]
    assert len(errors) == 1, errors
    return errors[0].hint


# What is written, what the hint says, and what is written once it has been followed.
EDGES = {
    "a loop": (
        "from: b, to: b, dense: {}",
        "join it to another state, or write {at: b, self: {}} in its place",
        "at: b, self: {}",
    ),
    "a loop with a kernel": (
        "from: b, to: b, conv: {kernel: 3, padding: 1}",
        "join it to another state, or write {at: b, self: {kernel: 3}} in its place",
        "at: b, self: {kernel: 3}",
    ),
    "a loop with a kernel along the rows": (
        "from: b, to: b, lateral: {kernel: [1, 5]}",
        "join it to another state, or write {at: b, self: {kernel: 5}} in its place",
        "at: b, self: {kernel: 5}",
    ),
    "a loop at the input": ("from: x, to: x, dense: {}", "join it to another state", "from: x, to: b, dense: {}"),
    "one state twice": (
        "from: b, to: b, self: {}",
        "write at: b in place of from and to",
        "at: b, self: {}",
    ),
    "two states": (
        "from: h, to: b, self: {}",
        "write at: h or at: b in place of from and to",
        "at: h, self: {}",
    ),
    "the input": ("from: x, to: y, self: {}", "write at: y in place of from and to", "at: y, self: {}"),
    "one end": ("from: h, self: {}", "'self' acts on one state: write at in place of from", "at: h, self: {}"),
    "the other end": (
        "to: h, memory: {patterns: 3}",
        "'memory' acts on one state: write at in place of to",
        "at: h, memory: {patterns: 3}",
    ),
    "channels of a pooled state": (
        "from: x, to: b, pool: {kind: max, size: 1}",
        "pooling keeps the channels: give both states 1, or use 'conv: {kernel: 1, stride: 1}'",
        "from: x, to: b, conv: {kernel: 1, stride: 1}",
    ),
    "a tie of two matrices": (
        "from: h, to: y, dense: {}, tie: skip}\n  - {from: x, to: y, dense: {}, name: skip",
        "give both edges states of equal shapes, or leave 'tie' out",
        "from: h, to: y, dense: {}, tie: out",
    ),
    "a tie of two kernels": (
        "from: h, to: b, conv: {kernel: 5, padding: 2}, tie: up",
        "give both edges states of equal channels and kernels of equal size, or leave 'tie' out",
        "from: h, to: b, conv: {kernel: 3, padding: 1}, tie: up",
    ),
    "fc": ("from: h, to: b, fc: {}", "did you mean 'dense'?", "from: h, to: b, dense: {}"),
    "lr": ("from: h, to: b, dense: {}, lr: 1", "did you mean 'learning_rate'?", "from: h, to: b, skip: {}"),
}


@pytest.mark.parametrize("name", EDGES)
def test_edges(name: str) -> None:
    wrong, said, right = EDGES[name]
    assert hint(f"{HEAD}  - {{{wrong}}}\n") == said
    ep.load(f"{HEAD}  - {{{right}}}\n")


IN_BLOCKS = {
    "from: s, to: s, conv: {kernel: 3, padding: 1}": (
        "join it to another state, or write {at: s, self: {kernel: 3}} in its place",
        "at: s, self: {kernel: 3}",
    ),
    "from: s, to: s, lateral: {}": (
        "join it to another state, or write {at: s, self: {}} in its place",
        "at: s, self: {}",
    ),
    "from: s, to: t, self: {}": ("write at: s or at: t in place of from and to", "at: t, self: {}"),
    "from: [s, t], to: t, self: {}": ("write at: [s, t] or at: t in place of from and to", "at: [s, t], self: {}"),
}


@pytest.mark.parametrize("wrong", IN_BLOCKS)
def test_names_of_a_block_are_its_own(wrong: str) -> None:
    said, right = IN_BLOCKS[wrong]
    assert hint(BLOCK.replace("EDGE", wrong)) == said
    ep.load(BLOCK.replace("EDGE", right))


def test_a_readout_is_not_proposed() -> None:
    read = HEAD.replace("classes: 2", "classes: 2, cost: softmax_readout")
    assert hint(read + "  - {from: b, to: y, self: {}}\n") == "write at: b in place of from and to"
    nothing = "write at, and the name of a state that moves, in their place"
    assert hint(read + "  - {from: x, to: y, self: {}}\n") == nothing


SECTIONS = {
    "lr": ("training: {lr: 0.1}", "learning_rate"),
    "sigmoid": ("defaults: {activation: sigmoid}", "logistic"),
    "block": ("block: {}", "blocks"),
    "mse": ("output: {classes: 2, cost: mse}", "squared_error"),
    "ce": ("output: {classes: 2, cost: ce}", "cross_entropy"),
    "bptt": ("learning: {estimator: bptt}", "unrolled"),
    "relu2x": ("defaults: {activation: relu2x}", "relu2"),
}


@pytest.mark.parametrize("word", SECTIONS)
def test_words_of_other_software(word: str) -> None:
    written, meant = SECTIONS[word]
    text = HEAD.replace("output: {classes: 2}\n", "") if written.startswith("output") else HEAD
    assert hint(text + written) == f"did you mean '{meant}'?"
    ep.load(text + written.replace(word, meant))


def test_input_and_output_are_called_by_name() -> None:
    assert hint(HEAD + "  - {from: h, to: output, dense: {}}\n") == "did you mean 'y'?"
    assert hint(HEAD + "  - {from: input, to: b, conv: {kernel: 1}}\n") == "did you mean 'x'?"


def test_an_unknown_section_is_told_all_of_them() -> None:
    known = hint(HEAD + "qqqq: {}").removeprefix("known: ").split(", ")
    assert {"parameters", "blocks", "groups", "include"} < set(known)
    assert len(known) == 19


def test_an_unknown_kind_may_be_one_of_a_plugin() -> None:
    said = hint(HEAD + "  - {from: h, to: b, dense: {}, gaussian: {}}\n")
    assert said.startswith("kinds of edges: conv, ")
    assert said.endswith("; one of your own is brought by --plugin FILE")


def test_channels_that_no_edge_gives_are_a_mismatch() -> None:
    text = HEAD.replace("{from: x, to: h, conv: {kernel: 3, padding: 1}}", "{from: x, to: h, pool: {kind: average}}")
    text = text.replace("  - {from: h, to: b, conv: {kernel: 3, padding: 1}, name: up}\n", "").replace(
        ", b: {channels: 3}", ""
    )
    text = text.replace("from: b", "from: h")
    said = "pooling keeps the channels: give both states 1, or use 'conv: {kernel: 1, pool: average}'"
    assert hint(text) == said
    ep.load(text.replace("pool: {kind: average}", "conv: {kernel: 1, pool: average}"))
    ep.load(text.replace("channels: 3", "channels: 1"))


@pytest.mark.parametrize("around", ["input: 3", "output: []", "input: {name: []}", "output: {classes: 2, cost: []}"])
def test_ends_are_said_whatever_the_rest_is(around: str) -> None:
    key = around.partition(":")[0]
    other = "output: {classes: 2}" if key == "input" else "input: {shape: [4]}"
    _, found = inspect(f"epgraph: 2\n{around}\n{other}\nedges: [{{from: x, to: y, self: {{}}}}]\n")
    assert "edge-ends" in [d.rule for d in found]


SET = {
    "name=123E456": ("'name' expects text, found inf", "write --set 'name=\"123E456\"'"),
    "name=12": ("'name' expects text, found 12", "write --set 'name=\"12\"'"),
    "name=true": ("'name' expects text, found true", "write --set 'name=\"true\"'"),
    "name=#x": ("'#' begins a comment, and what follows is not set", "put the value in quotes: --set 'name=\"#x\"'"),
    "name=a #2": (
        "'#' begins a comment, and what follows is not set",
        "put the value in quotes: --set 'name=\"a #2\"'",
    ),
}


@pytest.mark.parametrize("assignment", SET)
def test_text_that_yaml_reads_as_something_else(assignment: str) -> None:
    """The hint says what to type, and what it says is then the name."""
    text = "epgraph: 2\ninput: {shape: [2]}\noutput: {classes: 2}\nedges: [{from: x, to: y, dense: {}}]\n"
    message, hint = SET[assignment]
    with pytest.raises(EpgraphError) as caught:
        ep.load(text, [assignment])
    (found,) = caught.value.diagnostics
    assert str(found) == f"--set {assignment}: {message}; {hint}"
    *_, command = shlex.split(hint)
    assert ep.load(text, [command]).name == assignment.removeprefix("name=")


@pytest.mark.parametrize("value", ["a#2", "'a #2'", '"a #2"', '"#"', "[a, 'b #c']"])
def test_a_hash_that_begins_no_comment(value: str) -> None:
    text = "epgraph: 2\ninput: {shape: [2]}\noutput: {classes: 2}\nedges: [{from: x, to: y, dense: {}}]\n"
    _, found = inspect(text, [f"name={value}"])
    assert [d.message for d in found] == (["'name' expects text, found a list"] if value[0] == "[" else [])


def test_a_comment_behind_a_mapping() -> None:
    with pytest.raises(EpgraphError, match=r"'#' begins a comment, and what follows is not set; leave the comment out"):
        inspect("epgraph: 2\n", ["training={epochs: 3} # few"])


@pytest.mark.parametrize(
    ("section", "hint"),
    [
        (
            "{lr_schedule: cosine}",
            "write schedule: cosine, linear, exponential, constant, {step: {every: 30}} or one_cycle",
        ),
        ("{schedule: cosin}", "did you mean 'cosine'?"),
        ("{schedule: coloring}", "it belongs in 'dynamics'"),
        ("{beta: 0.2}", "it belongs in 'learning'"),
    ],
)
def test_keys_of_training_that_there_are_not(section: str, hint: str) -> None:
    _, found = inspect("examples/digits.yaml", [f"training={section}"])
    assert [d.hint.startswith(hint) for d in found] == [True]


def test_a_message_that_lists_the_words_has_no_hint_with_the_same_list() -> None:
    _, found = inspect("examples/digits.yaml", ["training={optimizer: lion}"])
    assert [d.hint for d in found] == [""]
    assert found[0].message.startswith("'optimizer' expects 'sgd', 'adam', 'adamw'")

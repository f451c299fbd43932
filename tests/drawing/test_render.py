from __future__ import annotations

import json
import os
import random
import re
import stat
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

import epgraph as ep
from epgraph.cli import run
from epgraph.drawing import curves, dot, render
from epgraph.drawing.choose import MAX_LABELED_COLUMNS
from epgraph.drawing.curves import read_metrics
from epgraph.drawing.model import count
from epgraph.drawing.style import ALARM, TINTS
from epgraph.errors import EpgraphError, visible
from epgraph.graph import build, load
from epgraph.language import Architecture, to_yaml
from epgraph.lowering import lower, report

EXAMPLES = Path(__file__).parents[2] / "examples"
SIGNATURES = {
    "png": b"\x89PNG\r\n\x1a\n",
    "pdf": b"%PDF-",
    "svg": b"<?xml",
    "dot": b"digraph",
    "gv": b"digraph",
    "mmd": b"---\ntitle: ",
    "tex": b"% A picture of ",
}


def example(name: str) -> Architecture:
    return load(EXAMPLES / f"{name}.yaml")


def network(edges: list[str], states: str = "a, b, c", name: str = "net", schedule: str = "even_odd") -> Architecture:
    hidden = ", ".join(f"{state.strip()}: {{shape: [4]}}" for state in states.split(",") if state.strip())
    lines = "".join(f"  - {{{edge}}}\n" for edge in edges)
    return load(
        f"epgraph: 2\nname: {json.dumps(name)}\ninput: {{shape: [4]}}\noutput: {{classes: 4}}\n"
        f"states: {{{hidden}}}\ndynamics: {{schedule: {schedule}}}\nedges:\n{lines}"
    )


def chain(length: int, *extra: str, schedule: str = "even_odd") -> Architecture:
    names = ["x", *(f"s{i}" for i in range(length)), "y"]
    edges = [f"from: {i}, to: {j}, dense: {{}}" for i, j in pairwise(names)]
    return network([*edges, *extra], ", ".join(names[1:-1]), schedule=schedule)


def node(source: str, name: str) -> str:
    """The line of DOT that draws a state."""
    return next(line for line in source.splitlines() if re.match(rf'\t"?{name}"? \[', line))


def edges_of(source: str) -> list[str]:
    return [line.strip() for line in source.splitlines() if " -> " in line]


def svg_text(path: Path) -> list[str]:
    return [t.text or "" for t in ET.parse(path).iter("{http://www.w3.org/2000/svg}text")]


@pytest.fixture(autouse=True)
def bundled_graphviz(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw with pygraphviz, whatever programs this machine has."""
    monkeypatch.setattr("shutil.which", lambda *args, **kwargs: None)


@pytest.mark.parametrize("name", ["vgg5", "hopfield_resnet13"])
def test_dot_is_golden(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"{name}.dot", dot(example(name)))


def test_dot_of_proper_schedule_is_golden(golden: Callable[[str, str], None]) -> None:
    golden("hopfield_resnet13_coloring.dot", dot(example("hopfield_resnet13"), "coloring"))


FORWARD = ["from: x, to: a, dense: {}", "from: x, to: b, dense: {}", "from: a, to: c, dense: {}"]
FORWARD += ["from: b, to: c, dense: {}", "from: c, to: y, dense: {}", "from: a, to: y, dense: {}"]


def predictive(schedule: str = "coloring", edges: list[str] = FORWARD) -> Architecture:
    return load(to_yaml(network(edges, schedule=schedule)), ["energy=predictive"])


def test_dot_of_predictive_coding_is_golden(golden: Callable[[str, str], None]) -> None:
    golden("predictive_moral.dot", dot(predictive(), moral=True))


def test_an_energy_that_reads_edges_forward_is_drawn_with_directions() -> None:
    lines = edges_of(dot(predictive()))
    assert len(lines) == len(FORWARD)
    assert all("dir=forward" in line for line in lines)
    assert all("dir=both" in line for line in edges_of(dot(network(FORWARD))))


def test_backpropagation_is_drawn_as_one_forward_pass() -> None:
    """Of a Hopfield file too, whose schedule is not what it computes."""
    architecture = ep.load(EXAMPLES / "digits.yaml", ["learning.estimator=backprop"])
    text = dot(architecture)
    assert "dir=both" in dot(ep.load(EXAMPLES / "digits.yaml"))
    assert "dir=both" not in text
    assert "backpropagation: one forward pass, 5 steps" in text
    assert "MACs per pass" in text
    assert [f"step {i}" in text for i in range(1, 7)] == [True] * 5 + [False]
    assert "class 1" not in text
    with pytest.raises(EpgraphError, match="moral: a forward pass reads states along the edges alone"):
        dot(architecture, moral=True)


def test_moral_draws_the_pairs_that_no_edge_joins() -> None:
    # a and b lead into c. a and c lead into y, and an edge joins them.
    plain, moral = edges_of(dot(predictive())), edges_of(dot(predictive(), moral=True))
    (pair,) = [line for line in moral if line not in plain]
    assert pair.startswith("a -> b [")
    assert "dir=none" in pair
    assert "style=dashed" in pair
    assert ALARM not in pair
    (pair,) = [line for line in edges_of(dot(predictive("synchronous"), moral=True)) if line.startswith("a -> b [")]
    assert ALARM in pair
    chained = predictive(edges=[*FORWARD[:1], "from: a, to: b, dense: {}", *FORWARD[3:5]])
    assert edges_of(dot(chained, moral=True)) == edges_of(dot(chained))
    assert "every two states with edges into one state" in dot(chained, moral=True)


def test_moral_is_refused_where_edges_are_all(tmp_path: Path) -> None:
    with pytest.raises(EpgraphError, match="energy hopfield couples states along their edges alone"):
        render(network(FORWARD), tmp_path / "net.dot", moral=True)
    assert not (tmp_path / "net.dot").exists()
    (tmp_path / "net.yaml").write_text(to_yaml(predictive()), encoding="utf-8")
    assert run(["render", str(tmp_path / "net.yaml"), "--moral", "-o", str(tmp_path / "net.dot")]) == 0
    assert (tmp_path / "net.dot").read_text(encoding="utf-8") == dot(predictive(), moral=True)


def test_dot_does_not_depend_on_the_hash_seed() -> None:
    code = (
        "import sys; from epgraph.graph import load; from epgraph.drawing import dot;"
        "sys.stdout.buffer.write(dot(load(sys.argv[1]), 'coloring').encode())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code, str(EXAMPLES / "hopfield_resnet13.yaml")],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert found == {dot(example("hopfield_resnet13"), "coloring").encode()}


def test_import_is_light() -> None:
    code = (
        "import sys, epgraph.drawing;"
        "print(sorted({'torch', 'matplotlib', 'pygraphviz', 'graphviz', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_drawing_loads_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from epgraph.graph import load; from epgraph.drawing import render;"
        f"render(load({str(EXAMPLES / 'vgg5.yaml')!r}), {str(tmp_path / 'net.svg')!r});"
        "print(sorted({'torch', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("suffix", sorted(SIGNATURES))
def test_render_writes_every_format(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / "made" / "on the way" / f"net.{suffix}"
    assert render(example("vgg5"), str(path)) == path
    assert path.read_bytes().startswith(SIGNATURES[suffix])
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_render_dot_is_the_source(tmp_path: Path) -> None:
    arch = example("vgg5")
    assert render(arch, tmp_path / "net.DOT").read_text(encoding="utf-8") == dot(arch)


def test_svg_names_every_state_and_edge_kind(tmp_path: Path) -> None:
    arch = example("hopfield_resnet13")
    text = svg_text(render(arch, tmp_path / "net.svg"))
    for state in build(arch).states.values():
        assert state.name in text
    assert {"128×16×16", "conv 3×3 /2", "skip 1×1 /2", "dense", "clamped", "output", "relu6", "147k"} <= set(text)
    assert text.count("same class") == 3
    assert any("9,742,858 parameters" in line for line in text)


def test_picture_is_the_same_each_time_in_a_process(tmp_path: Path) -> None:
    # Graphviz and fontconfig keep state from one picture to the next.
    pictures = [render(example("vgg5"), tmp_path / f"{i}.png").read_bytes() for i in range(2)]
    assert pictures[0] == pictures[1]


def test_fonts_leave_the_environment_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FONTCONFIG_FILE", raising=False)
    render(example("vgg5"), tmp_path / "net.svg")
    assert "FONTCONFIG_FILE" not in os.environ


def test_letters_are_drawn_where_the_system_has_no_fonts(tmp_path: Path) -> None:
    # pango draws the same box for every letter that no font has, and then both names look alike.
    code = """
import sys
from epgraph.drawing import fonts, render
from epgraph.graph import load
fonts.SYSTEM = fonts.OF_USER = ()
for name in ("AB", "BA"):
    render(load(sys.argv[1], [f"name={name}"]), f"{sys.argv[2]}/{name}.png")
"""
    env = {key: value for key, value in os.environ.items() if not key.startswith("FONTCONFIG")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(EXAMPLES / "vgg5.yaml"), str(tmp_path)],
        env=env,
        check=True,
        capture_output=True,
    )
    # The system's configuration may be for a newer fontconfig, and each file that is would be a warning.
    assert done.stderr == b""
    assert (tmp_path / "AB.png").read_bytes() != (tmp_path / "BA.png").read_bytes()


HOSTILE = [
    "a < b > c & d",
    "</B></TD></TR></TABLE>> ]; evil [label=1",
    'quotes " and \\" and \' and `',
    "back\\slash \\N \\G \\n \\",
    "\\\\server\\share\\\\\\G",
    "line\nbreak\r\n\ttab",
    "<<B>html</B>>",
    "&amp; &lt; &#60; &nbsp;",
    'charset="latin-1" strict graph { }',
    "zażółć gęślą ジャズ 🧠 \u202eright to left",
    "nul \x00 bell \x07 escape \x1b delete \x7f",
    "lone \ud800 surrogate \uffff",
    "-->]]><!--",
    " ",
    "w" * 200,
]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("suffix", ["svg", "dot", "png"])
def test_any_name_can_be_drawn(name: str, suffix: str, tmp_path: Path) -> None:
    arch = example("vgg5").model_copy(update={"name": name})
    path = render(arch, tmp_path / f"net.{suffix}")
    assert path.read_bytes().startswith(SIGNATURES[suffix])
    if suffix == "svg":
        plain = example("vgg5")
        ids = [g.get("id") for g in ET.parse(path).iter("{http://www.w3.org/2000/svg}g")]
        assert ids == [
            g.get("id") for g in ET.parse(render(plain, tmp_path / "plain.svg")).iter("{http://www.w3.org/2000/svg}g")
        ]


@pytest.mark.parametrize("name", [n for n in HOSTILE if n.strip() and len(n) < 48])
def test_name_is_shown_as_written_and_what_does_not_print_as_an_escape(name: str, tmp_path: Path) -> None:
    arch = example("vgg5").model_copy(update={"name": name})
    path = render(arch, tmp_path / "net.svg")
    assert visible(name) in "".join(svg_text(path))
    assert all(c.isprintable() or c == "\xa0" for c in path.read_text(encoding="utf-8").replace("\n", ""))


def test_long_name_is_broken_into_lines(tmp_path: Path) -> None:
    arch = example("vgg5").model_copy(update={"name": "w" * 200})
    assert svg_text(render(arch, tmp_path / "net.svg")).count("w" * 48) == 4


def test_states_may_be_called_like_words_of_dot(tmp_path: Path) -> None:
    words = ["node", "edge", "graph", "Digraph", "SUBGRAPH", "strict"]
    names = ["x", *words, "y"]
    edges = [f"from: {i}, to: {j}, dense: {{}}" for i, j in pairwise(names)]
    text = svg_text(render(network(edges, ", ".join(words)), tmp_path / "net.svg"))
    assert set(words) <= set(text)


def test_input_output_and_classes_are_marked() -> None:
    source = dot(example("hopfield_resnet13"), "coloring")
    assert "cylinder" in node(source, "x")
    assert "clamped" in node(source, "x")
    assert "class" not in node(source, "x")
    assert "peripheries=2" in node(source, "y")
    assert "squared error" in node(source, "y")
    for state, number in (("h1a", 1), ("h1b", 2), ("h2a", 1), ("h2b", 3), ("y", 1)):
        assert f"class {number}<" in node(source, state)
        assert TINTS[number - 1] in node(source, state)


def test_conflicts_are_marked_by_word_and_color() -> None:
    source = dot(example("hopfield_resnet13"))
    marked = [line.split(" [")[0] for line in edges_of(source) if "same class" in line]
    assert marked == ["h1b -> h2b", "h2b -> h3b", "h3b -> h4b"]
    assert "not proper: 3 edges join" in source
    assert "same class" not in dot(example("hopfield_resnet13"), "coloring")
    assert "3 classes" in dot(example("hopfield_resnet13"), "coloring")
    assert "1 edge joins" in dot(chain(3, "from: s0, to: s2, identity: {}"))


def test_conflict_keeps_the_line_of_its_kind() -> None:
    double = next(line for line in edges_of(dot(chain(3), "synchronous")) if "same class" in line)
    assert 'color="#b3261e:#b3261e"' in double
    dashed = next(line for line in edges_of(dot(example("hopfield_resnet13"))) if "same class" in line)
    assert "dashed" in dashed


def test_forward_backward_lists_both_moves() -> None:
    source = dot(chain(3), "forward_backward")
    assert "class 1, 7<" in node(source, "s0")
    assert "class 4<" in node(source, "y")


def test_more_classes_than_tints() -> None:
    source = dot(chain(2 * len(TINTS) + 3), "sequential")
    assert f"class {2 * len(TINTS) + 4}<" in node(source, "y")
    assert TINTS[0] in node(source, f"s{len(TINTS)}")


def test_backward_edge_is_laid_out_forward_with_its_heads_kept() -> None:
    # s2 → s0 closes a cycle, so the order of declaration says what is left.
    line = edges_of(dot(chain(3, "from: s2, to: s0, identity: {}")))[-1]
    assert line.startswith("s0 -> s2 ")
    assert "arrowhead=onormal arrowtail=normal" in line


def test_directions_are_followed_where_they_lead_from_the_input() -> None:
    # Declared as c, b, a but wired x → a → b → c → y.
    names = ["x", "a", "b", "c", "y"]
    edges = [f"from: {i}, to: {j}, dense: {{}}" for i, j in pairwise(names)]
    lines = edges_of(dot(network(edges, "c, b, a")))
    assert [line.split(" [")[0] for line in lines] == ["x -> a", "a -> b", "b -> c", "c -> y"]
    assert all("arrowhead=normal arrowtail=onormal" in line for line in lines)


def test_edges_into_the_input_and_out_of_the_output(tmp_path: Path) -> None:
    arch = network(["from: a, to: x, dense: {}", "from: y, to: a, dense: {}"], "a")
    assert [line.split(" [")[0] for line in edges_of(dot(arch))] == ["x -> a", "a -> y"]
    assert {"x", "a", "y"} <= set(svg_text(render(arch, tmp_path / "net.svg")))


def test_parallel_edges_are_all_drawn_and_named(tmp_path: Path) -> None:
    arch = chain(2, "from: s0, to: s1, identity: {scale: 0.5}", "from: s0, to: s1, name: third, dense: {}")
    text = svg_text(render(arch, tmp_path / "net.svg"))
    assert {"s0_s1_2", "identity ×0.5", "third"} <= set(text)
    assert "s0_s1" not in text


def test_the_output_stands_last_though_the_network_goes_on_beyond_it() -> None:
    edges = [f"from: {i}, to: {j}, dense: {{}}" for i, j in (("x", "a"), ("a", "b"), ("b", "c"), ("a", "y"))]
    assert "rank=max" in dot(network(edges, "a, b, c"))
    assert "rank=max" not in dot(ep.topologies.chain())


def test_a_long_network_runs_down_the_page(tmp_path: Path) -> None:
    def size(depth: int) -> tuple[float, float]:
        text = render(ep.topologies.chain(depth=depth), tmp_path / "net.svg", depth="all").read_text(encoding="utf-8")
        width, height = re.findall(r'<svg width="(\d+)pt" height="(\d+)pt"', text)[0]
        return float(width), float(height)

    width, height = size(12)
    assert width > height
    width, height = size(40)
    assert height > 4 * width


def test_main_path_is_pulled_straight() -> None:
    lines = edges_of(dot(chain(3, "from: x, to: s1, dense: {}")))
    assert [("weight=100" in line) for line in lines] == [True, True, True, True, False]


@pytest.mark.parametrize("states", [0, 1, 300])
def test_smallest_and_large_networks(states: int, tmp_path: Path) -> None:
    path = render(chain(states), tmp_path / "net.svg", depth="all")
    assert {"x", "y", *(f"s{i}" for i in range(states))} <= set(svg_text(path))


def test_labels_are_left_out_where_edges_are_very_many() -> None:
    n = 22
    extra = [f"from: s{i}, to: s{j}, identity: {{}}" for i in range(n) for j in range(i + 2, n)]
    source = dot(chain(n, *extra))
    assert sum(j - i for i in range(n) for j in range(i + 2, n)) + n + 1 > MAX_LABELED_COLUMNS
    assert not any("label" in line for line in edges_of(source))
    assert "edges are too many for labels: dense double, identity dotted" in source


def test_counts() -> None:
    numbers = (0, 7, 999, 1000, 4096, 147_456, 999_499, 999_500, 1_179_648, 637_000_000, 4 * 10**18, 10**22)
    assert [count(n) for n in numbers] == [
        *("0", "7", "999", "1k", "4.1k", "147k", "999k", "1M", "1.18M", "637M", "4E", "1e+04E"),
    ]


def test_caption_agrees_with_check() -> None:
    for name, text in (("hopfield_resnet13", "633M MACs per sweep"), ("vgg5", "378M MACs per sweep")):
        assert text in dot(example(name))
        assert count(report(lower(build(example(name)), "even_odd"))["macs_per_sweep"]) == text.split()[0]


def test_unknown_suffix(tmp_path: Path) -> None:
    with pytest.raises(EpgraphError) as error:
        render(example("vgg5"), tmp_path / "net.jpeg")
    assert (
        str(error.value)
        == f"{tmp_path}/net.jpeg: unknown suffix '.jpeg'; known: .svg, .png, .pdf, .dot, .gv, .mmd, .tex"
    )
    with pytest.raises(EpgraphError, match=r"the path has no suffix to name the format; known: \.svg"):
        render(example("vgg5"), tmp_path / "net")
    with pytest.raises(EpgraphError, match=r"unknown suffix '\.txt'; known: \.png, \.svg, \.pdf"):
        curves(tmp_path / "metrics.jsonl", tmp_path / "net.txt")
    assert list(tmp_path.iterdir()) == []


def test_a_device_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    link = tmp_path / "net.dot"
    link.symlink_to("/dev/null")
    assert render(example("vgg5"), link) == link
    assert link.is_symlink()
    assert not link.is_file()


def test_unwritable_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "directory.svg").mkdir()
    for path, reason in (
        (tmp_path / "file" / "net.svg", "file is not a directory"),
        (tmp_path / "file" / "below" / "net.svg", "Not a directory"),
        (tmp_path / "directory.svg", "it is a directory"),
        (tmp_path / "nul\0.svg", "embedded null byte"),
    ):
        with pytest.raises(EpgraphError, match=reason) as error:
            render(example("vgg5"), path)
        shown = str(path).replace("\0", "\\x00")
        assert str(error.value).startswith(f"{shown}: cannot be written: ")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["directory.svg", "file"]


def test_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.dot"
    path.write_text("old")

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(EpgraphError, match="No space left on device"):
        render(example("vgg5"), path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_unknown_schedule() -> None:
    with pytest.raises(EpgraphError) as error:
        dot(example("vgg5"), "evenodd")
    assert str(error.value) == "unknown schedule 'evenodd'; did you mean 'even_odd'?"


def fake_dot(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = folder / "dot"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("shutil.which", lambda name, *args, **kwargs: str(program) if name == "dot" else None)


def test_no_program_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Positions are measured, and so they come from the Graphviz that pygraphviz brings along."""
    before = render(example("vgg5"), tmp_path / "before.svg").read_bytes()
    fake_dot(tmp_path, monkeypatch, "cat >/dev/null; echo drawn by a program: $*")
    assert render(example("vgg5"), tmp_path / "after.svg").read_bytes() == before


def record(epoch: int) -> dict[str, float]:
    falling = dict.fromkeys(("train_loss", "train_error", "test_loss", "test_error"), 1 / epoch)
    steady = dict.fromkeys(("train_residual", "nudged_residual", "test_residual"), 1e-3)
    return {"epoch": epoch, **falling, **steady, "learning_rate": 0.03, "seconds": 1.0}


def metrics(path: Path, *lines: object) -> Path:
    path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize("epochs", [1, 2, 100])
@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_curves(epochs: int, suffix: str, tmp_path: Path) -> None:
    source = metrics(tmp_path / "metrics.jsonl", *map(record, range(1, epochs + 1)))
    path = curves(source, tmp_path / "plots" / f"curves.{suffix}")
    assert path.read_bytes().startswith(SIGNATURES[suffix])


@pytest.mark.parametrize(
    "lines",
    [
        [record(1), record(2), '{"epoch": 3, "train_lo'],
        [record(1), '{"epoch": 2, "tra{"epoch": 2, "train_loss": 0.1}\n', record(3)],
        [record(1), "\n\n[]\n3\nnull\n", {"train_loss": 1.0}, {"epoch": "four"}, {"epoch": 2.0}],
        [{"epoch": 1}],
        [{"epoch": 1, "train_loss": 0.0, "test_loss": float("nan"), "train_residual": 0, "test_error": None}],
        [
            {
                "epoch": 1,
                "train_loss": -1.0,
                "train_error": "half",
                "test_error": 0.0,
                "test_residual": float("inf"),
            }
        ],
        [record(1), {**record(2), "train_residual": 0.0}, record(3)],
        [record(1), {"epoch": 2}, record(3)],
    ],
)
def test_curves_survive_what_a_run_may_leave(lines: list[object], tmp_path: Path) -> None:
    path = curves(metrics(tmp_path / "metrics.jsonl", *lines), tmp_path / "curves.png")
    assert path.read_bytes().startswith(SIGNATURES["png"])


def test_curves_of_a_line_torn_inside_a_character(tmp_path: Path) -> None:
    source = metrics(tmp_path / "metrics.jsonl", record(1))
    source.write_bytes(source.read_bytes() + '{"epoch": 2, "é'.encode()[:-1])
    assert list(read_metrics(source)) == [1]


def test_metrics_of_a_repeated_epoch_are_the_last(tmp_path: Path) -> None:
    source = metrics(tmp_path / "metrics.jsonl", record(1), record(2), {**record(2), "train_loss": 7.0}, record(3))
    read = read_metrics(source)
    assert list(read) == [1, 2, 3]
    assert read[2]["train_loss"] == 7.0


def test_curves_without_metrics(tmp_path: Path) -> None:
    with pytest.raises(EpgraphError) as error:
        curves(tmp_path / "none.jsonl", tmp_path / "curves.png")
    assert str(error.value) == (
        f"{tmp_path}/none.jsonl: cannot be read: No such file or directory; give the metrics.jsonl of a run"
    )
    with pytest.raises(EpgraphError, match="holds no epoch; train for at least one epoch"):
        curves(metrics(tmp_path / "torn.jsonl", '{"epo'), tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()


def test_curves_draw_speed_and_memory_where_they_are_recorded(tmp_path: Path) -> None:
    measured = {"images_per_second": 80.0, "peak_memory_mib": 500.0}
    for name, more, titles in (
        ("old", {}, ("Loss", "Error", "Residual")),
        ("cpu", measured, ("Loss", "Error", "Residual", "Speed", "Peak memory")),
    ):
        source = metrics(tmp_path / f"{name}.jsonl", *({**record(epoch), **more} for epoch in (1, 2)))
        drawn = curves(source, tmp_path / f"{name}.svg").read_text()
        # matplotlib writes a text as a comment beside its outlines.
        found = [one for one in ("Loss", "Error", "Residual", "Speed", "Peak memory") if f"<!-- {one} -->" in drawn]
        assert tuple(found) == titles
        assert ("<!-- device -->" in drawn) is False
    assert drawn.count("<!-- cost per example -->") == 1


def test_curves_leave_pyplot_alone(tmp_path: Path) -> None:
    code = (
        "import sys; from epgraph.drawing import curves; curves(*sys.argv[1:]);"
        "assert 'matplotlib.pyplot' not in sys.modules and 'torch' not in sys.modules"
    )
    source = metrics(tmp_path / "metrics.jsonl", record(1))
    subprocess.run([sys.executable, "-c", code, str(source), str(tmp_path / "curves.png")], check=True)


def tangle(states: int, edges: int) -> str:
    """A network whose edges cross each other all over."""
    drawn = random.Random(0)
    names = [f"h{i}" for i in range(states)]
    pairs = [("x", names[0]), *zip(names, [*names[1:], "y"], strict=True)]
    known = {frozenset(pair) for pair in pairs}
    while len(pairs) < edges:
        pair = (drawn.choice(names), drawn.choice(names))
        if pair[0] != pair[1] and frozenset(pair) not in known:
            known.add(frozenset(pair))
            pairs.append(pair)
    lines = [f"  - {{from: {a}, to: {b}, dense: {{}}}}" for a, b in pairs]
    shapes = "\n".join(f"  {name}: {{shape: [{4 + i % 2}]}}" for i, name in enumerate(names))  # no two to be folded
    head = "epgraph: 2\ninput: {shape: [4]}\noutput: {classes: 2}\n"
    return f"{head}states:\n{shapes}\nedges:\n" + "\n".join(lines) + "\n"


@pytest.mark.parametrize(("states", "edges"), [(100, 400), (100, 3400), (300, 320), (300, 2000)])
def test_large_networks_are_drawn_in_bounded_time(states: int, edges: int, tmp_path: Path) -> None:
    """Graphviz alone takes half a minute for the first, and did not end for the second."""
    notes: list[str] = []
    said: list[str] = []
    # Of the processor: Graphviz runs in this process, and the clock would measure the machine's other work too.
    started = time.process_time()
    render(ep.load(tangle(states, edges)), tmp_path / "net.svg", report=notes.append, progress=said.append)
    assert time.process_time() - started < 5
    (note,) = notes
    assert note.endswith("are too many for a diagram; every edge is drawn as a mark in a table of the states")
    text = (tmp_path / "net.svg").read_text()
    assert text.count('class="edge"') == edges
    assert said == ([f"laying out {states + 2} boxes and {edges:,} edges …"] if edges > 1000 else [])

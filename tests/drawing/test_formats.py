"""Mermaid and TikZ: golden files, and text that could be theirs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

import epgraph as ep
from epgraph.cli import run
from epgraph.language import Architecture

EXAMPLES = Path(__file__).parents[2] / "examples"
HOSTILE = (
    "a < b > c & d",
    'quotes " and \\" and \' and `',
    "<script>alert(1)</script>",
    "back\\slash \\input{/etc/passwd} $x^2_i$ ~ {} # 100%",
    "line\nbreak % \\end{tikzpicture}",
    "&amp; #35; %%{init: {}}%% ---",
    "zażółć gęślą ジャズ 🧠",
)


def drawn(architecture: Architecture, path: Path, **options: object) -> str:
    return ep.render(architecture, path, **options).read_text(encoding="utf-8")  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", ["mmd", "tex"])
@pytest.mark.parametrize("name", ["u12", "hopfield_resnet13", "pyramid"])
def test_formats_are_golden(name: str, suffix: str, tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    golden(f"{name}.{suffix}", drawn(ep.load(EXAMPLES / f"{name}.yaml"), tmp_path / f"net.{suffix}"))


def test_dot_of_blocks_and_of_a_u_is_golden(golden: Callable[[str, str], None]) -> None:
    from epgraph.drawing import dot

    golden("hopfield_resnet103.dot", dot(ep.topologies.hopfield_resnet(depth=103, input=(3, 32, 32)), depth=1))
    golden("u12.dot", dot(EXAMPLES / "u12.yaml"))


def test_texts_do_not_depend_on_the_hash_seed(tmp_path: Path) -> None:
    code = "import sys, epgraph as ep; [ep.render(sys.argv[1], f'{sys.argv[2]}.{s}') for s in ('tex', 'mmd', 'svg')]"
    for seed in ("1", "4242"):
        command = [sys.executable, "-c", code, str(EXAMPLES / "pyramid.yaml"), str(tmp_path / seed)]
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True)
    for suffix in ("tex", "mmd", "svg"):
        assert (tmp_path / f"1.{suffix}").read_bytes() == (tmp_path / f"4242.{suffix}").read_bytes()


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_escaped_in_tikz(name: str, tmp_path: Path) -> None:
    architecture = ep.load(EXAMPLES / "mlp.yaml").model_copy(update={"name": name})
    text = drawn(architecture, tmp_path / "n.tex")
    plain = drawn(ep.load(EXAMPLES / "mlp.yaml"), tmp_path / "plain.tex")
    commands, others = (re.sub(r"%.*", "", one) for one in (text, plain))  # the first comment has the name as it is
    # Of all commands only those that stand for a character may be new, and braces are balanced.
    new = set(re.findall(r"\\[A-Za-z]+", commands)) - set(re.findall(r"\\[A-Za-z]+", others))
    assert all(command.startswith("\\text") or command in ("\\dots",) for command in new)
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert text.count("\\end{tikzpicture}") == 1 + text.splitlines()[0].count("\\end{tikzpicture}")
    assert len(text.splitlines()) == len(plain.splitlines())


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_escaped_in_mermaid(name: str, tmp_path: Path) -> None:
    architecture = ep.load(EXAMPLES / "mlp.yaml").model_copy(update={"name": name})
    text, plain = drawn(architecture, tmp_path / "n.mmd"), drawn(ep.load(EXAMPLES / "mlp.yaml"), tmp_path / "plain.mmd")
    # The name stands in the title alone, which is a string of JSON.
    assert text.splitlines()[0] == "---"
    assert re.fullmatch(r'title: "(?:[ -!#-\[\]-~]|\\["\\/bfnrt]|\\u[0-9a-f]{4})*"', text.splitlines()[1])
    assert text.splitlines()[2:] == plain.splitlines()[2:]


def test_labels_are_escaped_in_mermaid(tmp_path: Path) -> None:
    """Names of kinds and of states are theirs to choose; words of Mermaid are names of states."""
    words = ["end", "graph", "subgraph", "style", "click", "default"]
    states = ", ".join(f"{word}: {{shape: [4]}}" for word in words)
    edges = "".join(f"  - {{from: {i}, to: {j}, dense: {{}}}}\n" for i, j in pairwise(["x", *words, "y"]))
    source = f"epgraph: 2\ninput: {{shape: [4]}}\noutput: {{classes: 4}}\nstates: {{{states}}}\nedges:\n{edges}"
    text = drawn(ep.load(source), tmp_path / "n.mmd")
    for word in words:
        assert f"<b>{word}</b>" in text
    declared = [line for line in text.splitlines() if "<b>" in line]
    assert [line.split("(")[0].split("[")[0].strip() for line in declared] == [f"n{i}" for i in range(len(words) + 2)]


def test_a_table_of_edges_can_be_written_in_every_format(tmp_path: Path) -> None:
    network = ep.topologies.random_dag(states=40, density=0.5, seed=1)
    for suffix in ("svg", "png", "pdf", "tex"):
        with pytest.warns(UserWarning, match="every edge is drawn as a mark in a table"):
            assert ep.render(network, tmp_path / f"net.{suffix}").stat().st_size > 1000
    edges = len(ep.build(network).edges)
    assert (tmp_path / "net.tex").read_text().count(" -- ") == edges
    assert (tmp_path / "net.svg").read_text().count('class="edge"') == edges


def test_the_command_takes_the_same_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = str(EXAMPLES / "hopfield_resnet13.yaml")
    assert run(["render", net, "--depth", "0", "--layout", "top-down", "-o", str(tmp_path / "net.mmd")]) == 0
    assert (tmp_path / "net.mmd").read_text() == drawn(ep.load(net), tmp_path / "own.mmd", depth=0, layout="top-down")
    assert run(["render", net, "--depth", "all", "-o", str(tmp_path / "all.mmd")]) == 0
    capsys.readouterr()
    for options, message in (
        (["--depth", "two"], "depth expects a whole number or 'all', found text 'two'; e.g. 1"),
        (["--depth", "-1"], "depth expects a whole number or 'all', found text '-1'; e.g. 1"),
        (["--layout", "topdown"], "unknown layout 'topdown'; did you mean 'top-down'?"),
    ):
        assert run(["render", net, *options, "-o", str(tmp_path / "no.svg")]) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "no.svg").exists()

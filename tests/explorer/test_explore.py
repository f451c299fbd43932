"""``ep.explore`` and ``epgraph explore`` without a browser: what is written, where, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import epgraph as ep
from epgraph.cli import run
from epgraph.errors import EpgraphError
from epgraph.explorer import describe
from epgraph.explorer.network import MOST_EDGES, MOST_STATES
from epgraph.explorer.page import SCRIPTS
from epgraph.explorer.placement import MOST_PLACED, place
from epgraph.explorer.relaxation import MOST_CHECKPOINTS, MOST_NUMBERS, checkpoints
from epgraph.lowering import lower
from tests.helpers.runs import NET

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "examples" / "digits.yaml"


def data_of(page: Path) -> dict[str, Any]:
    """The data in a page."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(encoding="utf-8"))
    assert found is not None
    return dict(json.loads(found[1]))


def described(architecture: ep.Architecture) -> dict[str, Any]:
    return describe(lower(ep.build(architecture), architecture.dynamics.schedule))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    options: dict[str, Any] = {"pictures": False, "histograms": False, "limit": 60, "warn": lambda _: None}
    ep.train(NET, "digits", out=folder, overrides=["training.checkpoint_epochs=1"], **options)
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """A copy of a run to damage."""
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def test_the_page_of_a_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.html"
    assert run(["explore", str(DIGITS), "-o", str(path), "--schedule", "even_odd", "--set", "name=changed"]) == 0
    assert capsys.readouterr() == (f"{path}\n", "")
    content = data_of(path)
    report = ep.check(DIGITS, schedule="even_odd").report
    assert report is not None
    network = content["network"]
    assert (network["name"], content["run"]) == ("changed", None)
    names = [state["name"] for state in network["states"]]
    assert names == [state["name"] for state in report["states"]]
    assert [[names[i] for i in step["moves"]] for step in network["steps"]] == report["schedule"]["classes"]
    ends = [(e["name"], names[e["from"]], names[e["to"]]) for e in network["edges"]]
    assert ends == [(e["name"], e["from"], e["to"]) for e in report["edges"]]
    clashes = [network["edges"][e]["name"] for step in network["steps"] for e in step["edges"]]
    assert sorted(clashes) == sorted(conflict["edge"] for conflict in report["schedule"]["conflicts"])
    assert network["guarantees"] == report["guarantees"]
    assert path.stat().st_size < 1_000_000
    text = path.read_text(encoding="utf-8")
    assert "The Cytoscape Consortium" in text, "its license is in what it is copied to"
    assert "Leon Sorokin" not in text, "only a run has curves"
    assert not re.search(r"(src|href)=\"(?!#|data:)", text), "nothing is fetched"


def test_no_torch_for_a_network(tmp_path: Path) -> None:
    code = f"import epgraph as ep, sys; ep.explore({str(DIGITS)!r}, {str(tmp_path / 'n.html')!r}); "
    code += "assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_pairs_that_no_edge_joins_are_read_and_can_clash() -> None:
    """Under the energy predictive two parents of one state read each other."""
    text = NET + "energy: predictive\n"
    text = text.replace("edges:\n", "edges:\n  - {from: h1, to: y, dense: {}}\n")
    free = described(ep.load(text))
    assert {name: free["states"][i].get("co_parents", []) for i, name in enumerate(["x", "h1", "h2", "y"])} == {
        "x": [],
        "h1": [],  # an edge joins it to h2, beside which it leads to y
        "h2": [],
        "y": [],
    }
    apart = text.replace("{from: h1, to: h2, conv: {kernel: 3, padding: 1, pool: max}}", "{from: x, to: h2, dense: {}}")
    apart = apart.replace("h2: {channels: 6}", "h2: {shape: [6]}")
    together = described(ep.load(apart, ["dynamics.schedule=synchronous"]))
    assert [state.get("co_parents", []) for state in together["states"]] == [[], [2], [1], []]
    (step,) = together["steps"]
    assert [1, 2, "y"] in step["pairs"]


def test_error_sweeps_have_steps_of_their_own() -> None:
    network = described(ep.load(DIGITS, ["energy=predictive", "dynamics.solver=error_sweeps"]))
    names = [state["name"] for state in network["states"]]
    steps = [(step["title"], [names[i] for i in step["moves"]]) for step in network["steps"]]
    order = ["h1", "h2", "h3", "h4", "y"]
    assert steps == [*(("error", [n]) for n in reversed(order)), *(("state", [n]) for n in order)]


# Placement


@pytest.mark.parametrize("template", [name for name in ep.topologies.TEMPLATES if name != "hopfield_resnet"])
def test_no_two_states_stand_in_one_place(template: str) -> None:
    graph = ep.build(ep.topologies.TEMPLATES[template]())
    for program in (None, lambda name, source: None):  # Graphviz, and what stands in where it takes too long
        found = place(graph, program)
        assert found.keys() == graph.states.keys()
        points = sorted(found.values())
        assert len(set(points)) == len(points)
        close = [
            (one, other)
            for i, one in enumerate(points)
            for other in points[i + 1 :]
            if abs(one[0] - other[0]) < 90 and abs(one[1] - other[1]) < 40
        ]
        assert close == []


def test_layers_follow_the_edges() -> None:
    graph = ep.build(ep.topologies.random_dag(states=4))
    found = place(graph, lambda name, source: None)
    assert all(found[edge.source][0] < found[edge.target][0] for edge in graph.edges.values())


def test_a_long_chain_is_broken_into_rows() -> None:
    graph = ep.build(ep.topologies.chain(depth=60))
    found = list(place(graph).values())
    width, height = (max(values) - min(values) for values in zip(*found, strict=True))
    assert 1 < width / height < 3
    large = ep.build(ep.topologies.chain(depth=MOST_PLACED + 50))
    asked: list[str] = []
    place(large, lambda name, source: asked.append(name))
    assert asked == [], "Graphviz is not asked for a large network"


def test_the_words_of_graphviz_are_names_too() -> None:
    text = NET.replace("h1", "node").replace("h2", "graph")
    assert place(ep.build(ep.load(text))).keys() == {"x", "node", "graph", "y"}


# A run


def test_the_page_of_a_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explore", str(folder), "--examples", "4"]) == 0
    assert capsys.readouterr().out == f"{folder / 'explore.html'}\n"
    content = data_of(folder / "explore.html")["run"]
    assert content["folder"] == str(folder)
    assert content["facts"] == [["examples", "4 test examples of digits"], ["β", "0.2"]]
    epochs = [(one["name"], one["epoch"]) for one in content["checkpoints"]]
    assert epochs[0][1] == 1
    assert epochs[-1] == ("last.pt", 2)
    found = ep.converge(folder, examples=4, warn=lambda _: None).to_dict()["phases"]
    for name, phase in content["checkpoints"][-1]["phases"].items():
        assert phase["sweeps"] == found[name]["sweeps"]
        assert phase["energy"] == pytest.approx(found[name]["energy"], rel=1e-6)
        assert phase["residual"] == pytest.approx(found[name]["residual"], rel=1e-3)
        for state, (activity, _, residual) in phase["states"].items():
            assert activity == pytest.approx(found[name]["states"][state]["activity"], rel=1e-3)
            assert residual == pytest.approx(found[name]["states"][state]["residual"], rel=1e-3)
    # A run with a page goes on, and is replaced, like any other.
    ep.train(folder, resume=True, epochs=3, pictures=False, warn=lambda _: None)
    ep.train(NET, "digits", out=folder, overwrite=True, epochs=1, limit=60, pictures=False, warn=lambda _: None)
    assert not (folder / "explore.html").exists()


def test_every_checkpoint_is_read_once(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from epgraph import training

    read: list[str] = []
    load = training.load_checkpoint

    def counted(path: Path, *device: Any) -> Any:
        read.append(path.name)
        return load(path, *device)

    monkeypatch.setattr(training, "load_checkpoint", counted)
    result = ep.explore(folder, tmp_path / "run.html", examples=4, warn=lambda _: None)
    assert sorted(read) == sorted(result.checkpoints)
    assert read[0] == "last.pt"


def test_a_single_checkpoint_and_another_schedule(folder: Path, tmp_path: Path) -> None:
    result = ep.explore(folder / "best.pt", tmp_path / "best.html", schedule="sequential", examples=2)
    assert result.checkpoints == ("best.pt",)
    content = data_of(result.path)
    assert len(content["network"]["steps"]) == 3
    found = ep.converge(folder / "best.pt", schedule="sequential", examples=2, warn=lambda _: None)
    residual = content["run"]["checkpoints"][0]["phases"]["free"]["residual"]
    assert residual == pytest.approx(found.phases["free"].residual, rel=1e-3)


def test_long_phases_and_many_checkpoints_are_thinned(folder: Path, tmp_path: Path) -> None:
    result = ep.explore(folder, tmp_path / "long.html", examples=1, overrides=["dynamics.free_steps=600"])
    free = [one["phases"]["free"] for one in data_of(result.path)["run"]["checkpoints"]]
    for phase in free:
        assert (phase["all"], phase["sweeps"][0], phase["sweeps"][-1]) == (600, 1, 600)
        assert len(phase["sweeps"]) == len(set(phase["sweeps"])) == len(phase["residual"])
    numbers = sum(len(p["sweeps"]) * (2 + 3 * len(p["states"])) for p in free)
    assert 0.2 * MOST_NUMBERS < numbers <= MOST_NUMBERS
    for epoch in range(3, 100):
        (folder / f"epoch-{epoch:03}.pt").touch()
    names = [path.name for path in checkpoints(folder)]
    assert len(names) == MOST_CHECKPOINTS == len(set(names))
    assert (names[0], names[-3:]) == ("epoch-001.pt", ["epoch-099.pt", "best.pt", "last.pt"])


def test_a_damaged_checkpoint_does_not_hide_the_others(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "epoch-001.pt").write_bytes(b"damaged")
    assert run(["explore", str(folder), "--examples", "2"]) == 0
    error = capsys.readouterr().err
    assert f"{folder / 'epoch-001.pt'}: cannot be read as a checkpoint" in error
    assert [one["name"] for one in data_of(folder / "explore.html")["run"]["checkpoints"]][-1] == "last.pt"
    for name in ("epoch-001.pt", "epoch-002.pt", "best.pt", "last.pt"):
        (folder / name).write_bytes(b"damaged")
    before = (folder / "explore.html").read_bytes()
    assert run(["explore", str(folder)]) == 1
    assert "cannot be read as a checkpoint" in capsys.readouterr().err
    assert (folder / "explore.html").read_bytes() == before


# What is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([str(DIGITS)], "it is not said which file to write; name one, e.g. net.html (-o net.html)"),
        ([str(DIGITS), "-o", "net.svg"], "net.svg: the explorer is a page and not '.svg'; end the name with .html"),
        ([str(DIGITS), "-o", "net"], "net: the explorer is a page and not ''"),
        ([str(DIGITS), "-o", "n.html", "--data", "digits"], "data is given, and there is no run whose curves need it"),
        ([str(DIGITS), "-o", "n.html", "--examples", "4"], "and there is no run whose curves need it; leave it out"),
        ([str(DIGITS), "-o", "n.html", "--download"], "data is given, and there is no run whose curves need it"),
        (["nothing.yaml", "-o", "n.html"], "nothing.yaml: cannot be read"),
        (["nothing.pt", "-o", "n.html"], "nothing.pt: there is no checkpoint"),
        ([str(DIGITS), "-o", "n.html", "--set", "states.h1.channels=0"], "h1"),
    ],
)
def test_a_mistake_is_one_message(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["explore", *arguments]) == 1
    out, err = capsys.readouterr()
    assert message in err
    assert (out, "Traceback" in err, list(tmp_path.iterdir())) == ("", False, [])


def test_a_file_that_was_read_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.html"
    path.write_text(NET)
    assert run(["explore", str(path), "-o", str(path)]) == 1
    assert "was read as an input" in capsys.readouterr().err
    assert path.read_text() == NET


def test_a_run_without_a_checkpoint(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in folder.glob("*.pt"):
        path.unlink()
    assert run(["explore", str(folder)]) == 1
    assert f"{folder / 'last.pt'}: there is no checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize(("states", "edges"), [(MOST_STATES + 1, 0), (2, MOST_EDGES + 1)])
def test_a_network_that_no_browser_draws(states: int, edges: int) -> None:
    graph: Any = SimpleNamespace(states=range(states), edges=range(edges))
    size = f"the network has {states:,} states and {edges:,} edges"
    with pytest.raises(EpgraphError, match=f"{size}; the explorer shows at most 5,000 states and 20,000 edges"):
        describe(SimpleNamespace(graph=graph))  # type: ignore[arg-type]


def test_the_python_of_the_documentation_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "explorer.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    exec(compile(code, "docs/explorer.md", "exec"), {})
    assert (tmp_path / "net.html").exists()


def test_the_script_makes_no_markup_of_texts() -> None:
    """What a user wrote goes through text nodes and attributes alone."""
    scripts = [path.read_text(encoding="utf-8") for path in (ROOT / "epgraph" / "explorer" / "static").glob("*.js")]
    assert len(scripts) == len(SCRIPTS)
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "srcdoc"):
        assert not any(way in script for script in scripts), way


def test_every_file_of_the_package_is_installed() -> None:
    """What is no Python is package data, or a wheel lacks it."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        patterns = tomllib.load(file)["tool"]["setuptools"]["package-data"]["epgraph"]
    files = [path.relative_to(ROOT / "epgraph") for path in (ROOT / "epgraph").rglob("*") if path.is_file()]
    others = [str(path) for path in files if path.suffix not in (".py", ".pyc")]
    assert len(others) > 10
    assert [path for path in others if not any(fnmatch(path, pattern) for pattern in patterns)] == []

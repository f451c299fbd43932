"""What notebooks show: short texts, escaped tables and diagrams, quickly and without an error."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import xml.etree.ElementTree as ET
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

import epgraph as ep
from epgraph.display import RENDERERS, Shown
from epgraph.graph import build
from epgraph.notebook.html import MOST_ROWS, curve, table
from epgraph.notebook.network import MOST_DRAWN
from tests.helpers.networks import RING, batch
from tests.helpers.runs import NET

ROOT = Path(__file__).parents[2]
NAME = "<script>alert(1)</script>"


@cache
def objects() -> dict[str, Any]:
    """One object of every class that a notebook shows; their network has a name that is markup."""
    architecture = ep.load(json.dumps({**RING, "name": NAME}))
    engine, (x, y) = ep.compile(architecture, dtype=torch.float64), batch()
    return {
        "Architecture": architecture,
        "NetworkGraph": build(architecture),
        "Engine": engine,
        "Relaxation": engine.relax(x, record=True),
        "Estimate": engine.backward(x, y),
        "Convergence": ep.converge(engine, x, y),
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> ep.TrainResult:
    folder = tmp_path_factory.mktemp("runs") / "run"
    text = NET.replace("name: tiny", f"name: {NAME}")
    return ep.train(text, "digits", out=folder, limit=60, pictures=False, warn=lambda _: None)


def bundle(shown: Any) -> dict[str, str]:
    found: dict[str, str] = shown._repr_mimebundle_()
    assert found["text/plain"] == repr(shown)
    return found


def busy() -> float:
    """Seconds that this process and its children have computed: other work on the machine does not count."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def test_every_class_is_here(trained: ep.TrainResult) -> None:
    assert {*objects(), "LoadedRun", "TrainResult"} == set(RENDERERS)
    for name, shown in {**objects(), "TrainResult": trained, "LoadedRun": ep.load_run(trained.folder)}.items():
        assert (type(shown).__name__, isinstance(shown, Shown)) == (name, True)


@pytest.mark.parametrize("name", list(RENDERERS))
def test_texts_are_short_and_markup_is_shown(name: str, trained: ep.TrainResult) -> None:
    runs = {"TrainResult": trained, "LoadedRun": ep.load_run(trained.folder)}
    found = bundle(runs[name] if name in runs else objects()[name])
    assert len(found["text/plain"]) <= 300
    assert len(found["text/plain"].splitlines()) == 1
    (rich,) = (value for key, value in found.items() if key != "text/plain")
    assert "<script" not in rich
    if "Relaxation" not in name and name not in ("Estimate", "TrainResult"):
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in rich
    ET.fromstring(rich)  # well-formed


def test_networks_are_diagrams_and_large_ones_tables() -> None:
    small = objects()["Architecture"]
    picture = bundle(small)["image/svg+xml"]
    assert picture.startswith("<svg")
    assert bundle(build(small))["image/svg+xml"] == picture
    large = ep.topologies.residual_chain(depth=100)
    found = bundle(large)
    assert set(found) == {"text/plain", "text/html"}
    assert "… 42 more …" in found["text/html"]
    assert f">h{100}<" in found["text/html"]


@pytest.mark.parametrize("states", [9, 20])
def test_the_slowest_diagram_takes_less_than_a_second(states: int) -> None:
    """As many edges as are drawn, between few states and between many."""
    names = [f"s{i}" for i in range(states)]
    pairs = [(a, b) for gap in range(1, states) for a, b in zip(names, names[gap:], strict=False)]
    edges = [("x", names[0]), (names[-1], "y"), *pairs][: MOST_DRAWN - states - 2]
    network = ep.Architecture.model_validate(
        {
            "epgraph": 2,
            "input": {"name": "x", "shape": [4]},
            "output": {"name": "y", "classes": 3},
            "states": {name: {"shape": [4]} for name in names},
            "edges": [{"from": a, "to": b, "dense": {}} for a, b in edges],
        }
    )
    bundle(objects()["Architecture"])  # libraries are loaded
    started = busy()
    assert "image/svg+xml" in bundle(network)
    assert busy() - started < 1


def test_tables_have_what_they_say() -> None:
    engine, relaxation = objects()["Engine"], objects()["Relaxation"]
    assert all(f">{name}<" in bundle(engine)["text/html"] for name in [*engine.graph.edges, *engine.graph.states])
    html = bundle(relaxation)["text/html"]
    assert relaxation.status.value in html
    assert html.count("<polyline") == 2
    activity = f"{float(relaxation.states['a'].abs().mean()):.4g}"
    assert f">{activity}<" in html
    assert bundle(objects()["Estimate"])["text/html"].count(">nudged<") == 2
    assert bundle(objects()["Convergence"])["text/html"].count("<polyline") == 6


def test_long_tables_and_curves_with_gaps() -> None:
    rows = [[str(i)] for i in range(MOST_ROWS + 5)]
    shown = table(["number"], rows)
    assert shown.count("<tr>") == 1 + MOST_ROWS + 1
    assert "… 5 more …" in shown
    assert table(["number"], rows[:MOST_ROWS]).count("<tr>") == 1 + MOST_ROWS

    def points(row: str) -> list[str]:
        return row.split('points="')[1].split('"')[0].split(" ")

    assert len(points(curve("a", [1.0, None, float("nan"), 3.0]))) == 2
    assert len(points(curve("a", [1.0, 0.0, 0.1], log=True))) == 2
    assert points(curve("a", [1.0, 2.0])) == ["2.0,34.0", "178.0,2.0"]
    assert curve("a", [1.0]) == curve("a", []) == ""


def test_a_picture_that_fails_leaves_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    architecture = ep.load(json.dumps(RING))
    monkeypatch.setattr("epgraph.notebook.network.render", lambda *_, **__: 1 / 0)
    assert bundle(architecture) == {"text/plain": repr(architecture)}


def test_runs_have_curves(trained: ep.TrainResult, tmp_path: Path) -> None:
    run = ep.load_run(trained.folder)
    for shown in (trained, run):
        assert bundle(shown)["text/html"].count("<polyline") == 4
        figure = shown.plot(tmp_path / "curves.svg")
        assert (tmp_path / "curves.svg").read_text().startswith("<?xml")
        losses = [row["train_loss"] for row in run.metrics]
        assert list(figure.axes[0].get_lines()[0].get_ydata()) == losses
    assert list(trained.epochs()) == [1, 2]
    relaxation = run.engine.relax(torch.rand(2, 1, 8, 8), record=True)
    energies = relaxation.plot(tmp_path / "relaxation.png").axes[0].get_lines()[0].get_ydata()
    assert list(energies) == [float(sweep.energy.double().mean()) for sweep in relaxation.trajectory]
    assert (tmp_path / "relaxation.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ep.EpgraphError, match="relax with record=True"):
        run.engine.relax(torch.rand(2, 1, 8, 8)).plot()


def test_a_network_is_shown_without_torch() -> None:
    code = (
        "import epgraph as ep, sys; a = ep.load('examples/digits.yaml')\n"
        "assert 'image/svg+xml' in a._repr_mimebundle_() and 'image/svg+xml' in ep.build(a)._repr_mimebundle_()\n"
        "ep.build(ep.topologies.residual_chain(depth=100))._repr_mimebundle_()['text/html']\n"
        "assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_a_check_is_one_line() -> None:
    mistaken = json.dumps({**RING, "edges": [{"from": "x", "to": "y", "dens": {}}]})
    assert repr(ep.check(mistaken)) == "CheckResult(ok=False, mistakes=1, warnings=0)"
    assert repr(ep.check(ROOT / "examples" / "digits.yaml")) == "CheckResult(ok=True, mistakes=0, warnings=0)"

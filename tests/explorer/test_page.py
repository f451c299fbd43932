"""The explorer in a real browser: pointer, keys, search, the sweep, tables, a run; no network and no complaint."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import epgraph as ep
from epgraph.activations import NAMED
from tests.helpers.browser import Opened, opened
from tests.helpers.runs import NET

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect

EXAMPLES = Path(__file__).parents[2] / "examples"
HOSTILE = "<script>alert(1)</script>"
Page = Callable[..., Opened]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages of three networks and of a run."""
    path = tmp_path_factory.mktemp("pages")
    for name in ("digits", "hopfield_resnet13", "pyramid"):
        ep.explore(EXAMPLES / f"{name}.yaml", path / f"{name}.html")
    options: dict[str, Any] = {"pictures": False, "histograms": False, "limit": 60, "warn": lambda _: None}
    ep.train(NET, "digits", out=path / "run", overrides=["training.checkpoint_epochs=1"], **options)
    result = ep.explore(path / "run", examples=5)
    assert (result.path, result.checkpoints) == (
        path / "run" / "explore.html",
        ("epoch-001.pt", "epoch-002.pt", "best.pt", "last.pt"),
    )
    return path


def details(view: Any) -> str:
    return str(view.inner_text("#details"))


def marked(view: Any, mark: str) -> set[str]:
    """Names of the states and edges of the diagram that have a mark."""
    found = view.evaluate(f"cy.elements('.{mark}').map((e) => thingOf(e)).map((t) => [t.type, t.i])")
    names = {"state": view.evaluate("states.map((s) => s.name)"), "edge": view.evaluate("edges.map((e) => e.name)")}
    return {names[type][i] for type, i in found}


def position(view: Any, name: str) -> tuple[float, float]:
    """Where a state is on the screen."""
    box = view.locator("#diagram").bounding_box()
    at = view.evaluate(f"nodes[states.findIndex((s) => s.name === '{name}')].renderedPosition()")
    return box["x"] + at["x"], box["y"] + at["y"]


ENDS = """() => lines.flatMap((line, i) => edges[i].unary ? [] :
  [[edges[i].from, line.sourceEndpoint()], [edges[i].to, line.targetEndpoint()]])"""


@pytest.mark.parametrize("name", ["digits", "hopfield_resnet13"])
def test_arrowheads_at_a_state_are_apart(page: Page, folder: Path, name: str) -> None:
    view = page().open(folder / f"{name}.html")
    ends = view.evaluate(ENDS)
    pairs = [(one, other) for (i, one), (k, other) in itertools.combinations(ends, 2) if i == k]
    assert len(pairs) > 10
    # A head is 8 pixels wide.
    assert min(math.hypot(a["x"] - b["x"], a["y"] - b["y"]) for a, b in pairs) > 8
    box = view.evaluate("cy.elements().boundingBox()")
    assert box["h"] > 0.2 * box["w"], "more than a thin band"


def test_a_click_shows_and_marks_a_state(page: Page, folder: Path) -> None:
    view = page().open(folder / "digits.html")
    assert view.title() == "digits – epgraph"
    view.mouse.click(*position(view, "h2"))
    assert view.inner_text("#details-title") == "State h2"
    text = details(view)
    assert "32×4×4 (512 units)" in text
    assert "relu1" in text
    assert "pre(h2)" in text
    assert [view.inner_text(f"#details-body ul >> nth={k}").split() for k in (0, 1)] == [
        ["h1", "by", "h1_h2", "conv", "3×3"],
        ["h3", "by", "h2_h3", "conv", "3×3", "h4", "by", "h2_h4", "skip", "1×1", "/2"],
    ]
    equation = view.locator("#details .math").first
    assert equation.inner_text().replace("\n", "") == "sh2 ← σ(Ah1_h2 sh1 + Ah2_h3⊤ sh3 + Ah2_h4⊤ sh4 + bh2)"
    assert equation.get_attribute("aria-label") == (
        "s of h2 ← σ(A of h1_h2 s of h1 + A transposed of h2_h3 s of h3 + A transposed of h2_h4 s of h4 + b of h2)"
    )
    assert equation.evaluate("(e) => [...e.querySelectorAll('sub')].map((s) => s.textContent)")[:2] == ["h2", "h1_h2"]
    assert (marked(view, "chosen"), marked(view, "from"), marked(view, "to")) == (
        {"h2"},
        {"h1", "h1_h2"},
        {"h3", "h4", "h2_h3", "h2_h4"},
    )
    assert view.inner_text("#states tr[aria-current] th") == "h2"
    # From here to a neighbor, and to an edge.
    view.get_by_role("button", name="edge h2_h4").click()
    assert view.inner_text("#details-title") == "Edge h2_h4"
    assert view.evaluate("document.activeElement.id") == "details-title"
    assert view.inner_text("#edges tr[aria-current] th") == "h2_h4"
    view.mouse.click(*position(view, "x"))
    assert "it does not move" in details(view)
    box = view.locator("#diagram").bounding_box()
    view.mouse.click(box["x"] + 5, box["y"] + 5)
    assert (marked(view, "chosen"), view.inner_text("#details-title")) == (set(), "digits")


def test_the_pointer_previews(page: Page, folder: Path) -> None:
    view = page().open(folder / "digits.html")
    view.mouse.move(*position(view, "h3"))
    expect(view.locator("#details-title")).to_have_text("State h3")
    box = view.locator("#diagram").bounding_box()
    view.mouse.move(box["x"] + 5, box["y"] + 5)
    expect(view.locator("#details-title")).to_have_text("digits")
    assert marked(view, "chosen") == set()


def test_keys_alone_reach_everything(page: Page, folder: Path) -> None:
    view = page().open(folder / "digits.html")
    view.keyboard.press("Tab")
    assert view.evaluate("document.activeElement.textContent") == "Skip to the table of states"
    view.keyboard.press("Enter")
    assert view.evaluate("document.activeElement.id") == "states"
    view.focus("#diagram")
    view.keyboard.press("ArrowRight")
    assert view.inner_text("#live").startswith("State x, 1×8×8, clamped, edges to h1")
    view.keyboard.press("ArrowRight")
    assert view.inner_text("#live") == "State h1, 32×4×4, relu1, class 1, edges from x, edges to h2, h3, y"
    view.keyboard.press("ArrowLeft")
    assert marked(view, "chosen") == {"x"}
    view.keyboard.press("Enter")
    assert view.evaluate("document.activeElement.id") == "details-title"
    view.focus("#diagram")
    view.keyboard.press("Escape")
    assert (marked(view, "chosen"), view.inner_text("#live")) == (set(), "Nothing is selected")
    before = view.evaluate("cy.zoom()")
    view.keyboard.press("+")
    assert view.evaluate("cy.zoom()") > before
    view.keyboard.press("0")
    assert view.evaluate("cy.zoom()") == pytest.approx(before)
    view.keyboard.press(" ")
    assert view.get_attribute("#play", "aria-pressed") == "true"
    view.keyboard.press("Escape")
    assert (view.get_attribute("#play", "aria-pressed"), marked(view, "moves")) == ("false", set())
    # The tabs, and the rows of a table.
    view.focus("#tab-states")
    view.keyboard.press("ArrowRight")
    assert view.evaluate("document.activeElement.id") == "tab-edges"
    assert view.locator("#edges").is_visible()
    view.focus("#edges tbody button >> nth=0")
    view.keyboard.press("ArrowDown")
    assert marked(view, "chosen") == {"h1_h2"}


def test_the_search_finds_states_and_edges(page: Page, folder: Path) -> None:
    view = page().open(folder / "digits.html")
    view.keyboard.press("/")
    assert view.evaluate("document.activeElement.id") == "search"
    view.keyboard.type("H4")
    options = view.locator("#matches [role=option]")
    assert options.all_inner_texts()[0].split() == ["h4", "state,", "64×2×2"]
    assert set(options.evaluate_all("(all) => all.map((o) => o.firstChild.textContent.trim())")) == {
        "h4",
        "h3_h4",
        "h2_h4",
        "h4_y",
    }
    assert marked(view, "match") == {"h4"}
    assert view.inner_text("#live") == "4 matches"
    active = view.get_attribute("#search", "aria-activedescendant")
    assert active == view.locator("[role=option][aria-selected=true]").get_attribute("id")
    view.keyboard.press("ArrowDown")
    view.keyboard.press("Enter")
    assert len(marked(view, "chosen") & {"h3_h4", "h2_h4", "h4_y"}) == 1
    view.keyboard.press("/")
    view.keyboard.type("nothing of this name")
    assert (options.count(), view.inner_text("#live")) == (0, "0 matches")
    view.keyboard.press("Escape")
    assert view.input_value("#search") == ""


def test_the_sweep_moves_class_by_class_and_shows_conflicts(page: Page, folder: Path) -> None:
    """The paper's even/odd schedule on its network: three skips join states that move together."""
    view = page().open(folder / "hopfield_resnet13.html")
    view.click("#forth")
    assert marked(view, "moves") == {"h1a", "h2a", "h3a", "h4a", "y"}
    assert marked(view, "read") == {"x", "h1b", "h2b", "h3b", "h4b"}
    assert marked(view, "clash") == set()
    assert view.inner_text("#step") == "Class 1 of 2: h1a, h2a, h3a, h4a, y move; read: x, h1b, h2b, h3b, h4b."
    view.click("#forth")
    assert marked(view, "moves") == {"h1b", "h2b", "h3b", "h4b"}
    assert marked(view, "clash") == {"h1b", "h2b", "h3b", "h4b", "h1b_h2b", "h2b_h3b", "h3b_h4b"}
    assert "Conflict: these move together and read each other: h1b and h2b (edge h1b_h2b);" in view.inner_text("#step")
    assert view.evaluate("cy.edges('.clash').first().style('line-color')") == "rgb(179,38,30)"
    view.click("#back")
    assert view.inner_text("#step").startswith("Class 1 of 2")
    view.select_option("#speed", "400")
    view.click("#play")
    assert view.inner_text("#step").startswith("Class 2 of 2")
    expect(view.locator("#step")).to_contain_text("Class 1 of 2")
    assert view.inner_text("#play") == "Pause"
    view.click("#stop")
    assert (marked(view, "moves"), marked(view, "read"), marked(view, "faint")) == (set(), set(), set())
    assert view.inner_text("#step").startswith("A sweep has 2 classes.")


def test_tables_sort_and_select(page: Page, folder: Path) -> None:
    view = page().open(folder / "pyramid.html")

    def column(k: int) -> list[str]:
        return list(view.locator(f"#states tbody tr > :nth-child({k})").all_inner_texts())

    assert column(1) == [state["name"] for state in ep.check(EXAMPLES / "pyramid.yaml").report["states"]]  # type: ignore[index]
    for head, direction in (("state", "ascending"), ("state", "descending")):
        view.click(f"#states thead button:text-is('{head}')")
        assert view.get_attribute("#states thead th >> nth=0", "aria-sort") == direction
        assert column(1) == sorted(column(1), reverse=direction == "descending")
    view.click("#states thead button:text-is('biases')")
    assert [int(text) for text in column(7)] == sorted(int(text) for text in column(7))
    view.click("#states tbody th >> text=fine_b")
    assert marked(view, "chosen") == {"fine_b"}
    view.click("#tab-edges")
    view.click("#edges tbody tr:nth-child(3) td:nth-child(4)")
    (name,) = marked(view, "chosen")
    assert view.inner_text("#details-title") == f"Edge {name}"
    assert view.get_by_role("table").count() == 1


def test_light_and_dark(page: Page, folder: Path) -> None:
    view = page(color_scheme="light").open(folder / "digits.html")
    look = (
        "[getComputedStyle(document.body).backgroundColor, cy.edges()[0].style('line-color'), nodes[0].style('color')]"
    )
    light = view.evaluate(look)
    assert light == ["rgb(255, 255, 255)", "rgb(60,60,60)", "rgb(26,26,26)"]
    view.emulate_media(color_scheme="dark")
    expect(view.locator("#diagram")).to_have_attribute("data-scheme", "dark")
    dark = view.evaluate(look)
    assert all(one != other for one, other in zip(light, dark, strict=True))
    assert page(color_scheme="dark").open(folder / "digits.html").evaluate(look) == dark


def test_a_narrow_window_without_motion(page: Page, folder: Path) -> None:
    view = page(viewport={"width": 360, "height": 700}, reduced_motion="reduce").open(folder / "hopfield_resnet13.html")
    assert view.evaluate("document.documentElement.scrollWidth") <= 360
    assert view.locator("#details").bounding_box()["y"] > view.locator("#diagram").bounding_box()["y"]
    assert view.evaluate("still.matches && nodes[0].style('transition-property')") in ("none", "")
    extent = view.evaluate("[cy.elements().renderedBoundingBox(), cy.width()]")
    assert extent[0]["x1"] >= 0
    assert extent[0]["x2"] <= extent[1]


def test_what_a_user_writes_is_shown_and_not_run(page: Page, tmp_path: Path) -> None:
    """The name of a network may be any text; so may the label of an activation of one's own."""

    class Hostile(type(NAMED["tanh"])):  # type: ignore[misc]
        label = f"{HOSTILE}</script><img src=x onerror=alert(2)>"

    ep.register_activation("hostile", Hostile())
    try:
        text = NET.replace("name: tiny", f"name: '{HOSTILE}'").replace("activation: relu1", "activation: hostile")
        assert "hostile" in text
        ep.explore(text, tmp_path / "net.html")
    finally:
        NAMED.pop("hostile")
    source = (tmp_path / "net.html").read_text(encoding="utf-8")
    assert HOSTILE not in source
    assert "<img" not in source
    view = page().open(tmp_path / "net.html")
    assert (view.title(), view.inner_text("#name")) == (f"{HOSTILE} – epgraph", HOSTILE)
    view.click("#states tbody tr:nth-child(2)")
    assert Hostile.label in details(view)
    assert Hostile.label in view.inner_text("#states")
    assert view.locator("img").count() == 0


def test_the_page_cannot_reach_the_network(browser: Any, folder: Path) -> None:
    """Even where something in it would ask: its own policy forbids that, before the test's network does."""
    with opened(browser) as one:
        view = one.open(folder / "digits.html")
        asks = "fetch('http://127.0.0.1:9/').then(() => 'there', (error) => String(error))"
        assert view.evaluate(asks).startswith("TypeError")
        view.evaluate("document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/i.png'}))")
        view.evaluate("document.body.setAttribute('onclick', 'window.ran = true'); document.body.click()")
        assert view.evaluate("window.ran") is None
        assert len(one.said) >= 3
        assert all("Content Security Policy" in said for said in one.said)
        assert one.asked == []


def test_a_run_has_curves_of_every_checkpoint(page: Page, folder: Path) -> None:
    view = page().open(folder / "run" / "explore.html")
    view.click("#tab-run")
    names = ["epoch-001.pt", "best.pt", "epoch-002.pt", "last.pt"]
    assert set(view.evaluate("run.checkpoints.map((c) => c.name)")) == set(names)
    assert view.evaluate("run.checkpoints.map((c) => c.epoch)") == sorted(
        view.evaluate("run.checkpoints.map((c) => c.epoch)")
    )
    assert view.locator("#checkpoint-name").inner_text() == "last.pt, epoch 2"
    assert view.locator("#run canvas").count() == 3
    assert "free: " in view.inner_text("#ended")
    drawn = "[...document.querySelectorAll('#run canvas')].map((c) => c.toDataURL())"
    before = view.evaluate(drawn)
    # The slider has keys of its own.
    view.focus("#checkpoint")
    view.keyboard.press("Home")
    assert view.locator("#checkpoint-name").inner_text() == "epoch-001.pt, epoch 1"
    assert view.get_attribute("#checkpoint", "aria-valuetext") == "epoch-001.pt, epoch 1"
    assert f"{folder / 'run'}, epoch-001.pt, epoch 1" in details(view)
    after = view.evaluate(drawn)
    assert all(one != other for one, other in zip(before, after, strict=True))
    # What is shown is what ep.converge says of that checkpoint.
    found = ep.converge(folder / "run" / "epoch-001.pt", examples=5, warn=lambda _: None)
    name = next(iter(found.phases["free"].states))
    for phase in found.phases:
        view.select_option("#phase", phase)
        view.click("#tab-states")
        row = view.locator(f"#states tbody tr:has(button:text-is('{name}'))")
        curve = found.phases[phase].states[name]
        shown = [float(text) for text in row.locator("td").all_inner_texts()[-3:] if text != "–"]
        wanted = [curve.activity[-1], curve.saturation[-1], curve.residual[-1]]
        assert shown == pytest.approx([value for value in wanted if value == value], rel=6e-3, abs=1e-12)
        view.click("#tab-run")
    energy = view.evaluate("run.checkpoints[0].phases.free.energy")
    assert energy == pytest.approx(found.phases["free"].energy, rel=1e-6)
    # The curve of a state selects it, and its value colors the diagram.
    view.click(f"#legend-states button:text-is('{name}')")
    assert marked(view, "chosen") == {name}
    assert f"activity, {phase}" in details(view)
    fill = f"nodes[states.findIndex((s) => s.name === '{name}')].style('background-color')"
    plain = view.evaluate(fill)
    view.select_option("#color", "activity")
    assert view.evaluate(fill) != plain
    assert view.inner_text("#legend").startswith("least activity: ")
    view.select_option("#metric", "residual")
    assert "residual" in view.inner_text("#title-states")
    view.emulate_media(color_scheme="dark")
    expect(view.locator("#diagram")).to_have_attribute("data-scheme", "dark")
    assert view.locator("#run canvas").count() == 3


def test_a_phase_has_one_color_and_a_forward_pass_no_curve(page: Page, folder: Path, tmp_path: Path) -> None:
    """With the energy 'predictive' the free phase is one pass, and with backpropagation there is no other phase."""
    colors = "plots.slice(0, -1).map((p) => p.series.slice(1).map((s) => [s.label, s.stroke()]))"
    shown = {}
    for name, override in (
        ("hopfield", "name=h"),
        ("predictive", "energy=predictive"),
        ("backprop", "learning.estimator=backprop"),
    ):
        made = ep.explore(folder / "run" / "last.pt", tmp_path / f"{name}.html", overrides=[override], examples=2)
        view = page().open(made.path)
        view.click("#tab-run")
        shown[name] = view.evaluate(colors)
        assert ("free: one forward pass" in view.inner_text("#ended")) is (name != "hopfield")
    energy, residual = shown["hopfield"]
    assert [label for label, _ in energy] == ["free", "+β", "−β"]
    assert residual == energy
    assert shown["predictive"] == [energy[1:]] * 2
    assert shown["backprop"] == []
    # Nothing settles: there are no panes for curves, and no word of a sweep.
    assert view.locator(".chart").count() == 0
    assert view.locator("#color option").all_inner_texts() == ["step", "activity", "saturation"]
    assert "Space plays the pass" in view.inner_text("#keys")
    assert "sweep" not in view.inner_text("body")
    # One arrow an edge, and the steps of the pass in their order.
    assert view.evaluate("[network.forward, lines[1].style('source-arrow-shape')]") == [True, "none"]
    assert view.evaluate("steps.map(({ moves }) => moves.map((i) => states[i].name))") == [["h1"], ["h2"], ["y"]]
    assert view.inner_text("#step").startswith("The forward pass has 3 steps.")


def test_names_that_every_object_has(page: Page, tmp_path: Path) -> None:
    """Of JavaScript: a state may be called "constructor", and an edge "toString"."""
    text = NET.replace("name: x", "name: constructor").replace("from: x,", "name: toString, from: constructor,")
    text = text.replace("h1", "valueOf")
    options: dict[str, Any] = {"pictures": False, "histograms": False, "limit": 20, "warn": lambda _: None}
    ep.train(text, "digits", out=tmp_path / "run", epochs=1, **options)
    view = page().open(ep.explore(tmp_path / "run", examples=2).path)
    view.click("#states button:text-is('constructor')")
    assert view.locator("#states tr[aria-current] td").all_inner_texts()[-3:] == ["–"] * 3
    view.select_option("#color", "activity")
    view.click("#tab-run")
    assert view.locator("#legend-states button").all_inner_texts() == ["valueOf", "h2", "y"]
    view.fill("#search", "tostr")
    view.keyboard.press("Enter")
    assert view.inner_text("#details-title") == "Edge toString"


def test_a_thousand_states(page: Page, tmp_path: Path) -> None:
    """It is drawn and searched whole; the file stays below a megabyte."""
    result = ep.explore(ep.topologies.small_world(states=1000), tmp_path / "large.html")
    assert result.size < 1_000_000
    view = page().open(result.path)
    assert view.evaluate("[cy.nodes().length, cy.edges().length]") == [1002, 2002]
    assert view.locator("#states tbody tr").count() == 1000
    view.fill("#search", "h999")
    view.keyboard.press("Enter")
    assert marked(view, "chosen") == {"h999"}
    assert view.inner_text("#states tr[aria-current] th") == "h999"
    places = view.evaluate("states.map((s) => `${s.x} ${s.y}`)")
    assert len(set(places)) == len(places), "no two states stand in one place"

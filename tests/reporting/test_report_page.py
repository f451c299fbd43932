"""A report in a real browser: light and dark, on a phone and on paper, and nothing in it runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import epgraph as ep
from tests.helpers.browser import Opened
from tests.helpers.runs import NET

NAME = "<script>alert(1)</script><img src=x onerror=alert(2)>"

COLORS = """
() => {
  const seen = {};
  const svg = document.querySelector('#learning .drawing svg');
  seen.text = getComputedStyle(svg.querySelector('text')).fill;
  seen.line = [...svg.querySelectorAll('path')].map(path => getComputedStyle(path).stroke).find(c => c != 'none');
  seen.ground = getComputedStyle(document.body).backgroundColor;
  seen.ink = getComputedStyle(document.body).color;
  return seen;
}
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("page")
    named = NET.replace("name: tiny", f"name: '{NAME}'")
    options: dict[str, Any] = {"limit": 170, "epochs": 2, "pictures": False, "histograms": False, "threads": 1}
    ep.train(named, "digits", out=root / "run", warn=lambda _: None, **options)
    return ep.report(root / "run", root / "report.html", figures=False, gradients=1, examples=4, threads=1).path


def bright(color: str) -> float:
    return sum(map(float, color.removeprefix("rgb(").removesuffix(")").split(","))) / 3


def test_light_and_dark(report: Path, page: Callable[..., Opened]) -> None:
    found = {scheme: page(color_scheme=scheme).open(report).evaluate(COLORS) for scheme in ("light", "dark")}
    for scheme, sign in (("light", 1), ("dark", -1)):
        ground = bright(found[scheme]["ground"])
        assert sign * (ground - bright(found[scheme]["ink"])) > 150
        assert found[scheme]["text"] == found[scheme]["ink"]
        assert found[scheme]["line"].startswith("rgb("), "a color of the page"
    assert found["light"]["line"] != found["dark"]["line"]


def test_names_are_shown_and_never_run(report: Path, page: Callable[..., Opened]) -> None:
    """The fixture fails the test if the page said anything, opened a dialog, or asked the network."""
    view = page().open(report)
    assert NAME in view.evaluate("document.querySelector('h1').textContent")
    assert view.evaluate("name => [...document.querySelectorAll('h3')].some(h => h.textContent == name)", NAME)
    assert view.evaluate("document.scripts.length") == 0
    images = view.evaluate("[...document.images].map(i => i.complete && i.naturalWidth)")
    assert len(images) > 12
    assert all(images)


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_is_as_wide_as_the_window(width: int, report: Path, page: Callable[..., Opened]) -> None:
    view = page(viewport={"width": width, "height": 800}).open(report)
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    # A link of the list leads to its section, and details open by the keyboard.
    view.click("nav a >> nth=-1")
    assert view.evaluate("location.hash") == "#settings"
    view.focus("#settings summary")
    view.keyboard.press("Enter")
    assert view.evaluate("document.querySelector('#settings details').open")


def test_paper_is_light_and_has_everything(report: Path, page: Callable[..., Opened]) -> None:
    view = page(color_scheme="dark").open(report)
    closed = view.evaluate("document.documentElement.scrollHeight")
    view.emulate_media(media="print", color_scheme="dark")
    assert bright(view.evaluate(COLORS)["ground"]) == 255
    assert bright(view.evaluate(COLORS)["text"]) < 50
    assert not view.is_visible("nav")
    # What is within details is printed, though they are closed.
    assert view.is_visible("#settings details table >> nth=0")
    assert view.evaluate("document.documentElement.scrollHeight") > closed

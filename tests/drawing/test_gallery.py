"""The gallery that is committed is the one that ``make gallery`` makes."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from xml.etree import ElementTree

import pytest

import epgraph as ep
from epgraph.topologies import TEMPLATES

DOCS = Path(__file__).parents[2] / "docs"
GALLERY = runpy.run_path(str(DOCS / "gallery.py"), run_name="gallery")


def test_the_page_is_current() -> None:
    assert (DOCS / "gallery.md").read_text(encoding="utf-8") == GALLERY["markdown"](), "run 'make gallery'"


def test_every_family_is_shown_and_nothing_is_left_over() -> None:
    assert {name for _, name, _ in GALLERY["PICTURES"]} == set(TEMPLATES)
    assert len(GALLERY["PICTURES"]) >= 12
    assert {path.stem for path in (DOCS / "gallery").iterdir()} == {picture for picture, _, _ in GALLERY["PICTURES"]}


@pytest.mark.parametrize(("figure", "source"), GALLERY["FIGURES"], ids=[f for f, _ in GALLERY["FIGURES"]])
def test_figures_of_other_pages_are_current(figure: str, source: object, tmp_path: Path) -> None:
    def words(path: Path) -> list[str]:
        return sorted(ElementTree.fromstring(path.read_text(encoding="utf-8")).itertext())

    drawn = ep.render(source, tmp_path / "net.svg")  # type: ignore[arg-type]
    assert words(DOCS / f"{figure}.svg") == words(drawn), "run 'make gallery'"


@pytest.mark.parametrize(
    ("picture", "name", "parameters"), GALLERY["PICTURES"], ids=[p for p, _, _ in GALLERY["PICTURES"]]
)
def test_the_picture_is_current(picture: str, name: str, parameters: dict[str, object]) -> None:
    """Its text, that is: where Graphviz puts it depends on the version."""
    root = ElementTree.fromstring((DOCS / "gallery" / f"{picture}.svg").read_text(encoding="utf-8"))
    written = " ".join(" ".join(root.itertext()).split())
    graph = ep.build(TEMPLATES[name](**parameters))
    for state in graph.states.values():
        assert re.search(rf"\b{state.name} {'×'.join(map(str, state.shape))}\b", written)
    titles = re.findall(r"(\w+)->(\w+)", written)
    assert sorted(map(sorted, titles)) == sorted(sorted((e.source, e.target)) for e in graph.edges.values())
    assert f"{graph.parameters():,} parameters" in written

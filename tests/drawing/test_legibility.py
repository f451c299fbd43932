"""Nothing overlaps in a diagram, measured in the SVG by code that the renderer does not share."""

from __future__ import annotations

import random
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

import epgraph as ep
from epgraph.language import Architecture
from tests.helpers.svg import groups, overlaps
from tests.helpers.topologies import random_architecture

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted([*(ROOT / "examples").glob("*.yaml"), *(ROOT / "examples" / "recipes").glob("*.yaml")])
GALLERY = runpy.run_path(str(ROOT / "docs" / "gallery.py"), run_name="gallery")["PICTURES"]


def drawn(architecture: Architecture, folder: Path, **options: object) -> str:
    notes: list[str] = []
    path = ep.render(architecture, folder / "net.svg", report=notes.append, **options)  # type: ignore[arg-type]
    assert not notes  # boxes and lines, and no table of edges
    return path.read_text(encoding="utf-8")


def check(architecture: Architecture, folder: Path, **options: object) -> None:
    svg = drawn(architecture, folder, **options)
    assert sum(group.edge for group in groups(svg)) > 0
    assert overlaps(svg) == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.stem))
def test_examples(path: Path, tmp_path: Path) -> None:
    check(ep.load(path), tmp_path)


@pytest.mark.parametrize(("picture", "name", "parameters"), GALLERY, ids=[picture for picture, _, _ in GALLERY])
def test_gallery(picture: str, name: str, parameters: dict[str, object], tmp_path: Path) -> None:
    check(ep.topologies.TEMPLATES[name](**parameters), tmp_path)


@pytest.mark.parametrize("layout", ["left-right", "top-down", "u", "stages"])
@pytest.mark.parametrize("name", ["u12", "pyramid", "hopfield_resnet13"])
def test_layouts(name: str, layout: str, tmp_path: Path) -> None:
    check(ep.load(ROOT / "examples" / f"{name}.yaml"), tmp_path, layout=layout)


def random_networks() -> Iterator[Architecture]:
    """Thirty networks with every kind of edge, from sparse chains to half of all possible edges."""
    for seed in range(15):
        yield Architecture.model_validate(random_architecture(random.Random(seed), max_states=5 + seed))
    for seed in range(15):
        yield ep.topologies.random_dag(states=5 + seed % 8, density=0.1 + 0.06 * seed, seed=seed)


@pytest.mark.parametrize(("number", "architecture"), list(enumerate(random_networks())), ids=range(30))
def test_random_networks(number: int, architecture: Architecture, tmp_path: Path) -> None:
    check(architecture, tmp_path)


def test_large_tables_of_edges(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="drawn as a mark in a table"):
        path = ep.render(ep.topologies.random_dag(states=40, density=0.5, seed=1), tmp_path / "net.svg")
    # Marks lie in the cells of others by design, so only texts are measured.
    assert [found for found in overlaps(path.read_text(encoding="utf-8")) if " on '" in found] == []


def test_overlaps_are_found(tmp_path: Path) -> None:
    """A label that is moved onto a box, and an edge that is moved onto a label, are both found."""
    svg = drawn(ep.load(ROOT / "examples" / "u12.yaml"), tmp_path, layout="left-right")
    places = {text: re.search(rf'x="([-\d.]+)" y="([-\d.]+)"[^>]*>{text}<', svg) for text in ("1.73k", "e3")}
    label, box = places["1.73k"], places["e3"]
    assert label
    assert box
    moved = svg.replace(f'x="{label[1]}" y="{label[2]}"', f'x="{box[1]}" y="{box[2]}"')
    assert any(re.fullmatch("'(1.73k|e3)' on '(1.73k|e3)'", found) for found in overlaps(moved))
    assert any(found.startswith("'1.73k'") and found.endswith("on box e3") for found in overlaps(moved))
    level = float(label[2]) - 4  # the middle of its letters
    across = svg.replace(
        '<path fill="none" stroke="#0072b2"',
        f'<path fill="none" d="M0,{level} L5000,{level}" stroke="a" /><path fill="none" stroke="#0072b2"',
        1,
    )
    found = overlaps(across)
    assert any("through '1.73k'" in one for one in found)
    assert any("through box" in one for one in found)

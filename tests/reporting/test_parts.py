"""Pieces of reports: SVG in a page, Markdown of hostile text, and logs of batches."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure

import epgraph as ep
from epgraph.drawing.figures import new_figure
from epgraph.errors import EpgraphError
from epgraph.reporting.batches import MOST_POINTS, read_batches
from epgraph.reporting.blocks import Document, Heading, Picture, Section, Table, Text
from epgraph.reporting.context import Context, Missing
from epgraph.reporting.markdown import escaped, markdown
from epgraph.reporting.page import page
from epgraph.reporting.parts.cost import COST
from epgraph.reporting.parts.networks import NETWORKS
from epgraph.reporting.pictures import picture, short
from epgraph.reporting.runs import Loaded, read_all, representatives
from epgraph.reporting.themed import COLORS, themed
from tests.helpers.pages import Page
from tests.helpers.runs import NET

SVG = """<?xml version="1.0"?>
<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="9pt" viewBox="0 0 9 9">
 <metadata>by somebody</metadata>
 <defs><style>*{stroke: red}</style><clipPath id="c"><path d="M 0.123456 -7.98765 L 1 2"/></clipPath></defs>
 <g id="a" clip-path="url(#c)"><title>t</title>
  <text x="1.23456" style="font-family: 'X'; fill: #000000; font-size: 10px">0.00512 &lt;b&gt;</text>
  <use xlink:href="#a" style="stroke: #0072b2; stroke-width: 0.8"/>
  <path d="M 0 0" style="fill: #123456; stroke: none"/><polygon fill="#123456" stroke="#123456"/><rect fill="white"/>
  <image xlink:href="http://elsewhere/x.png"/>
 </g>
</svg>"""


def test_svg_takes_its_colors_from_the_page() -> None:
    text = themed(SVG.encode(), "n-")
    root = ElementTree.fromstring(text)
    by_tag = {element.tag.rpartition("}")[2]: element for element in root.iter()}
    assert not {"metadata", "style", "title"} & by_tag.keys()
    assert all("style" not in element.attrib for element in root.iter())
    # Numbers that are read stay what they are; places are rounded.
    assert by_tag["text"].text == "0.00512 <b>"
    assert by_tag["text"].attrib == {"x": "1.23", "fill": "currentColor", "font-size": "10px"}
    assert "M 0.12 -7.99 L 1 2" in text
    assert by_tag["use"].attrib == {"href": "#n-a", "stroke": "var(--c-0072b2)", "stroke-width": "0.8"}
    assert by_tag["path"].get("fill") == "color-mix(in oklab, #123456, black var(--sink))", "an area"
    assert by_tag["g"].attrib == {"id": "n-a", "clip-path": "url(#n-c)"}
    assert by_tag["image"].get("href") == ""
    assert by_tag["polygon"].attrib["fill"] == "color-mix(in oklab, #123456, white var(--lift))", "an arrowhead"
    assert by_tag["rect"].attrib["fill"] == "var(--ground)"


def luminance(color: str) -> float:
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_lines_are_seen_on_a_dark_ground() -> None:
    css = (Path(__file__).parents[2] / "epgraph" / "reporting" / "templates" / "report.css").read_text()
    dark = re.findall(r"--ground: (#[0-9a-f]{6})", css)[1]
    grid = "#dddddd"
    for light, other in COLORS.items():
        assert light == grid or contrast(other, dark) >= 4.5, (light, other)
    for name in ("ink", "soft", "link", "warn"):
        for ground, color in zip(
            re.findall(r"--ground: (\S+);", css), re.findall(rf"--{name}: (\S+);", css), strict=True
        ):
            assert contrast(ground, color) >= 4.5, (name, color)


@pytest.mark.parametrize("name", ["$x$", "_hidden", "a $ b", r"\$", "two\nlines", "x" * 500, "日本", "%s {x}"])
def test_a_name_in_a_figure_is_a_name(name: str) -> None:
    """Neither a formula nor a label that is left out."""

    def draw() -> Figure:
        figure = new_figure(2, 2)
        axes = figure.subplots()
        axes.plot([1, 2], label=short(name))
        axes.legend()
        return figure

    inline = picture("n", "", "", draw, files=False).inline
    texts = [text.strip() for text in ElementTree.fromstring(inline).itertext() if text.strip()]
    shown = name.replace("\n", "\\n").strip()
    assert (shown if len(shown) < 48 else shown[:47] + "…") in texts


HOSTILE = ["<script>alert(1)</script>", "](javascript:alert(1))", "a|b", "@all #1 $x$", "`code` *x* _y_ ~z~", "\u202e!"]


def test_text_is_text_in_both_formats() -> None:
    rows = [[text, text] for text in HOSTILE]
    document = Document(HOSTILE[0], HOSTILE, [Section("s", "s", [Text(HOSTILE[1]), Table("t", ("a", "b"), rows)])])
    found = Page(page(document))
    assert [row[0] for row in found.table("t")[1:]] == [*HOSTILE[:-1], "\\u202e!"]
    assert "<script" not in found.text
    text = markdown(document, None)
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 3 for line in table)
    for mark in ("<script", "](java", "@", "#1", "$", "\u202e"):
        assert mark not in text.replace("\\]", ""), mark
    assert escaped("a_b*") == r"a\_b\*"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (EpgraphError("no data", "name them"), "no data; name them"),
        (RuntimeError("first\nsecond"), "RuntimeError: first"),
        (MemoryError(), "MemoryError: failed"),
    ],
)
def test_what_fails_keeps_what_was_made_and_says_why(error: Exception, reason: str) -> None:
    def make() -> Iterator[Text]:
        yield Text("made before")
        raise error

    loaded = Loaded(None, data_root=None, download=False, limit=None, device=None, threads=None)
    context = Context([], [], None, [], loaded, gradients=0, examples=1, figures=False)
    blocks = list(context.attempt("Weights", None, make))
    assert blocks == [Text("made before"), Text(f"Not in this report: {reason}", missing=True)]
    assert context.missing == [Missing("Weights", "", reason)]


def test_a_log_of_batches_is_thinned_out(tmp_path: Path) -> None:
    rows = [
        {
            "epoch": 1,
            "batch": i,
            "free_steps": i % 3,
            "free_residual": 0.5,
            "free_status": ("converged", "fixed")[i % 2],
        }
        for i in range(1000)
    ]
    lines = [json.dumps(row) for row in rows]
    (tmp_path / "log").write_text("\n".join([*lines[:500], lines[1][:20], "[]", "3", *lines[500:]]) + "\n")
    found = read_batches(tmp_path / "log")
    assert len(found) == 1000
    assert found.statuses == {("free", "converged"): 500, ("free", "fixed"): 500}
    x, y = found.curve("free_steps")
    assert len(x) == len(y) <= MOST_POINTS
    assert y[0] == pytest.approx(sum(i % 3 for i in range(4)) / 4)
    assert x[0] == 2.5
    assert not found.known("nudged_steps")
    assert all(math.isnan(value) for value in found.curve("nudged_steps")[1])
    with pytest.raises(EpgraphError, match="cannot be read"):
        read_batches(tmp_path / "nowhere")


# Several runs


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """Two seeds of a network, and one of a network of the same name with a wider state; nothing is trained twice."""
    root = tmp_path_factory.mktemp("several")
    options: dict[str, Any] = {"limit": 40, "epochs": 2, "pictures": False, "histograms": False, "threads": 1}
    ep.train(NET, "digits", out=root / "a", warn=lambda _: None, **options)
    for name, edit in (("b", ("training", "seed", 1)), ("c", ("states", "h1", {"channels": 7}))):
        shutil.copytree(root / "a", root / name)
        record = json.loads((root / name / "run.json").read_text())
        part, key, value = edit
        if isinstance(value, dict):
            record["settings"][part][key] |= value
        else:
            record["settings"][part][key] = value
        (root / name / "run.json").write_text(json.dumps(record))
    runs, comparison, notes = read_all([root / name for name in "abc"], "test_error")
    loaded = Loaded(None, data_root=None, download=False, limit=None, device=None, threads=1)
    return Context(runs, representatives(runs), comparison, notes, loaded, 0, 4, figures=False)


def test_networks_of_one_name_are_told_apart_by_what_differs(several: Context) -> None:
    assert NETWORKS.whole is not None
    headings = [block.text for block in NETWORKS.whole(several) if isinstance(block, Heading)]
    assert [run.label for run in several.runs] == ["h1.channels=4", "h1.channels=4", "h1.channels=7"]
    assert headings == ["tiny: h1.channels=4", "tiny: h1.channels=7"]


def test_runs_that_have_not_finished_are_named_as_finished_ones_are(several: Context, tmp_path: Path) -> None:
    folders = []
    for run in several.runs:
        folders.append(tmp_path / run.folder.name)
        shutil.copytree(run.folder, folders[-1])
        record = json.loads((folders[-1] / "run.json").read_text())
        record["finished"] = False
        (folders[-1] / "run.json").write_text(json.dumps(record))
    runs, comparison, _ = read_all(folders, "test_error")
    assert comparison is None
    assert [run.label for run in runs] == ["h1.channels=4", "h1.channels=4", "h1.channels=7"]


def test_time_and_memory_are_drawn_of_all_seeds(several: Context) -> None:
    assert COST.whole is not None
    (drawn,) = [block for block in COST.whole(several) if isinstance(block, Picture)]
    assert "h1.channels=4 (2 seeds)" in drawn.inline
    assert "h1.channels=7 (1 seed)" in drawn.inline

"""Draw the pictures of pages in this folder, in a real browser: ``python -m docs.screenshots [NAME…]``.

A picture of a page is an entry of ``SHOTS``. They are run by ``make figures``; a Chromium and playwright are needed.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

import epgraph as ep
from tests.helpers.browser import launched, opened

DOCS = Path(__file__).parent
EXAMPLES = DOCS.parent / "examples"

MOST_BYTES = 150_000
"""Largest picture."""


@dataclass(frozen=True)
class Shot:
    """One picture of a page.

    Attributes
    ----------
    name
        Name of the picture, without ``.png``.
    page
        Makes the page in a folder, and returns its path.
    act
        What is done with playwright's page before the picture is taken.
    options
        Those of playwright's ``Browser.new_context``.
    """

    name: str
    page: Callable[[Path], Path]
    act: Callable[[Any], None]
    options: dict[str, Any]


def network(folder: Path) -> Path:
    """Return the page of the network of the paper."""
    return ep.explore(EXAMPLES / "hopfield_resnet13.yaml", folder / "network.html").path


def run(folder: Path) -> Path:
    """Return the page of a short run on digits."""
    out = folder / "run"
    if not out.exists():
        settings = ["training.epochs=4", "training.checkpoint_epochs=1"]
        ep.train(EXAMPLES / "digits.yaml", "digits", out=out, overrides=settings, limit=600, pictures=False)
    return ep.explore(out, folder / "run.html").path


def runs(folder: Path) -> Path:
    """Return the report on short runs by EP and by backpropagation."""
    path = folder / "report.html"
    if not path.exists():
        named = {rule: folder / f"by-{rule}" for rule in ("centered", "backprop")}
        for rule, out in named.items():
            settings = ["training.epochs=6", f"learning.estimator={rule}"]
            ep.train(EXAMPLES / "digits.yaml", "digits", out=out, overrides=settings, pictures=False)
        ep.report(list(named.values()), path, figures=False)
    return path


def at(selector: str) -> Callable[[Any], None]:
    """Show the page from an element on."""

    def act(page: Any) -> None:
        page.evaluate("selector => document.querySelector(selector).scrollIntoView()", selector)

    return act


def conflict(page: Any) -> None:
    """Show the second class of the sweep, with the skips that join its states."""
    page.click("#forth")
    page.click("#forth")
    page.click("#states button:text-is('h2b')")
    page.evaluate("scrollTo(0, 0)")


def curves(page: Any) -> None:
    """Show the curves of the last checkpoint, with a state selected."""
    page.click("#states button:text-is('h3')")
    page.click("#tab-run")
    page.select_option("#metric", "saturation")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")


WINDOW = {"viewport": {"width": 1280, "height": 860}, "reduced_motion": "reduce"}

SHOTS = (
    Shot("explorer", network, conflict, {**WINDOW, "color_scheme": "light"}),
    Shot("explorer_run", run, curves, {**WINDOW, "color_scheme": "dark"}),
    Shot("report", runs, at("#learning"), {**WINDOW, "color_scheme": "light"}),
    Shot("report_weights", runs, at("#weights"), {**WINDOW, "color_scheme": "dark"}),
    Shot("report_predictions", runs, at("#predictions"), {**WINDOW, "color_scheme": "light"}),
)


def main(names: list[str]) -> None:
    """Draw the pictures with these names; all without any."""
    with tempfile.TemporaryDirectory() as folder, launched() as browser:
        for shot in SHOTS:
            if names and shot.name not in names:
                continue
            with opened(browser, **shot.options) as one:
                page = one.open(shot.page(Path(folder)))
                shot.act(page)
                page.wait_for_timeout(300)
                picture = Image.open(io.BytesIO(page.screenshot()))
                assert one.said == [], f"{shot.name}: the console says {one.said}"
            path = DOCS / f"{shot.name}.png"
            # Pages have few colors.
            picture.convert("RGB").quantize(128).save(path, optimize=True)
            size = path.stat().st_size
            assert size <= MOST_BYTES, f"{path} has {size:,} bytes"
            print(f"{path.relative_to(DOCS.parent)}: {size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])

"""Data of users in a page: shown, never run."""

from __future__ import annotations

import json
from pathlib import Path

from epgraph.html import embed, escape
from tests.helpers.browser import Opened

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    "<!--",
    "]]>",
    "a & b \u2028 'c' \"d\"",
]


def test_texts_come_out_of_the_page_as_they_were(page: object, tmp_path: Path) -> None:
    value = {"texts": HOSTILE, "<b>": [1.5, float("nan"), float("inf"), None, True]}
    path = tmp_path / "page.html"
    shown = "".join(f"<p title='{escape(text)}'>{escape(text)}</p>" for text in HOSTILE)
    script = f'<script type="application/json" id="data">{embed(value)}</script>'
    path.write_text(f'<!DOCTYPE html><meta charset="utf-8"><title>t</title>{shown}{script}', encoding="utf-8")
    opened: Opened = page()  # type: ignore[operator]
    view = opened.open(path)
    read = json.loads(view.evaluate("document.getElementById('data').textContent"))
    assert read == {"texts": HOSTILE, "<b>": [1.5, None, None, None, True]}
    written = [text.replace("\u2028", r"\u2028") for text in HOSTILE]
    assert view.evaluate("[...document.querySelectorAll('p')].map(p => p.textContent)") == written
    assert view.evaluate("[...document.querySelectorAll('p')].map(p => p.title)") == written

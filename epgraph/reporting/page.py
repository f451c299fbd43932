"""A report as one HTML file: no script, nothing from elsewhere, light and dark, for screens, printers and readers."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from pathlib import Path
from typing import Any

from epgraph.errors import visible
from epgraph.reporting.blocks import Document
from epgraph.reporting.themed import variables
from epgraph.version import __version__

TEMPLATES = Path(__file__).parent / "templates"


def page(document: Document) -> str:
    """Write a report as HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["kind"] = lambda block: type(block).__name__.lower()
    environment.filters["data"] = lambda png: f"data:image/png;base64,{b64encode(png).decode()}"
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    style = style.replace("/* light */", variables(dark=False)).replace("/* dark */", variables(dark=True))
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    template = environment.get_template("report.html.jinja")
    return template.render(document=document, style=style, digest=digest, version=__version__)


def _printable(value: Any) -> Any:
    """Write out what does not print; Jinja escapes the rest, but for what is markup already."""
    return visible(value) if type(value) is str else value

"""The page: the template with data, styles and scripts put in, as one text that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Any

from epgraph.html import embed, escape

SCRIPTS = ("elements", "model", "diagram", "inspector", "tables", "sweep", "search", "run", "start")
"""Files of the page's own script, in their order."""

LIBRARIES = ("cytoscape.min.js", "uPlot.min.js")
"""Vendored scripts: cytoscape 3.35.0 and uPlot 1.6.32, as npm has them in ``dist/``.

Their licenses are in the same folder, and in the page.
"""


def page(network: dict[str, Any], run: dict[str, Any] | None = None) -> str:
    """Return the explorer of a network as HTML.

    The page asks for nothing: its policy (``Content-Security-Policy``) forbids the network, and every script but those
    of the page itself, which it names by their hashes.

    Parameters
    ----------
    network
        What ``describe`` returns.
    run
        What is known of a run of it (``epgraph.explorer.relaxation``); None without one.
    """
    libraries = LIBRARIES if run is not None else LIBRARIES[:1]
    scripts = [_text("vendor", name) for name in libraries]
    scripts.append("'use strict';\n" + "\n".join(_text("static", f"{name}.js") for name in SCRIPTS))
    styles = [*([_text("vendor", "uPlot.min.css")] if run is not None else []), _text("static", "explorer.css")]
    licenses = [f"{name.split('.')[0]}:\n{_text('vendor', name.split('.')[0] + '.LICENSE')}" for name in libraries]
    parts = {
        "policy": _policy(scripts),
        "title": escape(network["name"]),
        "styles": "".join(f"<style>{style}</style>" for style in styles),
        "licenses": _escaped_lines("\n\n".join(licenses)),
        "data": embed({"network": network, "run": run}),
        "scripts": "".join(f"<script>{script}</script>" for script in scripts),
    }
    text = _text("static", "explorer.html")
    first, *rest = text.split("{{")
    # By its parts, so that nothing within the data is taken for a part.
    return first + "".join(parts[name] + after for name, _, after in (part.partition("}}") for part in rest))


def _escaped_lines(text: str) -> str:
    """Escape a text of several lines, which stay lines."""
    return "\n".join(map(escape, text.splitlines()))


def _policy(scripts: list[str]) -> str:
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{value}'" for value in hashes)
    # Styles inline: cytoscape writes some for its canvas. The empty icon is data.
    rest = "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    return f"default-src 'none'; script-src {allowed}; {rest}"


def _text(folder: str, name: str) -> str:
    return (files("epgraph.explorer") / folder / name).read_text(encoding="utf-8")

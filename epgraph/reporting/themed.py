"""SVG that stands within a page: it takes its colors from the page, and needs no style of its own.

A page with a strict Content-Security-Policy has one style element, whose hash the policy names. So ``style`` attributes
become attributes of their own, and known colors become variables of the page, which has two sets of them.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

SVG = "http://www.w3.org/2000/svg"
XLINK = "{http://www.w3.org/1999/xlink}"

INK = ("#000000", "#1a1a1a", "black")
"""Colors of axes and text, which become that of the text of the page."""

COLORS = {
    "#0072b2": "#5cb3ee",
    "#d55e00": "#ff8f45",
    "#00735c": "#35c6a0",
    "#cc79a7": "#e69cc6",
    "#8a6d00": "#d6b23a",
    "#56b4e9": "#9bd6f8",
    "#555555": "#b4b4b4",
    "#7a3e9d": "#c796e8",
    "#dddddd": "#444a52",
}
"""Colors of lines, areas and grids, and what stands for each on a dark ground."""

_LEFT_OUT = ("metadata", "style", "title", "desc")
_FONTS = ("font-family", "font", "font-style")
_PLACES = ("d", "points", "x", "y", "cx", "cy")
_LONG = re.compile(r"-?\d+\.\d{3,}")
_HEX = re.compile(r"#[0-9a-f]{6}")
_ID = re.compile(r"url\(#([^)]+)\)")


def variables(dark: bool) -> str:
    """Return the declarations of the colors for a style sheet."""
    return " ".join(f"{_variable(light)}: {other if dark else light};" for light, other in COLORS.items())


def themed(svg: bytes, prefix: str) -> str:
    """Return an SVG to be put into a page.

    Parameters
    ----------
    svg
        A whole SVG file of matplotlib or Graphviz.
    prefix
        What its ids begin with; unique within the page.
    """
    ElementTree.register_namespace("", SVG)
    root = ElementTree.fromstring(svg)
    for element in list(root.iter()):
        for child in list(element):
            if _local(child.tag) in _LEFT_OUT:
                element.remove(child)
    for element in root.iter():
        given = {_local(name): value for name, value in element.attrib.items()}
        for part in given.pop("style", "").split(";"):
            name, _, value = part.partition(":")
            if value:
                given[name.strip()] = value.strip()
        for name in _FONTS:
            given.pop(name, None)
        element.attrib.clear()
        # An area has a color of its own; an arrowhead has that of its line, and letters have no line.
        area = _local(element.tag) != "text" and given.get("fill") != given.get("stroke")
        colors = {name: _color(given[name], area and name == "fill") for name in ("fill", "stroke") if name in given}
        element.attrib.update({name: _value(name, value, prefix) for name, value in given.items()} | colors)
    for name in ("id", "version"):
        root.attrib.pop(name, None)
    return re.sub(r"\s*\n\s*", " ", ElementTree.tostring(root, encoding="unicode"))


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _color(value: str, area: bool) -> str:
    """Return a color of the page: on a dark ground it is nearer to white, or for an area nearer to black."""
    if value in INK:
        return "currentColor"
    if value in COLORS:
        return f"var({_variable(value)})"
    if value == "white":
        return "var(--ground)"
    towards = "black var(--sink)" if area else "white var(--lift)"
    return f"color-mix(in oklab, {value}, {towards})" if _HEX.fullmatch(value) else value


def _value(name: str, value: str, prefix: str) -> str:
    if name == "id":
        return prefix + value
    if name in _PLACES:
        # Coordinates of ten digits are half of the size.
        return _LONG.sub(lambda match: f"{float(match[0]):.2f}", value)
    if name == "href" and value.startswith("#"):
        return f"#{prefix}{value[1:]}"
    if name == "href" and not value.startswith("data:image/"):
        return ""
    return _ID.sub(rf"url(#{prefix}\1)", value)


def _variable(color: str) -> str:
    return f"--c-{color[1:]}"

"""A font for Graphviz on systems that have none."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from xml.sax.saxutils import escape

_CONFIG = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <cachedir>{cache}</cachedir>
  <include ignore_missing="yes">/etc/fonts/fonts.conf</include>
  <dir>/usr/share/fonts</dir>
  <dir prefix="xdg">fonts</dir>
  <dir>{fonts}</dir>
  <selectfont>
    <acceptfont><glob>{fonts}/DejaVuSans*</glob></acceptfont>
    <rejectfont><glob>{fonts}/*</glob></rejectfont>
  </selectfont>
  <config><rescan><int>0</int></rescan></config>
</fontconfig>
"""


@contextmanager
def bundled_fonts() -> Iterator[None]:
    """Let fontconfig find the DejaVu fonts that matplotlib ships, beside those of the system.

    A bare container has no fonts, and pango then draws boxes for letters. fontconfig reads its configuration once,
    when the first text is measured. A configuration of the user's own is not changed.
    """
    matplotlib = find_spec("matplotlib")  # locates it without importing it
    if "FONTCONFIG_FILE" in os.environ or matplotlib is None or matplotlib.origin is None:
        yield
        return
    fonts = Path(matplotlib.origin).parent / "mpl-data" / "fonts" / "ttf"
    with tempfile.TemporaryDirectory(prefix="epgraph-fonts-") as directory:
        config = Path(directory) / "fonts.conf"
        config.write_text(_CONFIG.format(fonts=escape(str(fonts)), cache=escape(directory)), encoding="utf-8")
        os.environ["FONTCONFIG_FILE"] = str(config)
        try:
            yield
        finally:
            del os.environ["FONTCONFIG_FILE"]

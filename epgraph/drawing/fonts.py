"""A font for Graphviz on systems that have none."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from xml.sax.saxutils import escape

SYSTEM = ("/usr/share/fonts", "/usr/local/share/fonts", "/System/Library/Fonts", "/Library/Fonts")
OF_USER = (".fonts", ".local/share/fonts", "Library/Fonts")
"""Folders of fonts, the latter in the home of the user; letters that DejaVu Sans has not are taken from there."""

_CONFIG = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <cachedir>{cache}</cachedir>
  {folders}
  <selectfont>
    <acceptfont><glob>{bundled}/DejaVuSans*</glob></acceptfont>
    <rejectfont><glob>{bundled}/*</glob></rejectfont>
  </selectfont>
  <config><rescan><int>0</int></rescan></config>
</fontconfig>
"""


@contextmanager
def bundled_fonts() -> Iterator[None]:
    """Let fontconfig find the DejaVu fonts that matplotlib ships, beside those of the system.

    A bare container has no fonts, and pango then draws boxes for letters. fontconfig reads its configuration once,
    when the first text is measured. It also reads every file of the system's configuration, and prints a warning for
    one that is written for a newer version than that which pygraphviz brings along. So it is given a root of its own,
    in which there are fonts alone. A configuration of the user's own is not changed.
    """
    matplotlib = find_spec("matplotlib")  # locates it without importing it
    given = {"FONTCONFIG_FILE", "FONTCONFIG_SYSROOT"} & os.environ.keys()
    if given or os.name == "nt" or matplotlib is None or matplotlib.origin is None:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="epgraph-fonts-") as directory:
        top = Path(directory).resolve()
        config, root = top / "fonts.conf", top / "root"
        bundled = Path(matplotlib.origin).parent / "mpl-data" / "fonts" / "ttf"
        named = [bundled, *map(Path, SYSTEM), *(Path.home() / name for name in OF_USER)]
        folders = [folder for folder in named if folder.is_dir()]
        text = "".join(f"<dir>{escape(str(folder))}</dir>" for folder in folders)
        paths = {"bundled": escape(str(bundled)), "cache": escape(str(top / "cache"))}
        config.write_text(_CONFIG.format(folders=text, **paths), encoding="utf-8")
        for real in (config, *folders):
            # fontconfig looks for some paths as they are, and for others below its root.
            link = root / real.relative_to(real.anchor)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(real)
        own = {"FONTCONFIG_FILE": str(config), "FONTCONFIG_SYSROOT": str(root)}
        os.environ.update(own)
        try:
            yield
        finally:
            for name in own:
                del os.environ[name]

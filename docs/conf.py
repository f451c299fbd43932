"""The documentation site: ``make docs`` builds it from docs/*.md into build/docs, without the network."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from epgraph.version import __version__  # noqa: E402

project = "epgraph"
author = "the epgraph authors"
copyright = f"2026, {author}"
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "reference_pages",
]
exclude_patterns = ["_build", "**/*.py"]

# Links such as language.md#energies are those of GitHub.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist"]
highlight_language = "none"
smartquotes_action = "D"  # the dashes that autodoc writes as --; quotes stay as they are in code and messages

napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True  # a class's attributes are described once, in its docstring
autodoc_default_options = {"members": True, "member-order": "bysource", "show-inheritance": True}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"epgraph {release}"
html_static_path: list[str] = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}

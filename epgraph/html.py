"""Text and data of users within HTML: nothing of them is ever markup or code."""

from __future__ import annotations

import html
import json
from typing import Any

from epgraph.errors import visible
from epgraph.plain import finite

# Within <script> a browser looks for tags before it reads JavaScript, and "</script>" in a string would end the script.
_ESCAPED = {"<": r"\u003c", ">": r"\u003e", "&": r"\u0026", "\u2028": r"\u2028", "\u2029": r"\u2029"}
_TABLE = str.maketrans(_ESCAPED)


def escape(text: str) -> str:
    """Return a text as it can stand in HTML, between tags or in a quoted attribute.

    Unprintable characters are written out, as in all output for people (``epgraph.errors.visible``).
    """
    return html.escape(visible(text))


def embed(value: Any) -> str:
    """Return plain values as JSON that can stand in a ``<script>`` element.

    The result has no ``<``, ``>`` or ``&``: those of texts are written as ``\\u003c`` and so on. NaN and infinite
    numbers, which JSON does not have, become ``null``.

    Raises
    ------
    TypeError
        If a value is none of dict, list, tuple, str, int, float, bool and None.
    """
    return json.dumps(finite(value), allow_nan=False, ensure_ascii=False, separators=(",", ":")).translate(_TABLE)

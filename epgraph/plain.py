"""Plain values for JSON."""

from __future__ import annotations

import math
from typing import Any


def finite(value: Any) -> Any:
    """Return plain values ready for JSON, which has no NaN and no infinity: they become None."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""What ``ep.gradcheck`` returns: the report, as plain values, as text, and as a figure."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from epgraph.gradient_check import figure, text
from epgraph.plain import finite


@dataclass(frozen=True)
class GradcheckResult:
    """What ``ep.gradcheck`` returns.

    Attributes
    ----------
    report
        Plain values by section: ``network``, ``equilibrium``, ``curvature``, ``feedback``, ``basin``, ``agreement``,
        ``beta``, ``nudged_steps``, ``free_steps``, ``saturation``, ``stepwise`` and ``verdict``. A section that does
        not apply is left out.
    """

    report: dict[str, Any]

    @property
    def level(self) -> str:
        """The verdict in one word; see ``epgraph.gradient_check.verdict.verdict``."""
        return str(self.report["verdict"]["level"])

    @property
    def verdict(self) -> tuple[str, ...]:
        """The verdict in sentences."""
        return tuple(self.report["verdict"]["lines"])

    def lines(self) -> list[str]:
        """Return the report as text, as ``epgraph gradcheck`` prints it."""
        return text.text(self.report)

    def to_dict(self) -> dict[str, Any]:
        """Return the report ready for JSON: what is no finite number is None."""
        values: dict[str, Any] = finite(self.report)
        return values

    def draw(self, path: str | os.PathLike[str]) -> Path:
        """Draw error and cosine against β and the numbers of sweeps into a file; see ``gradient_check.figure.draw``."""
        return figure.draw(self.report, path)

    def __repr__(self) -> str:
        return f"GradcheckResult({self.level!r}: {self.verdict[0]})"

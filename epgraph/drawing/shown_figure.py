"""A figure of matplotlib that a notebook shows without pyplot. Importing it loads matplotlib."""

from __future__ import annotations

import io

from matplotlib.figure import Figure


class ShownFigure(Figure):
    """A figure whose picture a notebook asks for, whatever backend of matplotlib it uses."""

    def _repr_png_(self) -> bytes:
        """Return the picture as a PNG file."""
        picture = io.BytesIO()
        self.savefig(picture, format="png", dpi=100)
        return picture.getvalue()

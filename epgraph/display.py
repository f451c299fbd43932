"""How an object shows itself in a notebook. Importing it loads nothing of what draws."""

from __future__ import annotations

from collections.abc import Callable, Collection
from importlib import import_module
from typing import Any

RENDERERS = {
    "Architecture": "network:architecture",
    "NetworkGraph": "network:graph",
    "Engine": "engine:engine",
    "Relaxation": "phases:relaxation",
    "Estimate": "phases:estimate",
    "Convergence": "phases:convergence",
    "LoadedRun": "run:loaded_run",
    "TrainResult": "run:train_result",
}
"""By the name of a class, the function in ``epgraph.notebook`` that shows it: they stand above what they show."""


class Shown:
    """A class whose objects a notebook shows as a diagram, tables or curves.

    What goes wrong while they are drawn leaves the plain text.
    """

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, str]:
        """Return the object in several formats, of which a notebook takes the richest that it can show."""
        bundle = {"text/plain": repr(self)}
        try:
            bundle |= self._renderer()(self)
        except Exception:  # a picture that cannot be drawn must not hide the value of a cell
            return bundle
        return bundle

    def _renderer(self) -> Callable[[Any], dict[str, str]]:
        named = next(RENDERERS[cls.__name__] for cls in type(self).__mro__ if cls.__name__ in RENDERERS)
        module, function = named.split(":")
        found: Callable[[Any], dict[str, str]] = getattr(import_module(f"epgraph.notebook.{module}"), function)
        return found

"""Rules that draw initial parameters, by the name under which ``init.rule`` has them. No torch.

To add one, write its function in ``initialization/`` and add a row to ``INITIAL``;
``epgraph.register_initialization`` adds one from outside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Initialization:
    """A rule that draws initial parameters, and what it declares.

    Attributes
    ----------
    draw
        A function (graph, seed, x) → parameters by their names in the ``state_dict`` of an engine; x is a batch of
        inputs, or None for noise of the rule's own. Or ``"file:function"`` in ``epgraph.initialization``.
    measures
        Whether it looks at inputs: training then hands it some of its examples.
    reads_norm
        Whether it aims at ``init.norm``.
    sets_biases
        Whether it sets the biases of the states that move, so that their gains have no effect.
    scales_inputs
        Whether it scales the edges of the input, so that their gains have no effect.
    """

    draw: str | Callable[[Any, int, Any], Any]
    measures: bool = False
    reads_norm: bool = False
    sets_biases: bool = False
    scales_inputs: bool = False

    def __call__(self, graph: Any, seed: int, x: Any = None) -> Any:
        """Draw parameters; it loads torch."""
        if callable(self.draw):
            return self.draw(graph, seed, x)
        module, name = self.draw.split(":")
        return getattr(import_module(f"epgraph.initialization.{module}"), name)(graph, seed, x)


INITIAL: dict[str, Initialization] = {
    "published": Initialization("published:published"),
    "graph_aware": Initialization(
        "graph_aware:graph_aware", measures=True, reads_norm=True, sets_biases=True, scales_inputs=True
    ),
}
"""Every rule by its name."""

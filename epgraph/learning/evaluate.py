"""Evaluation: relax every test image from zeros and read the output."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from epgraph.engine import Engine
from epgraph.learning.metrics import Mean, Metrics


def evaluate(engine: Engine, loader: Iterable[tuple[Tensor, Tensor]], steps: int | None = None) -> Metrics:
    """Return mean ``loss``, ``error`` (a fraction) and ``residual`` over a data set.

    The states relax from zeros for ``steps`` sweeps, ``dynamics.free_steps`` where left out.
    """
    mean = Mean()
    for x, y in loader:
        y = y.to(engine.device)
        relaxation = engine.relax(x, steps=steps)
        output = relaxation.states[engine.graph.output.name]
        mean.add(
            loss=engine.loss(relaxation.states, y),
            error=output.argmax(1) != y,
            residual=relaxation.residuals,
        )
    return mean.means()

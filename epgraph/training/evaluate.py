"""Evaluation: let the network predict every test example, and read the output."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor

from epgraph.data import Data
from epgraph.engine import Engine
from epgraph.errors import EpgraphError
from epgraph.runtime.relaxation import States
from epgraph.training.batches import bar, batches, default_workers
from epgraph.training.metrics import Mean, Metrics
from epgraph.training.ranks import ALONE, Ranks


class Diverged(EpgraphError):  # noqa: N818 - as relaxations say it
    """A state or a gradient grew without bound: a result of the settings, and no fault of the machine."""


def evaluate(
    engine: Engine,
    loader: Iterable[tuple[Tensor, Tensor]],
    steps: int | None = None,
    what: str = "evaluation",
    see: Callable[[States, Tensor], None] = lambda states, y: None,
    ranks: Ranks = ALONE,
) -> Metrics:
    """Return mean ``loss``, ``error`` (a fraction, where targets are labels) and ``residual`` over a data set.

    The states are those of ``Engine.predict``: of the feed-forward network where that is what learns; else they relax
    from zeros for ``steps`` sweeps, ``dynamics.free_steps`` where left out. ``see`` is called with them and the targets
    of each batch. Of several processes each has its share of every batch, which may be empty; the means are of all.

    Raises
    ------
    Diverged
        If a state diverges; ``what`` is stopped, the batch and the state are named.
    EpgraphError
        If there is no batch.
    """
    mean = Mean()
    for batch, (x, y) in enumerate(loader, 1):
        if not len(x):
            continue
        y = y.to(engine.device)
        relaxation = engine.predict(x, steps=steps)
        if relaxation.diverged:
            raise Diverged(
                f"{what} stopped in batch {batch}: state '{relaxation.diverged[0]}' grew without bound or became NaN",
                "lower training.learning_rate or the gains",
            )
        see(relaxation.states, y)
        output = relaxation.states[engine.graph.output.name]
        mean.add(
            loss=engine.loss(relaxation.states, y),
            **errors(output, y),
            residual=relaxation.residuals,
        )
    mean = mean.over(ranks)
    if not mean.counts:
        raise EpgraphError(f"{what} has no batch of examples", "give a data set that is not empty")
    return mean.means()


@dataclass(frozen=True)
class EvaluateResult:
    """What ``ep.evaluate`` returns: means over the test examples.

    Attributes
    ----------
    data, examples
        Name of the data set, and number of its test examples.
    loss
        Loss of the output.
    residual
        Relative change of the states by the last sweep.
    error
        Share of the examples whose largest output is not their label; None where targets are no labels.
    """

    data: str
    examples: int
    loss: float
    residual: float
    error: float | None = None

    @property
    def accuracy(self) -> float | None:
        """Share of the examples whose largest output is their label; None where targets are no labels."""
        return None if self.error is None else 1 - self.error


def evaluate_on(engine: Engine, data: Data, *, free_steps: int | None = None, progress: bool = False) -> EvaluateResult:
    """Evaluate a network on the test examples of a data set."""
    size, test = engine.architecture.training.batch_size, data.test
    engine.batches = math.ceil(len(test) / size)
    loader = batches(test, size, device=engine.device, workers=default_workers(test))
    metrics = evaluate(engine, bar(loader, "test", progress), free_steps)
    return EvaluateResult(data.name, len(test), **metrics)


def errors(output: Tensor, y: Tensor) -> dict[str, Tensor]:
    """``error`` of every example, whether its largest output is not its label; empty where targets are no labels."""
    labels = y.ndim == 1 and not y.is_floating_point()
    return {"error": output.argmax(1) != y} if labels else {}

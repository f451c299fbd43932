"""Evaluation: let the network predict every test example, and read the output."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from torch import Tensor

from epgraph.data import Data
from epgraph.engine import Engine
from epgraph.errors import EpgraphError
from epgraph.progress import Progress
from epgraph.runtime.relaxation import States
from epgraph.training.batches import batches, default_workers
from epgraph.training.metrics import Mean, Metrics
from epgraph.training.outcomes import Counts, Tally, shares, table
from epgraph.training.pace import of_evaluation
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
    shown: Progress | None = None,
) -> Metrics:
    """Return mean ``loss``, ``error`` (a fraction, where targets are labels) and ``residual`` over a data set.

    The states are those of ``Engine.predict``: of the feed-forward network where that is what learns; else they relax
    from zeros for ``steps`` sweeps, ``dynamics.free_steps`` where left out. ``see`` is called with them and the targets
    of each batch. Of several processes each has its share of every batch, which may be empty; the means are of all.
    ``shown`` shows how far it is.

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
        output = relaxation.states[engine.graph.output.name]
        mean.add(
            loss=engine.loss(relaxation.states, y),
            **errors(output, y),
            residual=relaxation.residuals,
        )
        see(relaxation.states, y)
        if shown is not None:
            examples = mean.counts["loss"] * ranks.size
            shown.step(facts=partial(of_evaluation, mean, relaxation.steps, examples, shown))
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
    top5
        Share of the examples whose label is among the five largest outputs; None with five classes or fewer.
    classes
        Names of the classes; their numbers where no names are known, and none where targets are no labels.
    confusion
        Number of examples by true class, then by predicted class.
    """

    data: str
    examples: int
    loss: float
    residual: float
    error: float | None = None
    top5: float | None = None
    classes: tuple[str, ...] = ()
    confusion: Counts | None = None

    @property
    def accuracy(self) -> float | None:
        """Share of the examples whose largest output is their label; None where targets are no labels."""
        return None if self.error is None else 1 - self.error

    @property
    def class_accuracy(self) -> tuple[float | None, ...]:
        """Accuracy of each of the classes; None for one without examples."""
        return shares(self.confusion or ())

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        return {**asdict(self), "accuracy": self.accuracy, "class_accuracy": self.class_accuracy}

    def lines(self) -> list[str]:
        """Describe the result in lines of text."""
        parts = [] if self.accuracy is None else [f"accuracy {self.accuracy:.2%}"]
        parts += [] if self.top5 is None else [f"top-5 {self.top5:.2%}"]
        head = f"{', '.join(parts)} on " if parts else ""
        first = f"{head}{self.examples} test examples of {self.data}, loss {self.loss:.4f}"
        rows = table(self.confusion, self.classes) if self.confusion else ()
        return [f"{first}, mean residual {self.residual:.1e}", *rows]


def evaluate_on(engine: Engine, data: Data, *, free_steps: int | None = None, progress: bool = False) -> EvaluateResult:
    """Evaluate a network on the test examples of a data set."""
    size, test = engine.architecture.training.batch_size, data.test
    engine.batches = math.ceil(len(test) / size)
    loader = batches(test, size, device=engine.device, workers=default_workers(test))
    tally = Tally(engine.graph.output.name)
    with Progress("test", len(loader), "batches", show=progress) as shown:
        metrics = evaluate(engine, loader, free_steps, see=tally.see, shown=shown)
    confusion = tally.confusion
    names = class_names(data.classes, len(confusion or ()))
    return EvaluateResult(data.name, len(test), **metrics, top5=tally.top5, classes=names, confusion=confusion)


def class_names(names: Sequence[str], count: int) -> tuple[str, ...]:
    """Return the names of ``count`` classes; their numbers where these are not their names."""
    return tuple(names) if len(names) == count else tuple(map(str, range(count)))


def errors(output: Tensor, y: Tensor) -> dict[str, Tensor]:
    """``error`` of every example, whether its largest output is not its label; empty where targets are no labels."""
    labels = y.ndim == 1 and not y.is_floating_point()
    return {"error": output.argmax(1) != y} if labels else {}

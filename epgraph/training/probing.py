"""What a training measures of itself, on its own first batch.

Before it begins: the precision and the number of threads. As it goes: whether its gradient is that of an equilibrium.
"""

from __future__ import annotations

import math
from collections.abc import Sized
from typing import Any, cast

from torch import Tensor

from epgraph.callbacks import Callback
from epgraph.data import Data
from epgraph.engine import Engine
from epgraph.estimators import ESTIMATORS
from epgraph.language import Architecture
from epgraph.probes import (
    EXAMPLES,
    NetworkProbe,
    PrecisionChoice,
    RestComparison,
    choose_precision,
    compare_at_rest,
    lost,
)
from epgraph.runtime.relaxation import States
from epgraph.training.batches import batches, shuffled
from epgraph.training.ranks import ALONE, Ranks

CHECK_EVERY = 400
"""Batches between two checks of the gradient. A check takes the time of tens of batches."""


def first_batch(
    architecture: Architecture, data: Data, engine: Engine, size: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return the first batch of a training, augmented as it will be there; ``size`` replaces its size."""
    training, dataset = architecture.training, data.train
    count = len(cast(Sized, dataset))
    size = min(count, training.batch_size if size is None else size)
    order = shuffled(count, training.seed, 0)[:size]
    loader: Any = batches(dataset, size, device=engine.device, workers=0, order=order, draw=(training.seed, 0))
    x, y = next(iter(loader))
    return x, y.to(engine.device)


def probed_precision(
    engine: Engine, batch: tuple[Tensor, Tensor], about: str
) -> tuple[PrecisionChoice, dict[str, Any]]:
    """Choose a precision on a batch; return the choice, and what ``run.json`` says of it.

    ``about`` says what the batch is.
    """
    choice = choose_precision(NetworkProbe(engine, *batch))
    return choice, {**choice.to_dict(), "batch": len(batch[0]), "examples": about}


class PrecisionLostError(Exception):
    """A precision that was chosen by measurement keeps the gradient no more; says so in words."""


class PrecisionWatch(Callback):
    """Asks after every epoch whether the precision that was measured before the first one still keeps the gradient.

    Weights grow, and with them what rounding costs.
    """

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks

    def start(self, engine: Engine, data: Data) -> None:
        """Take the network and the data."""
        self.engine, self.data = engine, data

    def epoch(self, metrics: dict[str, float]) -> None:
        """Ask, after an epoch whose checkpoint is written."""
        self.ask(self.engine, self.data, int(metrics["epoch"]))

    def ask(self, engine: Engine, data: Data, epoch: int) -> None:
        """Compare the gradient of the first training batch with that in float64, if an epoch is left.

        Raises
        ------
        PrecisionLostError
            Where it is not the same any more.
        """
        if epoch == engine.architecture.training.epochs:
            return

        def asked() -> str:
            probe = NetworkProbe(engine, *first_batch(engine.architecture, data, engine, EXAMPLES))
            return lost(probe, str(engine.dtype).removeprefix("torch."))

        if sentence := self.ranks.once(asked):
            raise PrecisionLostError(f"after epoch {epoch} {sentence}")


def needs_rest(engine: Engine) -> bool:
    """Whether the gradient that an engine trains with holds at an equilibrium only, and it can reach one."""
    dynamics, rule = engine.architecture.dynamics, ESTIMATORS[engine.architecture.learning.estimator]
    # Noise and rounding have a residual at rest.
    return rule.needs_equilibrium and not (dynamics.noise or dynamics.state_bits)


def check_is_due(engine: Engine, epoch: int, examples: int) -> bool:
    """Whether an epoch, counted from 1, of so many examples ends with a check: at most one in ``CHECK_EVERY`` batches.

    It follows from the number of the epoch, so that a run that goes on has the checks of one that was never stopped.
    A rule that changes weights between its phases has no gradient at rest.
    """
    if not needs_rest(engine) or ESTIMATORS[engine.architecture.learning.estimator].changes_weights:
        return False
    count = math.ceil(examples / engine.architecture.training.batch_size)
    return epoch * count // CHECK_EVERY > (epoch - 1) * count // CHECK_EVERY


def gradient_check(
    engine: Engine, data: Data, epoch: int, warm: States | None, ranks: Ranks = ALONE
) -> dict[str, float]:
    """Return the cosine of the gradient, as it is trained with, to that of the network at rest.

    Parameters
    ----------
    epoch
        The epoch that ends, counted from 1.
    warm
        States with which the next batch would start, (batch, *shape) each; None: zeros.
    ranks
        The processes that train together; the first one does it for all.

    Returns
    -------
    dict
        ``gradient_cosine``; in half precision also ``gradient_cosine_float32``, of the gradient with the same sweeps in
        float32. Nothing where no check is due, or the network does not come to rest.
    """
    if not check_is_due(engine, epoch, len(cast(Sized, data.train))):
        return {}

    def compared() -> RestComparison | None:
        x, y = first_batch(engine.architecture, data, engine, EXAMPLES)
        fits = warm is not None and all(len(s) >= len(x) for s in warm.values())
        start = {name: s[: len(x)] for name, s in warm.items()} if warm is not None and fits else None
        return compare_at_rest(NetworkProbe(engine, x, y), start)

    found = ranks.once(compared)
    if found is None:
        return {}
    half = {"gradient_cosine_float32": found.sweeps} if engine.dtype.itemsize < 4 else {}
    return {"gradient_cosine": found.cosine, **half}

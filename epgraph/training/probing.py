"""What a new training measures before it begins: the precision and the number of threads, on its own first batch."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any, cast

from torch import Tensor

from epgraph.data import Data
from epgraph.engine import Engine
from epgraph.language import Architecture
from epgraph.probes import NetworkProbe, PrecisionChoice, choose_precision
from epgraph.training.batches import batches, shuffled


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

"""The learning rate as a function of progress: nothing of it is state."""

from __future__ import annotations

import math

from epgraph.language.architecture import TrainingSpec


def learning_rate(base: float, epoch: int, training: TrainingSpec) -> float:
    """Learning rate of an epoch: cosine from ``base`` to ``training.min_learning_rate``, as published.

    η(e) = η_min + ½ (η − η_min) (1 + cos(π e / E)), Loshchilov and Hutter (arXiv 1608.03983), Eq. 5.

    Parameters
    ----------
    base
        Learning rate η at the start.
    epoch
        Epochs e that are finished. From E = ``training.epochs`` on the rate stays at its end.
    """
    low = training.min_learning_rate
    part = min(1.0, epoch / training.epochs)
    return low + 0.5 * (base - low) * (1.0 + math.cos(math.pi * part))

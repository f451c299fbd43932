"""Initial parameters that look at the data: a few of its examples, spread over the training set."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any, cast

import torch

from epgraph.engine import Engine
from epgraph.init_rules import INITIAL

EXAMPLES = 32
"""Training examples on which signals are measured."""


def initialise(engine: Engine, dataset: Any) -> None:
    """Draw the parameters anew by the rule of ``init``, where that rule looks at inputs; see ``Engine.initialise``.

    Parameters
    ----------
    dataset
        Training examples, pairs of an input and something else. Those taken are evenly spaced, since a data set may be
        sorted by class; what is random in them is drawn with the seed of the training.
    """
    if not INITIAL[engine.architecture.init.rule].measures:
        return
    count = len(cast(Sized, dataset))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(engine.architecture.training.seed)
        chosen = [dataset[i * count // EXAMPLES][0] for i in range(min(EXAMPLES, count))]
    engine.initialise(torch.stack(chosen))

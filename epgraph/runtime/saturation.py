"""How many units of a state are at a bound of their activation, where hardly any signal passes them."""

from __future__ import annotations

import math

from torch import Tensor

from epgraph.activations import Activation

END = 0.0025
"""A unit of a smooth activation is saturated within this part of the range from an end: σ′ of tanh is 1 % there."""


def saturated_share(activation: Activation, s: Tensor, alpha: float | Tensor) -> float:
    """Return the share of units of a state, over units and examples, that are at a bound of their activation.

    Parameters
    ----------
    s
        The state, (batch, *shape).
    alpha
        Its level, as ``Parameters.alpha`` gives it.

    Returns
    -------
    float
        From 0 to 1; NaN where the activation has no bounds.
    """
    bounds = activation.bounds(alpha)
    if bounds is None:
        return math.nan
    low, high = bounds
    margin = (END if activation.smooth else 0.0) * (high - low)
    return float(((s <= low + margin) | (s >= high - margin)).double().mean())

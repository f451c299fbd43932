"""Gradient estimators, one file a family, all of them in ``ESTIMATORS``."""

from epgraph.estimators.clamped import contrastive, coupled_centered, coupled_negative, coupled_positive
from epgraph.estimators.continual import continual
from epgraph.estimators.contrast import centered, negative, positive, random_sign
from epgraph.estimators.holomorphic import holomorphic
from epgraph.estimators.problem import Estimate, Estimator, Problem
from epgraph.estimators.reference import implicit, truncated, unrolled

ESTIMATORS: dict[str, Estimator] = {
    rule.__name__: rule
    for rule in (
        centered,
        positive,
        negative,
        random_sign,
        continual,
        holomorphic,
        contrastive,
        coupled_positive,
        coupled_negative,
        coupled_centered,
        unrolled,
        truncated,
        implicit,
    )
}
"""Every estimator by the name under which it is written in YAML."""

WHOLE = frozenset({"continual"})
"""Estimators that take a batch whole, because every example moves the parameters that the others relax under."""

REFERENCES = frozenset({"unrolled", "truncated", "implicit"})
"""Estimators without a nudged phase: β means nothing to them."""

UNROLLING = frozenset({"unrolled", "truncated"})
"""Estimators whose memory grows with the sweeps."""

__all__ = ["ESTIMATORS", "REFERENCES", "UNROLLING", "WHOLE", "Estimate", "Estimator", "Problem"]

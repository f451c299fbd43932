"""Gradient estimators, one file a family, all of them in ``ESTIMATORS``."""

from epgraph.engine.estimators.clamped import contrastive, coupled_centered, coupled_negative, coupled_positive
from epgraph.engine.estimators.continual import continual
from epgraph.engine.estimators.contrast import centered, negative, positive, random_sign
from epgraph.engine.estimators.holomorphic import holomorphic
from epgraph.engine.estimators.problem import Estimate, Estimator, Problem

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
    )
}
"""Every estimator by the name under which it is written in YAML."""

WHOLE = frozenset({"continual"})
"""Estimators that take a batch whole, because every example moves the parameters that the others relax under."""

__all__ = ["ESTIMATORS", "WHOLE", "Estimate", "Estimator", "Problem"]

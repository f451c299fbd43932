"""Gradient estimators, one file a family, all of them in ``ESTIMATORS``."""

from epgraph.engine.estimators.contrast import centered, negative, positive
from epgraph.engine.estimators.problem import Estimate, Estimator, Problem
from epgraph.engine.estimators.reference import implicit, truncated, unrolled

ESTIMATORS: dict[str, Estimator] = {
    rule.__name__: rule for rule in (centered, positive, negative, unrolled, truncated, implicit)
}
"""Every estimator by the name under which it is written in YAML."""

REFERENCES = frozenset({"unrolled", "truncated", "implicit"})
"""Estimators without a nudged phase: β means nothing to them."""

UNROLLING = frozenset({"unrolled", "truncated"})
"""Estimators whose memory grows with the sweeps."""

__all__ = ["ESTIMATORS", "REFERENCES", "UNROLLING", "Estimate", "Estimator", "Problem"]

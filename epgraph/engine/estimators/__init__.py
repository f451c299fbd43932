"""Gradient estimators, one file a family, all of them in ``ESTIMATORS``."""

from epgraph.engine.estimators.contrast import centered, negative, positive
from epgraph.engine.estimators.problem import Estimate, Estimator, Problem

ESTIMATORS: dict[str, Estimator] = {rule.__name__: rule for rule in (centered, positive, negative)}
"""Every estimator by the name under which it is written in YAML."""

__all__ = ["ESTIMATORS", "Estimate", "Estimator", "Problem"]

"""Gradient estimators, one file a family; ``epgraph.learning_rules`` has the table and what each declares."""

from epgraph.estimators.task import Estimate, GradientTask
from epgraph.learning_rules import ESTIMATORS, Estimator

__all__ = ["ESTIMATORS", "Estimate", "Estimator", "GradientTask"]

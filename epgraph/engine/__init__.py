"""The relaxation engine, its oracle, and the estimators of the gradient."""

from epgraph.engine.compile import compile
from epgraph.engine.engine import GROWN, Engine
from epgraph.engine.estimators import ESTIMATORS, Estimate
from epgraph.engine.module import Equilibrium
from epgraph.engine.relaxation import Relaxation, Status, Sweep

__all__ = ["ESTIMATORS", "GROWN", "Engine", "Equilibrium", "Estimate", "Relaxation", "Status", "Sweep", "compile"]

"""epgraph: declare energy-based networks as graphs and train them with equilibrium propagation.

    import epgraph as ep

    architecture = ep.load("examples/digits.yaml")
    engine = ep.compile(architecture)
    relaxation = engine.relax(x)
    engine.backward(x, y)          # fills .grad; any torch.optim optimizer does the rest
    ep.render(architecture, "net.svg")
    ep.train(architecture, "digits", out="runs/digits")

torch is imported when something that needs it is first used, so that checking and drawing stay instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from epgraph.errors import Diagnostic, EpgraphError
from epgraph.version import __version__

if TYPE_CHECKING:
    from epgraph import topologies as topologies
    from epgraph.activations import Activation
    from epgraph.api import check, evaluate, gradcheck, load_data, train, tune
    from epgraph.api_explore import ExploreResult, explore
    from epgraph.api_predict import predict
    from epgraph.api_report import report
    from epgraph.api_studies import SweepResult, compare, sweep
    from epgraph.builder import Network, from_networkx, to_networkx
    from epgraph.callbacks import Callback
    from epgraph.checking import CheckResult
    from epgraph.comparison.result import CompareResult
    from epgraph.compiler import register_backend
    from epgraph.compiling import compile
    from epgraph.convergence import Convergence, converge
    from epgraph.costs import Cost
    from epgraph.data import Data, register_dataset
    from epgraph.drawing import render
    from epgraph.energies import Energy
    from epgraph.engine import Engine
    from epgraph.equilibrium import Equilibrium
    from epgraph.estimators import Estimate
    from epgraph.gradient_check import GradcheckResult
    from epgraph.graph import build, load
    from epgraph.kinds import (
        Conv,
        ConvTranspose,
        Dense,
        EdgeKind,
        Identity,
        Lateral,
        Memory,
        Pool,
        Self,
        ShapeError,
        Skip,
    )
    from epgraph.language import Architecture, to_yaml
    from epgraph.learning_rules import Estimator
    from epgraph.registry import (
        register_activation,
        register_cost,
        register_energy,
        register_estimator,
        register_initialization,
        register_kind,
        register_optimizer,
        register_schedule,
        register_solver,
    )
    from epgraph.reporting.report import ReportResult
    from epgraph.runs.stop import Stopped
    from epgraph.runtime.relaxation import Relaxation, Status
    from epgraph.solvers import Solver
    from epgraph.testing import verify_activation, verify_cost, verify_kind
    from epgraph.training import EvaluateResult, LoadedRun, PredictResult, TrainResult, load_checkpoint, load_run
    from epgraph.tuning import TuneResult

_NAMES = {
    "epgraph.activations": "Activation",
    "epgraph.api": "check evaluate gradcheck load_data train tune",
    "epgraph.api_explore": "ExploreResult explore",
    "epgraph.api_predict": "predict",
    "epgraph.api_report": "report",
    "epgraph.api_studies": "SweepResult compare sweep",
    "epgraph.builder": "Network from_networkx to_networkx",
    "epgraph.callbacks": "Callback",
    "epgraph.checking": "CheckResult",
    "epgraph.comparison.result": "CompareResult",
    "epgraph.compiler": "register_backend",
    "epgraph.compiling": "compile",
    "epgraph.convergence": "Convergence converge",
    "epgraph.costs": "Cost",
    "epgraph.data": "Data register_dataset",
    "epgraph.drawing": "render",
    "epgraph.energies": "Energy",
    "epgraph.engine": "Engine",
    "epgraph.equilibrium": "Equilibrium",
    "epgraph.estimators": "Estimate",
    "epgraph.gradient_check": "GradcheckResult",
    "epgraph.graph": "build load",
    "epgraph.kinds": "Conv ConvTranspose Dense EdgeKind Identity Lateral Memory Pool Self ShapeError Skip",
    "epgraph.language": "Architecture to_yaml",
    "epgraph.learning_rules": "Estimator",
    "epgraph.registry": "register_activation register_cost register_energy register_estimator register_initialization "
    "register_kind register_optimizer register_schedule register_solver",
    "epgraph.reporting.report": "ReportResult",
    "epgraph.runs.stop": "Stopped",
    "epgraph.runtime.relaxation": "Relaxation Status",
    "epgraph.solvers": "Solver",
    "epgraph.testing": "verify_activation verify_cost verify_kind",
    "epgraph.training": "EvaluateResult LoadedRun PredictResult TrainResult load_checkpoint load_run",
    "epgraph.tuning": "TuneResult",
}
"""Public names by the module that has them."""

_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = [
    "Activation",
    "Architecture",
    "Callback",
    "CheckResult",
    "CompareResult",
    "Conv",
    "ConvTranspose",
    "Convergence",
    "Cost",
    "Data",
    "Dense",
    "Diagnostic",
    "EdgeKind",
    "Energy",
    "Engine",
    "EpgraphError",
    "Equilibrium",
    "Estimate",
    "Estimator",
    "EvaluateResult",
    "ExploreResult",
    "GradcheckResult",
    "Identity",
    "Lateral",
    "LoadedRun",
    "Memory",
    "Network",
    "Pool",
    "PredictResult",
    "Relaxation",
    "ReportResult",
    "Self",
    "ShapeError",
    "Skip",
    "Solver",
    "Status",
    "Stopped",
    "SweepResult",
    "TrainResult",
    "TuneResult",
    "__version__",
    "build",
    "check",
    "compare",
    "compile",
    "converge",
    "evaluate",
    "explore",
    "from_networkx",
    "gradcheck",
    "load",
    "load_checkpoint",
    "load_data",
    "load_run",
    "predict",
    "register_activation",
    "register_backend",
    "register_cost",
    "register_dataset",
    "register_energy",
    "register_estimator",
    "register_initialization",
    "register_kind",
    "register_optimizer",
    "register_schedule",
    "register_solver",
    "render",
    "report",
    "sweep",
    "to_networkx",
    "to_yaml",
    "train",
    "tune",
    "verify_activation",
    "verify_cost",
    "verify_kind",
]


def __getattr__(name: str) -> Any:
    value: Any
    if name == "topologies":
        value = import_module("epgraph.topologies")
    elif name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
    else:
        # A kind of the user's own, as ep.Channelwise; more may be registered at any time.
        value = {kind.__name__: kind for kind in import_module("epgraph.kinds").KINDS.values()}.get(name)
        if value is None:
            raise AttributeError(f"module 'epgraph' has no attribute '{name}'")
        return value
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "topologies"])

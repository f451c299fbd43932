"""epgraph: declare energy-based networks as graphs and train them with equilibrium propagation.

    import epgraph as ep

    architecture = ep.load("examples/digits.yaml")
    engine = ep.compile(architecture)
    relaxation = engine.relax(x)
    engine.backward(x, y)          # fills .grad; any torch.optim optimiser does the rest
    ep.render(architecture, "net.svg")

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
    from epgraph.builder import Network, from_networkx, to_networkx
    from epgraph.compiler import register_backend
    from epgraph.compiling import compile
    from epgraph.costs import Cost
    from epgraph.data import register_dataset
    from epgraph.drawing import render
    from epgraph.engine import Engine
    from epgraph.equilibrium import Equilibrium
    from epgraph.estimators import Estimate
    from epgraph.graph import build, load
    from epgraph.kinds import EdgeKind, ShapeError
    from epgraph.language import Architecture, to_yaml
    from epgraph.learning_rules import Estimator
    from epgraph.registry import (
        register_activation,
        register_cost,
        register_estimator,
        register_initialization,
        register_kind,
        register_optimizer,
    )
    from epgraph.runtime.relaxation import Relaxation, Status
    from epgraph.testing import verify_activation, verify_cost, verify_kind
    from epgraph.training import load_run

_HOME = {
    "Activation": "epgraph.activations",
    "Architecture": "epgraph.language",
    "Cost": "epgraph.costs",
    "EdgeKind": "epgraph.kinds",
    "Engine": "epgraph.engine",
    "Equilibrium": "epgraph.equilibrium",
    "Estimate": "epgraph.estimators",
    "Estimator": "epgraph.learning_rules",
    "Network": "epgraph.builder",
    "Relaxation": "epgraph.runtime.relaxation",
    "ShapeError": "epgraph.kinds",
    "Status": "epgraph.runtime.relaxation",
    "build": "epgraph.graph",
    "compile": "epgraph.compiling",
    "from_networkx": "epgraph.builder",
    "load": "epgraph.graph",
    "load_run": "epgraph.training",
    "register_activation": "epgraph.registry",
    "register_backend": "epgraph.compiler",
    "register_cost": "epgraph.registry",
    "register_dataset": "epgraph.data",
    "register_estimator": "epgraph.registry",
    "register_initialization": "epgraph.registry",
    "register_kind": "epgraph.registry",
    "register_optimizer": "epgraph.registry",
    "render": "epgraph.drawing",
    "to_networkx": "epgraph.builder",
    "to_yaml": "epgraph.language",
    "verify_activation": "epgraph.testing",
    "verify_cost": "epgraph.testing",
    "verify_kind": "epgraph.testing",
}

__all__ = [
    "Activation",
    "Architecture",
    "Cost",
    "Diagnostic",
    "EdgeKind",
    "Engine",
    "EpgraphError",
    "Equilibrium",
    "Estimate",
    "Estimator",
    "Network",
    "Relaxation",
    "ShapeError",
    "Status",
    "__version__",
    "build",
    "compile",
    "from_networkx",
    "load",
    "load_run",
    "register_activation",
    "register_backend",
    "register_cost",
    "register_dataset",
    "register_estimator",
    "register_initialization",
    "register_kind",
    "register_optimizer",
    "render",
    "to_networkx",
    "to_yaml",
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
        # The class of every edge kind, as ep.Conv: they are the ones that there are, and may become more.
        value = {kind.__name__: kind for kind in import_module("epgraph.kinds").KINDS.values()}.get(name)
        if value is None:
            raise AttributeError(f"module 'epgraph' has no attribute '{name}'")
        return value
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "topologies"])

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
    from epgraph.costs import Cost
    from epgraph.draw import render
    from epgraph.edges import EdgeKind, ShapeError
    from epgraph.engine import Engine, Equilibrium, Estimate, Relaxation, Status, compile
    from epgraph.graph import build, load
    from epgraph.learning import load_run
    from epgraph.registry import register_activation, register_cost, register_kind
    from epgraph.spec import Architecture, to_yaml
    from epgraph.verify import verify_activation, verify_cost, verify_kind

_HOME = {
    "Activation": "epgraph.activations",
    "Architecture": "epgraph.spec",
    "Cost": "epgraph.costs",
    "EdgeKind": "epgraph.edges",
    "Engine": "epgraph.engine",
    "Equilibrium": "epgraph.engine",
    "Estimate": "epgraph.engine",
    "Network": "epgraph.builder",
    "Relaxation": "epgraph.engine",
    "ShapeError": "epgraph.edges",
    "Status": "epgraph.engine",
    "build": "epgraph.graph",
    "compile": "epgraph.engine",
    "from_networkx": "epgraph.builder",
    "load": "epgraph.graph",
    "load_run": "epgraph.learning",
    "register_activation": "epgraph.registry",
    "register_cost": "epgraph.registry",
    "register_kind": "epgraph.registry",
    "render": "epgraph.draw",
    "to_networkx": "epgraph.builder",
    "to_yaml": "epgraph.spec",
    "verify_activation": "epgraph.verify",
    "verify_cost": "epgraph.verify",
    "verify_kind": "epgraph.verify",
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
    "register_cost",
    "register_kind",
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
        value = {kind.__name__: kind for kind in import_module("epgraph.edges").KINDS.values()}.get(name)
        if value is None:
            raise AttributeError(f"module 'epgraph' has no attribute '{name}'")
        return value
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "topologies"])

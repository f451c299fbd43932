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
    from epgraph.activations import Activation
    from epgraph.costs import Cost
    from epgraph.draw import render
    from epgraph.edges import EdgeKind, ShapeError
    from epgraph.engine import Engine, Equilibrium, Estimate, Relaxation, Status, compile
    from epgraph.graph import build, load
    from epgraph.registry import register_activation, register_cost, register_kind
    from epgraph.spec import Architecture
    from epgraph.verify import verify_activation, verify_cost, verify_kind

_HOME = {
    "Activation": "epgraph.activations",
    "Architecture": "epgraph.spec",
    "Cost": "epgraph.costs",
    "EdgeKind": "epgraph.edges",
    "Engine": "epgraph.engine",
    "Equilibrium": "epgraph.engine",
    "Estimate": "epgraph.engine",
    "Relaxation": "epgraph.engine",
    "ShapeError": "epgraph.edges",
    "Status": "epgraph.engine",
    "build": "epgraph.graph",
    "compile": "epgraph.engine",
    "load": "epgraph.graph",
    "register_activation": "epgraph.registry",
    "register_cost": "epgraph.registry",
    "register_kind": "epgraph.registry",
    "render": "epgraph.draw",
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
    "Relaxation",
    "ShapeError",
    "Status",
    "__version__",
    "build",
    "compile",
    "load",
    "register_activation",
    "register_cost",
    "register_kind",
    "render",
    "verify_activation",
    "verify_cost",
    "verify_kind",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'epgraph' has no attribute '{name}'")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

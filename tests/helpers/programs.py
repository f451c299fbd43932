"""Plans of networks, and what stands in their programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import epgraph as ep
from epgraph.compiler.program import Program
from epgraph.graph import build, load
from epgraph.lowering import Plan, lower


def plan_of(what: str | dict[str, Any], schedule: str = "even_odd", overrides: Sequence[str] = ()) -> Plan:
    architecture = load(what, overrides) if isinstance(what, str) else ep.Architecture.model_validate(what)
    return lower(build(architecture), schedule)


def operations(program: Program) -> Counter[str]:
    return Counter(
        getattr(node.target, "__name__", str(node.target)).split(".")[0]
        for function in program.sweep
        for node in function.graph.nodes
    )

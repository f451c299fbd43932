"""What a diagram says below its title, as plain text: for formats without Graphviz's labels."""

from __future__ import annotations

from collections.abc import Iterator

from epgraph.drawing.model import Diagram, count
from epgraph.errors import visible
from epgraph.graph import NetworkGraph
from epgraph.lowering import Plan

SIZES = "box: side of the image, log scale; line: number of weights, log scale"
TIMES = "× n: n equal blocks in a row, drawn once"


def title(diagram: Diagram) -> str:
    """Name of the network."""
    return visible(diagram.plan.graph.architecture.name).strip() or "network"


def remarks(diagram: Diagram, *, heads: bool = True) -> Iterator[str]:
    """Yield size, schedule and how to read it, a line each; ``heads``: there are full and hollow arrowheads."""
    plan, graph = diagram.plan, diagram.plan.graph
    yield f"{graph.parameters():,} parameters · {count(plan.macs_per_sweep())} MACs per {unit(graph)}"
    yield "; ".join(filter(None, (order(plan), verdict(plan))))
    if heads or graph.one_way:
        yield arrows(diagram)
    if diagram.view.times:
        yield TIMES
    if diagram.married is not None:
        yield moral(diagram.married)


def unit(graph: NetworkGraph) -> str:
    """What the network computes again and again: sweeps, or passes where nothing relaxes."""
    return "pass" if graph.by_backprop else "sweep"


def order(plan: Plan) -> str:
    """Say in which order states are computed."""
    n = len(plan.schedule.classes)
    if plan.graph.by_backprop:
        return f"backpropagation: one forward pass, {n} step{'s' * (n != 1)}"
    return f"schedule {plan.schedule.name}, {n} class{'es' * (n != 1)}"


def verdict(plan: Plan) -> str:
    """Say whether the schedule is proper; nothing of a forward pass."""
    schedule, forward = plan.schedule, plan.graph.energy.feedforward
    if plan.graph.by_backprop:
        return ""
    if schedule.proper:
        if forward:
            return "proper: no state reads another one that moves with it"
        return "proper: no edge joins states that move together"
    k = len(schedule.conflicts)
    if forward:
        k += len(schedule.unjoined)
        return f"not proper: {k} pair{'s' * (k != 1)} of states move together and read each other (edges in red)"
    return f"not proper: {k} {'edge joins' if k == 1 else 'edges join'} states that move together (red)"


def arrows(diagram: Diagram) -> str:
    """Say what the arrowheads mean."""
    if diagram.plan.graph.by_backprop:
        return "arrows lead along the forward pass; autograd returns the gradient"
    if diagram.plan.graph.energy.feedforward:
        return "arrows lead along the forward pass; errors return through the transposes"
    return "the map of an edge acts towards its full arrowhead, the transpose back"


def moral(married: bool) -> str:
    """Say what completes the moral graph; ``married``: whether any pair is drawn."""
    if married:
        return "dashed gray: states with edges into one state, which read each other"
    return "an edge joins every two states with edges into one state"

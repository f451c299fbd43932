"""Learning rules, and which networks can use them: what an estimator asks of states, edges, cost and dynamics.

``holomorphic`` continues the network to complex states, so everything on the way has to be holomorphic. Contrastive
and coupled learning clamp the output to (or towards) the target, which lowers no cost but the squared error, and they
follow the gradient of a difference of energies, which a network with feedback weights of its own does not have.
"""

from __future__ import annotations

from collections.abc import Iterator

from epgraph.costs import COSTS
from epgraph.errors import Diagnostic, EpgraphError, listed
from epgraph.graph.checks.feedforward import feedforward_refusals, unheard
from epgraph.graph.network import NetworkGraph
from epgraph.learning_rules import ESTIMATORS


def check_rule(graph: NetworkGraph, estimator: str) -> None:
    """Raise, with the state or edge in the way and the alternative, if the network cannot use an estimator."""
    found = list(rule_refusals(graph, estimator))
    if found:
        raise EpgraphError(graph.architecture.locate(d) for d in found)


def rule_refusals(graph: NetworkGraph, estimator: str) -> Iterator[Diagnostic]:
    """Yield why the network cannot use an estimator: the state or edge in the way, and the alternative."""
    rule = ESTIMATORS[estimator]
    if rule.complex_states:
        yield from _not_holomorphic(graph, estimator)
    if rule.clamps_output:
        yield from _not_clamped(graph, estimator)
    if rule.needs_symmetric:
        yield from _no_energy(graph, estimator)
    if graph.energy.feedforward:
        yield from _no_free_term(graph, estimator)
    if rule.differentiates or rule.complex_states:
        yield from _not_smooth(graph, estimator)
    if rule.feedforward and not graph.energy.feedforward:  # such an energy refuses the same wirings
        for reason, hint in feedforward_refusals(graph):
            yield _refusal(estimator, reason, hint)
    if not rule.feedforward:
        yield from _normalized(graph, estimator)
    solver, key = graph.architecture.dynamics.chosen_solver, graph.architecture.dynamics.solver_key.key
    if rule.plain_sweeps and solver.mixes:
        reason = f"it cannot go back through {solver.title} (dynamics.{key})"
        yield _refusal(estimator, reason, f"leave dynamics.{key} out, or use estimator: truncated or implicit")


def rule_warnings(graph: NetworkGraph) -> Iterator[Diagnostic]:
    """Yield what is no longer guaranteed where feedback has weights of its own, and what no forward pass hears."""
    if ESTIMATORS[graph.architecture.learning.estimator].feedforward:
        yield from unheard(graph)
        return
    untied = [name for name, edge in graph.edges.items() if edge.untied]
    if untied:
        yield Diagnostic(
            f"feedback is untied (edges {listed(untied)}): the update descends no energy, so no schedule is "
            "proven to settle; over_relaxation above 1 and energies are refused; and the estimate is not the "
            "gradient of the loss until feedback has aligned with the weights",
            "weight decay aligns the two, as both receive the same contrast; 'feedback: tied' has the guarantees",
            ("learning", "feedback"),
            severity="warning",
            rule="untied-feedback",
        )


def _not_holomorphic(graph: NetworkGraph, estimator: str) -> Iterator[Diagnostic]:
    states = (graph.states[name] for name in graph.free)
    state = next((s for s in states if not s.activation.holomorphic), None)
    if state is not None:
        yield _refusal(
            estimator,
            f"state '{state.name}' has the activation {state.activation.label}, which has no holomorphic continuation",
            "use tanh or logistic, or learning.estimator: centered",
        )
    for edge in graph.edges.values():
        # Of a clamped source the arg-max is that of a real image, and Φ is linear in what moves.
        if not edge.bends(graph.input.name):
            continue
        if edge.unary:
            reason, hint = "has a potential that is not continued to complex states", "leave it out"
        else:
            reason, hint = "takes a maximum, which complex numbers do not have", "use pool: average or a stride"
        yield _refusal(
            estimator,
            f"edge '{edge.name}' ({edge.kind.label()}) {reason}",
            f"{hint}, or learning.estimator: centered",
        )
        break
    cost = graph.architecture.output.cost
    if not COSTS[cost].holomorphic:
        yield _refusal(
            estimator,
            f"the cost {cost} of output '{graph.output.name}' has no holomorphic continuation",
            "use cost: squared_error or cross_entropy, or learning.estimator: centered",
        )
    dynamics = graph.architecture.dynamics
    state = next((graph.states[n] for n in graph.dynamic if not graph.states[n].activation.projects), None)
    if dynamics.flow and state is not None:
        yield _refusal(
            estimator,
            f"dynamics.flow takes σ⁻¹ of state '{state.name}' ({state.activation.label}), which is clipped at the ends "
            "of its range, and complex numbers have no order",
            "set dynamics.flow to 0, or use learning.estimator: centered",
        )
    if dynamics.chosen_solver.mixes:
        key = dynamics.solver_key
        yield _refusal(
            estimator,
            f"dynamics.{key.key} mixes real states, and these are complex",
            f"set dynamics.{key.key} to {key.plain}",
        )


def _not_clamped(graph: NetworkGraph, estimator: str) -> Iterator[Diagnostic]:
    cost = graph.architecture.output.cost
    if not COSTS[cost].least_at_target:
        yield _refusal(
            estimator,
            f"it clamps the output '{graph.output.name}' to the target, which minimizes the squared error, "
            f"but not {cost}",
            "use cost: squared_error, or learning.estimator: centered",
        )


def _no_energy(graph: NetworkGraph, estimator: str) -> Iterator[Diagnostic]:
    untied = graph.untied
    if untied is None:
        return
    where = f"where edge '{untied.name}' has a feedback weight of its own"
    if ESTIMATORS[estimator].differentiates:
        reason, other = f"F has no Hessian {where}", "unrolled"
    else:
        reason, other = f"it contrasts energies, and there is none {where}", "centered"
    yield _refusal(estimator, reason, f"use learning.feedback: tied, or learning.estimator: {other}")


def _no_free_term(graph: NetworkGraph, estimator: str) -> Iterator[Diagnostic]:
    """Estimators that need more of the free phase than a forward pass, where ∂F/∂θ is zero."""
    rule, energy = ESTIMATORS[estimator], f"with energy {graph.architecture.energy}"
    use = "use learning.estimator: centered, or positive"
    if rule.clamps_output:
        reason = (
            f"it contrasts energies of a clamped output, and {energy} the free one is zero, whatever the weights are"
        )
        yield _refusal(estimator, reason, use)
    elif rule.changes_weights:
        reason = f"it changes weights while states move, and {energy} the free phase, a forward pass, changes with them"
        yield _refusal(estimator, reason, use)


def _normalized(graph: NetworkGraph, estimator: str) -> Iterator[Diagnostic]:
    state = next((s for s in graph.states.values() if s.norm is not None), None)
    if state is not None:
        reason = f"state '{state.name}' has norm: {state.norm}, which ties the examples of a batch together: the batch "
        reason += "has no energy that is a sum over its examples"
        yield _refusal(estimator, reason, "leave norm out, or use learning.estimator: backprop")


def _not_smooth(graph: NetworkGraph, estimator: str) -> Iterator[Diagnostic]:
    dynamics = graph.architecture.dynamics
    if dynamics.state_bits:
        reason = f"dynamics.state_bits {dynamics.state_bits} rounds states, which has no derivative"
        yield _refusal(estimator, reason, "leave state_bits out, or use learning.estimator: centered")
    if dynamics.noise:
        reason = f"dynamics.noise {dynamics.noise:g} draws new numbers in every sweep"
        yield _refusal(estimator, reason, "leave noise out, or use learning.estimator: centered")


def _refusal(estimator: str, reason: str, hint: str) -> Diagnostic:
    return Diagnostic(
        f"estimator {estimator} cannot be used: {reason}", hint, ("learning", "estimator"), rule="estimator"
    )

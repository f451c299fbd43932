"""The equations of a sweep in symbols, with the names of the network: what each state is set to, and from what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from epgraph.graph import NetworkGraph, State
from epgraph.lowering.plan import Term, due

MOST_TERMS = 12
"""Terms of a sum that are written out; of more, only the first ones."""


@dataclass(frozen=True)
class Symbol:
    """A letter with an index: the state s of h1, the map A of an edge, or its transpose."""

    letter: str
    index: str
    transposed: bool = False

    def __str__(self) -> str:
        return f"{self.letter}[{self.index}]{'ᵀ' if self.transposed else ''}"


Tokens = tuple[str | Symbol, ...]
"""A formula: symbols, and the text between them."""


@dataclass(frozen=True)
class Equation:
    """One line: where it holds, or what it explains, and the formula."""

    label: str
    tokens: Tokens

    def __str__(self) -> str:
        return "".join(map(str, self.tokens))


def equations(graph: NetworkGraph, name: str) -> tuple[Equation, ...]:
    """Return the update of a state in the free phase, in the nudged ones where it differs, and what its letters are.

    Parameters
    ----------
    graph
        A checked network.
    name
        A state; of the clamped input, which does not move, the only line says so.
    """
    state = graph.states[name]
    if state.clamped:
        return (Equation("clamped", (_s(name), " = the example")),)
    if graph.by_backprop:
        return (*_pass(graph, state), *_sigma(state))
    forms = _forward(graph, state) if graph.energy.feedforward else _symmetric(graph, state)
    return (*forms, *_explained(graph, state))


def _pass(graph: NetworkGraph, state: State) -> Iterable[Equation]:
    """Lines of the feed-forward network, which backpropagation trains."""
    a = Symbol("a", state.name)
    summed: Tokens = (a,) if state.norm is None else (f"{state.norm} norm(", a, ")")
    value = summed if state.activation.linear else ("σ(", *summed, ")")
    yield Equation("forward pass", (_s(state.name), " ← ", *value))
    yield Equation("where", (a, " = ", *_bottom_up(graph, state)))


def _symmetric(graph: NetworkGraph, state: State) -> Iterable[Equation]:
    """Lines of an energy whose update reads both directions of an edge."""
    terms = due(graph, state.name)
    free = [_term(term) for term in terms if not _from_readout(graph, term)]
    summed = _sum([*free, *_bias(state)])
    if not graph.energy.descends:
        # What the energy itself writes: only it knows its drive.
        plain = [str(Equation("", tokens)) for tokens in [*_bias(state), *free]]
        summed = (graph.energy.written(state.name, plain),)
    back = [t for t in terms if _from_readout(graph, t)]
    pulled = state.name == graph.output.name and not graph.readout
    yield Equation("free phase" if back or pulled else "every phase", _updated(graph, state, summed))
    if back:
        nudges = [(Symbol("A", t.edge.name, True), "(−β ∂C/∂", _s(graph.output.name), ")") for t in back]
        yield Equation("nudged by β", _updated(graph, state, _sum([summed, *nudges])))
    elif pulled:
        nudged: Tokens = (*summed, " − β ∂C/∂", _s(state.name))
        if graph.architecture.dynamics.output_step == "closed_form":
            nudged = ("(", *summed, " + β y)/(1 + β)")
        yield Equation("nudged by β", _updated(graph, state, nudged))


def _updated(graph: NetworkGraph, state: State, summed: Tokens) -> Tokens:
    """σ of a sum, or the part of the way there that the dynamics go (``Energy.update``)."""
    dynamics, old = graph.architecture.dynamics, _s(state.name)
    reads_out = graph.readout and state.name == graph.output.name
    reads = graph.energy.reads
    if "noise" in reads and dynamics.noise and not reads_out:
        summed = (*summed, " + η")
    activation = state.activation
    step = "ε" if dynamics.flow else "ω"
    steps = dynamics.stepped and not reads_out
    if steps and (activation.projects or dynamics.flow):
        start: Tokens = (old,) if activation.projects else ("σ⁻¹(", old, ")")
        summed = (*start, f" + {step} (", *summed, " − ", *start, ")")
    new: Tokens = summed if activation.linear else ("σ(", *summed, ")")
    if steps and not activation.projects and not dynamics.flow:
        new = (old, f" + {step} (", *new, " − ", old, ")")
    if "damping" in reads and graph.damped(state.name):
        new = (old, " + d (", *new, " − ", old, ")")
    if "state_bits" in reads and dynamics.state_bits and activation.bounds(1.0) is not None:
        new = ("round(", *new, ")")
    return old, " ← ", *new


def _forward(graph: NetworkGraph, state: State) -> Iterable[Equation]:
    """Lines of an energy that reads edges in their direction: a forward pass, and the errors that flow back."""
    name, a = state.name, Symbol("a", state.name)
    linear, dynamics = state.activation.linear, graph.architecture.dynamics
    value: Tokens = (a,) if linear else ("σ(", a, ")")
    yield Equation("free phase", (_s(name), " ← ", *value))
    if graph.readout and name == graph.output.name:
        yield Equation("where", (a, " = ", *_bottom_up(graph, state)))
        return
    back = [_fed_back(graph, edge.name, edge.target) for edge in graph.post(name)]
    nudge: Tokens = (" − β ∂C/∂", _s(name)) if name == graph.output.name else ()
    error = _sum(back) if back else ()
    if dynamics.chosen_solver.errors:
        yield Equation("nudged, error", (Symbol("ε", name), " = ", *(error or ("0",) * (not nudge)), *nudge))
        yield Equation("nudged, state", (_s(name), " ← ", *value, " + ", Symbol("ε", name)))
    else:
        projects = state.activation.projects and not linear
        mixed = linear or "update" not in graph.energy.reads or (projects and dynamics.update == "mod_pgd")
        summed: Tokens = (a,) if mixed else value
        summed = (*summed, *((" + ", *error) if error else ()), *nudge)
        outer = not linear and (projects or "update" not in graph.energy.reads)
        nudged: Tokens = ("σ(", *summed, ")") if outer else summed
        yield Equation("nudged by β", (_s(name), " ← ", *nudged))
    yield Equation("where", (a, " = ", *_bottom_up(graph, state)))
    if not dynamics.chosen_solver.errors:
        for child in list(dict.fromkeys(e.target for e in graph.post(name) if not graph.reads_out(e)))[:MOST_TERMS]:
            predicted = Symbol("a", child)
            sigma: Tokens = (predicted,) if graph.states[child].activation.linear else ("σ(", predicted, ")")
            yield Equation("where", (Symbol("ε", child), " = ", _s(child), " − ", *sigma))


def _fed_back(graph: NetworkGraph, edge: str, child: str) -> Tokens:
    """Aᵀ(σ′ ⊙ ε): what an edge sends back to its source."""
    if graph.reads_out(graph.edges[edge]):
        return Symbol("A", edge, True), "(−β ∂C/∂", _s(child), ")"
    error = Symbol("ε", child)
    if graph.states[child].activation.linear:
        return Symbol("A", edge, True), " ", error
    return Symbol("A", edge, True), "(σ′(", Symbol("a", child), ") ⊙ ", error, ")"


def _bottom_up(graph: NetworkGraph, state: State) -> Tokens:
    into: list[Tokens] = [(Symbol("A", edge.name), " ", _s(edge.source)) for edge in graph.pre(state.name)]
    return _sum([*into, *_bias(state)])


def _explained(graph: NetworkGraph, state: State) -> Iterable[Equation]:
    """What the letters of an update are: σ, and the numbers of the dynamics."""
    dynamics, reads = graph.architecture.dynamics, graph.energy.reads
    reads_out = graph.readout and state.name == graph.output.name
    yield from _sigma(state)
    if dynamics.stepped and not reads_out:
        yield Equation("where", (f"{'ε' if dynamics.flow else 'ω'} = {dynamics.step:g}",))
    if "noise" in reads and dynamics.noise and not reads_out:
        yield Equation("where", (f"η = Gaussian noise of deviation {dynamics.noise:g}",))
    if "damping" in reads and (damped := graph.damped(state.name)):
        norms = _sum([("‖", Symbol("W", edge.owner), "‖") for edge in damped])
        factor = f"d = min(1, {dynamics.damping:g}/(1 + mκ)), m = the largest slope of σ, κ ≥ "
        yield Equation("where", (factor, *norms))
    if "state_bits" in reads and dynamics.state_bits and state.activation.bounds(1.0) is not None:
        yield Equation("where", (f"round = to {dynamics.state_bits} bits on the range of σ",))


def _sigma(state: State) -> Iterable[Equation]:
    if not state.activation.linear:
        yield Equation("where", (f"σ = {state.activation.label}",))


def _from_readout(graph: NetworkGraph, term: Term) -> bool:
    """Whether a term is what nudging of the readout makes a state feel."""
    return term.direction == "adjoint" and graph.reads_out(term.edge)


def _term(term: Term) -> Tokens:
    """What an edge contributes to a sum."""
    edge = term.edge
    if edge.unary:
        return Symbol("∂φ", edge.name), "/∂", _s(edge.source)
    if term.direction == "forward":
        return Symbol("A", edge.name), " ", _s(edge.source)
    return Symbol("B" if edge.untied else "A", edge.name, True), " ", _s(edge.target)


def _bias(state: State) -> list[Tokens]:
    return [] if state.bias_shape is None else [(Symbol("b", state.name),)]


def _sum(parts: Sequence[Tokens]) -> Tokens:
    """Parts with + between them; of many, the first ones and how many more there are."""
    shown = list(parts[:MOST_TERMS])
    if len(parts) > MOST_TERMS:
        shown.append((f"⋯ ({len(parts) - MOST_TERMS:,} more terms)",))
    tokens: list[str | Symbol] = []
    for part in shown:
        tokens += [" + ", *part] if tokens else part
    return tuple(tokens or ("0",))


def _s(name: str) -> Symbol:
    return Symbol("s", name)

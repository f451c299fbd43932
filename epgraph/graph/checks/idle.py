"""Warnings about keys without effect in a network.

``READERS`` declares for a key when it has an effect; ``ALWAYS`` lists the keys that always have one. Tests compare both
with the models of the language, so a new key must be declared in one of them. ``ESTIMATORS`` declares the keys of each
estimator, and edge kinds declare their options (``EdgeKind.idle``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from epgraph.errors import Diagnostic, Location
from epgraph.graph.network import Edge, NetworkGraph, State
from epgraph.init_rules import INITIAL
from epgraph.kinds import Unary
from epgraph.language.model import BiasSpec, OutputSpec, StateSpec
from epgraph.learning_rules import ESTIMATORS
from epgraph.optimizers import rate_schedule


class Unread(NamedTuple):
    """Reason why a key has no effect, a hint, and where it has none if that is not everywhere."""

    reason: str
    hint: str = "leave it out"
    where: str = ""


Reader = Callable[[NetworkGraph, Any, Any], Unread | None]
"""Function of the network, the key's value, and the state or edge with the key (or None).

It returns None if the key has an effect.
"""


def _estimator(key: str) -> Reader:
    """A key of some estimators, with an effect only if a state moves."""

    def read(graph: NetworkGraph, value: Any, subject: None) -> Unread | None:
        name = graph.architecture.learning.estimator
        if key in ESTIMATORS[name].reads:
            return _moving(graph, value, subject)
        others = [other for other, rule in ESTIMATORS.items() if key in rule.reads]
        use = f", or use estimator: {others[0]}" if len(others) == 1 else ""
        return Unread(f"estimator {name} does not use it", f"leave it out{use}")

    return read


def _nudged_steps(graph: NetworkGraph, value: Any, subject: None) -> Unread | None:
    learning = graph.architecture.learning
    if "truncation" in ESTIMATORS[learning.estimator].reads and learning.truncation is not None:
        return Unread(f"estimator {learning.estimator} uses learning.truncation in its place")
    return _estimator("nudged_steps")(graph, value, subject)


def _free_steps(graph: NetworkGraph, value: Any, subject: None) -> Unread | None:
    if graph.energy.feedforward:
        return Unread(_one_pass(graph))
    return _moving(graph, value, subject)


def _tolerance(graph: NetworkGraph, value: Any, subject: None) -> Unread | None:
    name = graph.architecture.learning.estimator
    if value and graph.energy.feedforward and ESTIMATORS[name].differentiates:
        return Unread(f"{_one_pass(graph)}, and estimator {name} has no nudged phase")
    return _moving(graph, value, subject)


def _one_pass(graph: NetworkGraph) -> str:
    return f"with energy {graph.architecture.energy} the free phase is one forward pass"


def _moving(graph: NetworkGraph, value: Any, subject: None) -> Unread | None:
    name = graph.architecture.learning.estimator
    if value and ESTIMATORS[name].feedforward:
        return Unread(f"estimator {name} takes one feed-forward pass, and no state relaxes")
    if graph.dynamic or not value:
        return None
    cost, output = graph.architecture.output.cost, graph.output.name
    return Unread(f"no state moves: with {cost} the output '{output}' is a readout of the input")


def _schedule(graph: NetworkGraph, value: Any, subject: None) -> Unread | None:
    solver = graph.architecture.dynamics.chosen_solver
    if solver.errors:
        return Unread(f"{solver.title} take the states in the order of the edges")
    if len(graph.dynamic) == 1 and not ESTIMATORS[graph.architecture.learning.estimator].feedforward:
        return Unread(f"'{graph.dynamic[0]}' is the only state that moves")
    return _moving(graph, value, subject)


def _solver(graph: NetworkGraph, value: Any, subject: None) -> Unread | None:
    name = graph.architecture.learning.estimator
    if graph.architecture.dynamics.chosen_solver.mixes and ESTIMATORS[name].single_sweeps:
        reason = f"with estimator {name} every nudged sweep is a phase of its own"
        return Unread(reason, "leave it out, or use estimator: positive", " in nudged phases")
    return _moving(graph, value, subject)


def _update(graph: NetworkGraph, value: Any, subject: None) -> Unread | None:
    if "update" not in graph.energy.reads:
        return Unread(f"energy {graph.architecture.energy} has one update", "leave it out, or use energy: predictive")
    if graph.architecture.dynamics.chosen_solver.errors:
        return Unread("error sweeps have one update, σ(a) + ε")
    activations = [graph.states[name].activation for name in graph.dynamic]
    if not any(activation.projects and not activation.linear for activation in activations):
        return Unread("no state that moves has ReLUα, where the two updates differ")
    return _moving(graph, value, subject)


def _damping(graph: NetworkGraph, value: Any, subject: None) -> Unread | None:
    if "damping" not in graph.energy.reads:
        return Unread(f"the updates of energy {graph.architecture.energy} are not damped")
    kinds = (edge.kind for name in graph.dynamic for edge in graph.unary_edges(name))
    damped = any(isinstance(kind, Unary) and kind.damps for kind in kinds)
    return None if damped else Unread("no state has an edge that needs damping, as 'self' does")


def _state_bits(graph: NetworkGraph, value: Any, subject: None) -> Unread | None:
    ranges = (graph.states[name].activation.bounds(1.0) for name in graph.dynamic)
    return None if not value or any(ranges) else Unread("no state that moves has an activation with a range")


def _weight_bits(graph: NetworkGraph, value: Any, subject: None) -> Unread | None:
    weights = (edge.weight_shape for edge in graph.edges.values())
    return None if not value or any(weights) else Unread("no edge has a weight")


def _feedback(graph: NetworkGraph, value: Any, subject: None) -> Unread | None:
    name = graph.architecture.learning.estimator
    if value != "tied" and ESTIMATORS[name].feedforward:
        return Unread(f"estimator {name} takes one feed-forward pass, and nothing flows back")
    if value == "tied" or any(edge.untied for edge in graph.edges.values()):
        return None
    return Unread("no edge with a weight joins two states that move")


def _learning_rate(graph: NetworkGraph, value: Any, subject: None) -> Unread | None:
    rates = [part.learning_rate for part in graph.trained]
    return Unread("every parameter has its own learning_rate") if rates and None not in rates else None


def _last_rate(graph: NetworkGraph, value: Any, subject: None) -> Unread | None:
    training = graph.architecture.training
    name, schedule = rate_schedule(training.optimizer, training.schedule)
    return None if schedule.falls else Unread(f"{name} does not end there")


def _warmup_factor(graph: NetworkGraph, value: Any, subject: None) -> Unread | None:
    return None if graph.architecture.training.warmup_epochs else Unread("warmup_epochs is 0")


def _label_smoothing(graph: NetworkGraph, value: Any, subject: None) -> Unread | None:
    named = graph.architecture.output.classes
    return Unread("the output has no classes, and its targets are no labels") if value and named is None else None


def _checkpoint_epochs(graph: NetworkGraph, value: Any, subject: None) -> Unread | None:
    epochs = graph.architecture.training.epochs
    return Unread(f"the training has {epochs} epochs") if value is not None and value > epochs else None


def _optimizer(key: str) -> Reader:
    """A key that is an argument of some optimizers."""

    def read(graph: NetworkGraph, value: Any, subject: None) -> Unread | None:
        optimizer = graph.architecture.training.optimizer
        if key not in optimizer.builder.keys:
            within = f"write it inside, optimizer: {{{optimizer.name}: {{{key}: {value}}}}}"
            hint = within if key in type(optimizer).model_fields else "leave it out"
            return Unread(f"optimizer {optimizer.name} does not use it", hint)
        if key == "weight_decay" and subject is None:
            decays = [part.weight_decay for part in graph.trained]
            return Unread("every parameter has its own weight_decay") if decays and None not in decays else None
        return None

    return read


def _bias_decay(graph: NetworkGraph, value: Any, state: State) -> Unread | None:
    return _bias_rate(graph, value, state) or _optimizer("weight_decay")(graph, value, state)


def _edge_decay(graph: NetworkGraph, value: Any, edge: Edge) -> Unread | None:
    return _weight_rate(graph, value, edge) or _optimizer("weight_decay")(graph, value, edge)


def _norm(graph: NetworkGraph, value: Any, subject: None) -> Unread | None:
    rule = graph.architecture.init.rule
    if INITIAL[rule].reads_norm:
        return None
    return Unread(f"init.rule {rule} does not use it", "leave it out, or use rule: graph_aware")


def _bias_rate(graph: NetworkGraph, value: Any, state: State) -> Unread | None:
    return None if state.bias_shape or state.norm or state.activation.learnt else Unread("it has no bias")


def _bias(graph: NetworkGraph, value: Any, state: State) -> Unread | None:
    return Unread(f"norm: {state.norm} has a shift of its own") if value and state.norm else None


def _bias_gain(graph: NetworkGraph, value: Any, state: State) -> Unread | None:
    rule = graph.architecture.init.rule
    if INITIAL[rule].sets_biases and state.name in graph.dynamic:
        return Unread(f"init: {rule} sets the biases")
    return None


def _bias_fan_in(graph: NetworkGraph, value: Any, state: State) -> Unread | None:
    return Unread("its gain is 0") if state.bias_scale == 0 else _bias_gain(graph, value, state)


def _weight(graph: NetworkGraph, value: Any, edge: Edge) -> Unread | None:
    """A key of the weight: it needs an edge with its own weight."""
    if edge.weight_shape is None:
        return Unread(f"{edge.kind.name} has no weight") if value else None
    return Unread(f"its weight is that of '{edge.tied}'", f"write it at '{edge.tied}'") if edge.tied else None


def _frozen(graph: NetworkGraph, value: Any, edge: Edge) -> Unread | None:
    # What is frozen and tied is checked with the ties.
    return None if edge.tied else _weight(graph, value, edge)


def _weight_rate(graph: NetworkGraph, value: Any, edge: Edge) -> Unread | None:
    return _weight(graph, True, edge) or (Unread("its weight is frozen") if edge.frozen else None)


def _gain(graph: NetworkGraph, value: Any, edge: Edge) -> Unread | None:
    unread = _weight(graph, True, edge)
    rule = graph.architecture.init.rule
    # A weight that an edge inside shares has its size from there.
    if unread is None and INITIAL[rule].scales_inputs and value and edge.name in graph.driven:
        return Unread(f"init: {rule} scales the edges of the input by the signal that they carry")
    return unread


def _takers(graph: NetworkGraph, key: str) -> Iterator[State | Edge]:
    """States or edges without the key, which take it from ``defaults``."""
    architecture = graph.architecture
    if key == "gain":
        for index, (edge, spec) in enumerate(zip(graph.edges.values(), architecture.edges, strict=True)):
            if spec.gain is None or architecture.by_default((*architecture.edge_location(index), key)):
                yield edge
        return
    for name, state in architecture.states.items():
        if getattr(state, key) is None or architecture.by_default(("states", name, key)):
            yield graph.states[name]


def _taken(key: str, read: Reader = lambda graph, value, taker: None) -> Reader:
    """A key of ``defaults``, or of its bias: it needs a state or edge that takes it and in which it has an effect."""

    def among(graph: NetworkGraph, value: Any, subject: None) -> Unread | None:
        unread = {read(graph, value, taker) for taker in _takers(graph, key)}
        if None in unread:
            return None
        what = "edge with a weight" if key == "gain" else "hidden state"
        return unread.pop() if len(unread) == 1 else Unread(f"no {what} takes it from the defaults")

    return among


ALWAYS: Mapping[str, frozenset[str]] = {
    "dynamics": frozenset(),
    "learning": frozenset({"estimator"}),
    "training": frozenset(
        {
            "epochs",
            "batch_size",
            "schedule",
            "optimizer",
            "clip_norm",
            "warm_start",
            "seed",
            "checkpoint_minutes",
            "warmup_epochs",
            "ema",
        }
    ),
    "init": frozenset({"rule"}),
    "defaults": frozenset(),
    "output": frozenset({"name", "classes", "shape", "cost", "activation", "bias"}),
    "state": frozenset({"channels", "shape", "activation", "norm"}),
    "bias": frozenset(),
    "default bias": frozenset(),
    "edge": frozenset({"source", "target", "at", "name", "tie"}),
}
"""Keys that always have an effect, or are refused."""

READERS: Mapping[str, Mapping[str, Reader]] = {
    "dynamics": {
        "schedule": _schedule,
        "free_steps": _free_steps,
        "nudged_steps": _nudged_steps,
        "tolerance": _tolerance,
        "solver": _solver,
        "over_relaxation": _moving,
        "anderson": _solver,
        "output_step": _estimator("output_step"),
        "update": _update,
        "damping": _damping,
        "flow": _moving,
        "noise": _moving,
        "state_bits": _state_bits,
        "weight_bits": _weight_bits,
    },
    "learning": {
        "beta": _estimator("beta"),
        "points": _estimator("points"),
        "continual_rate": _estimator("continual_rate"),
        "feedback": _feedback,
        "truncation": _estimator("truncation"),
        "solver_tolerance": _estimator("solver_tolerance"),
        "solver_steps": _estimator("solver_steps"),
    },
    "training": {
        "learning_rate": _learning_rate,
        "min_learning_rate": _last_rate,
        "momentum": _optimizer("momentum"),
        "nesterov": _optimizer("nesterov"),
        "weight_decay": _optimizer("weight_decay"),
        "warmup_factor": _warmup_factor,
        "label_smoothing": _label_smoothing,
        "checkpoint_epochs": _checkpoint_epochs,
    },
    "init": {"norm": _norm},
    "defaults": {"activation": _taken("activation"), "gain": _taken("gain", _gain), "bias": _taken("bias")},
    "output": {"learning_rate": _bias_rate, "weight_decay": _bias_decay},
    "state": {"learning_rate": _bias_rate, "weight_decay": _bias_decay, "bias": _bias},
    "bias": {"gain": _bias_gain, "fan_in": _bias_fan_in},
    "default bias": {"gain": _taken("bias", _bias_gain), "fan_in": _taken("bias", _bias_fan_in)},
    "edge": {"gain": _gain, "learning_rate": _weight_rate, "weight_decay": _edge_decay, "frozen": _frozen},
}
"""Section of the language → key → its reader."""


class _Section(NamedTuple):
    """A group of keys: its location, its section of the language, and the state or edge that has it."""

    at: Location
    spec: BaseModel
    name: str
    subject: State | Edge | None = None
    of: str = ""


def idle(graph: NetworkGraph) -> Iterator[Diagnostic]:
    """Yield a warning for every written key without effect.

    A key in a block, or in an entry for several edges, has an effect if it has one in any of them. A section with all
    of its keys is a complete record of settings, as in a run folder: a key with its default there gives no warning.
    """
    place = graph.architecture.place
    warnings: list[tuple[Location, Diagnostic]] = []
    read: set[object] = set()
    for at, key, unread in _written(graph):
        if unread is None:
            read.add(place(at))
        else:
            message = f"{key} has no effect{unread.where}: {unread.reason}"
            warnings.append((at, Diagnostic(message, unread.hint, at, severity="warning", rule="no-effect")))
    yield from (diagnostic for at, diagnostic in warnings if place(at) not in read)


def without_effect(graph: NetworkGraph) -> Iterator[Location]:
    """Yield the keys of the whole network, written or not, that have no effect in it."""
    for section in _sections(graph):
        if section.name in ("dynamics", "learning", "training", "init"):
            for key, read in READERS[section.name].items():
                if read(graph, getattr(section.spec, key), None) is not None:
                    yield *section.at, key


def _written(graph: NetworkGraph) -> Iterator[tuple[Location, str, Unread | None]]:
    """Yield every written key: its location, its name in messages, and why it has no effect, or None."""
    by_default = graph.architecture.by_default
    for section in _sections(graph):
        fields, written = type(section.spec).model_fields, section.spec.model_fields_set
        # What is null by default is left out of such a record.
        complete = all(key in written for key, field in fields.items() if field.get_default() is not None)
        for key in [key for key in READERS[section.name] if key in written]:
            value, default = getattr(section.spec, key), fields[key].get_default(call_default_factory=True)
            if section.name == "dynamics":
                default = graph.architecture.dynamics_defaults.get(key, default)
            at = (*section.at, key)
            if not (value == default and (complete or value is None)) and not by_default(at):
                yield at, f"'{key}'{section.of}", READERS[section.name][key](graph, value, section.subject)
    for index, edge in enumerate(graph.edges.values()):
        reasons = edge.kind.idle(graph.states[edge.source].shape, graph.states[edge.target].shape)
        at = (*graph.architecture.edge_location(index), edge.kind.name)
        fields = type(edge.kind).model_fields
        for key in [key for key in fields if key in edge.kind.model_fields_set]:
            default = fields[key].default
            if getattr(edge.kind, key) != default and not by_default((*at, key)):
                unread = Unread(reasons[key]) if key in reasons else None
                yield (*at, key), f"'{key}' of edge '{edge.name}'", unread


def _sections(graph: NetworkGraph) -> Iterator[_Section]:
    architecture = graph.architecture
    for name in ("dynamics", "learning", "training", "init", "defaults"):
        yield _Section((name,), getattr(architecture, name), name)
    if isinstance(architecture.defaults.bias, BiasSpec):
        yield _Section(("defaults", "bias"), architecture.defaults.bias, "default bias", None, " of the bias")
    states: list[tuple[Location, str, OutputSpec | StateSpec, State]]
    states = [(("output",), "output", architecture.output, graph.output)]
    states += [(("states", name), "state", spec, graph.states[name]) for name, spec in architecture.states.items()]
    for at, name, state_spec, state in states:
        yield _Section(at, state_spec, name, state, f" of {name} '{state.name}'")
        if isinstance(state_spec.bias, BiasSpec):
            yield _Section((*at, "bias"), state_spec.bias, "bias", state, f" of the bias of {name} '{state.name}'")
    for index, (edge, edge_spec) in enumerate(zip(graph.edges.values(), architecture.edges, strict=True)):
        yield _Section(architecture.edge_location(index), edge_spec, "edge", edge, f" of edge '{edge.name}'")

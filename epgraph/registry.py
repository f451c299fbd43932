"""Registration of a user's own members of every axis: activations, costs, edge kinds, energies and the like."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from types import FunctionType
from typing import Any, TypeVar

from pydantic import ValidationError

from epgraph.activations import NAMED, Activation
from epgraph.activations.language import FAMILIES
from epgraph.arguments import flag, shown, text
from epgraph.contract import ACTIVATION, COST, KIND, SOLVER, hold
from epgraph.costs import COSTS, Cost
from epgraph.energies import ENERGIES, Energy
from epgraph.errors import EpgraphError, nearest
from epgraph.init_rules import INITIAL, Initialization
from epgraph.kinds import KINDS, EdgeKind
from epgraph.language.model import NAME_PATTERN, DynamicsSpec, EdgeBase
from epgraph.learning_rules import ESTIMATORS, OPTIONS, Estimator
from epgraph.optimizers import OPTIMIZERS, optimizer_of
from epgraph.rates import RATE_SCHEDULES, Rate, schedule_of
from epgraph.solvers import SOLVERS, Solver
from epgraph.traits import mistakes

_NAME = re.compile(NAME_PATTERN)
_RESERVED = re.compile(r"relu[0-9.]*")
_BUILT_IN = frozenset({*NAMED, *FAMILIES, *COSTS})
_BUILT_IN_ENERGIES = frozenset(ENERGIES)
_BUILT_IN_KINDS = frozenset(KINDS)
_BUILT_IN_OPTIMIZERS = frozenset(OPTIMIZERS)
_BUILT_IN_SCHEDULES = frozenset(RATE_SCHEDULES)
_BUILT_IN_SOLVERS = frozenset(SOLVERS)
_BUILT_IN_ESTIMATORS = frozenset(ESTIMATORS)
_BUILT_IN_INITIAL = frozenset(INITIAL)


def register_activation(name: str, activation: Activation | type[Activation]) -> None:
    """Let ``activation: name`` in YAML stand for an activation of your own.

    A name registered before is replaced. ``verify_activation`` checks the activation's mathematics.

    Parameters
    ----------
    activation
        An activation. Or a class with options, ``activation: {name: {slope: 2}}``: a frozen dataclass whose fields are
        numbers with defaults. Options are above 0, except with ``field(default=0.0, metadata={"signed": True})``.
        ``metadata`` may also have what editors show: a ``description``, and a list of ``examples``.

    Raises
    ------
    EpgraphError
        If it is no ``Activation``, its fields are no such options, or the name is built in or illegal.
    """
    _check_name("activation", name, _BUILT_IN)
    what, family = f"activation '{name}'", _family(activation)
    member: Any = activation if family is None else _default_member(what, family)
    _check("activation", name, member, Activation, _BUILT_IN)
    hold(type(member), ACTIVATION, what)
    _check_traits(what, type(member), member)
    NAMED[name] = member
    FAMILIES.pop(name, None)
    if family is not None:
        FAMILIES[name] = family


def register_cost(name: str, cost: Cost) -> None:
    """Let ``cost: name`` of the output stand for a cost of your own; as ``register_activation``."""
    _check("cost", name, cost, Cost, _BUILT_IN)
    what = f"cost '{name}'"
    hold(type(cost), COST, what)
    _check_traits(what, type(cost), cost)
    COSTS[name] = cost


def register_energy(name: str, energy: Energy) -> None:
    """Let ``energy: name`` stand for an energy of your own; as ``register_activation``."""
    _check("energy", name, energy, Energy, _BUILT_IN_ENERGIES)
    what = f"energy '{name}'"
    _check_traits(what, type(energy), energy)
    _check_defaults(what, energy.defaults)
    ENERGIES[name] = energy


def register_optimizer(name: str, build: Callable[..., Any], *, schedule: Rate | None = None, **options: Any) -> None:
    """Let ``training: {optimizer: name}`` stand for an optimizer: ``build``, e.g. ``torch.optim.RAdam``.

    A name registered before is replaced.

    Parameters
    ----------
    build
        A class of ``torch.optim`` whose ``step`` needs no closure, or a function from groups of parameters to such an
        optimizer. It receives ``training.momentum``, ``nesterov`` and ``weight_decay`` if it has arguments of these
        names.
    schedule
        The learning rate where ``training.schedule`` does not say how it changes, as for ``register_schedule``. By
        default a cosine.
    options
        Further arguments of ``build``, e.g. ``betas=(0.9, 0.99)``; ``optimizer: {name: {…}}`` overrides them.

    Raises
    ------
    EpgraphError
        If ``build`` or ``schedule`` is not callable, or the name is built in or illegal.
    """
    _check_name("optimizer", name, _BUILT_IN_OPTIMIZERS)
    for value, what in ((build, "a class of torch.optim"), (schedule, "a function for its schedule")):
        if not callable(value) and (value is not None or what == "a class of torch.optim"):
            raise _refusal(f"optimizer '{name}'", f"expected {what}, found {shown(value)}", "")
    OPTIMIZERS[name] = optimizer_of(name, build, schedule, options)


def register_schedule(name: str, rate: Rate, *, falls: bool = True) -> None:
    """Let ``training: {schedule: name}`` stand for a schedule of the learning rate.

    A name registered before is replaced.

    Parameters
    ----------
    rate
        A function of the first rate, the last rate (``training.min_learning_rate``) and the part of the training that
        is done, 0 to 1. It is asked at the start of every epoch, with ``{name: {per: step}}`` of every batch, for each
        first rate of a state or edge.
    falls
        Whether it ends at the last rate. Then a first rate below that is refused.

    Raises
    ------
    EpgraphError
        If ``rate`` cannot be called, or the name is built in or not a name.
    """
    _check_name("schedule", name, _BUILT_IN_SCHEDULES)
    if not callable(rate):
        raise _refusal(
            f"schedule '{name}'", f"expected a function of first rate, last rate and progress, found {shown(rate)}", ""
        )
    RATE_SCHEDULES[name] = schedule_of(name, rate, flag("falls", falls))


def register_solver(name: str, cls: type[Solver]) -> None:
    """Let ``dynamics: {solver: name}`` or ``{solver: {name: options}}`` stand for a solver of your own.

    Its fields are the options. ``cls.name`` becomes the name; a name registered before is replaced.

    Raises
    ------
    EpgraphError
        If ``cls`` is no class derived from ``Solver`` or has another name already, or if the name is built in or not a
        name.
    """
    _check_name("solver", name, _BUILT_IN_SOLVERS)
    what = f"solver '{name}'"
    _check_class(what, cls, Solver)
    if vars(cls).get("name", name) != name:
        raise _refusal(what, f"the class {cls.__name__} has the name '{cls.name}'", "derive a class from it")
    _check_traits(what, cls, cls)
    hold(cls, SOLVER, what)
    _check_defaults(what, cls.defaults)
    cls.name = name
    SOLVERS[name] = cls


def register_estimator(name: str, estimator: Estimator | Callable[[Any], Any], **traits: Any) -> None:
    """Let ``learning: {estimator: name}`` stand for an estimator of your own.

    A name registered before is replaced.

    Parameters
    ----------
    estimator
        An ``Estimator``, or the function ``GradientTask → Estimate`` that it computes by, with its traits as further
        arguments: ``register_estimator("mine", function, error="O(β⁴)")``.

    Raises
    ------
    EpgraphError
        If it is neither, a trait is unknown, an option has a name that is taken, or the name is built in or not a name.
    """
    _check_name("estimator", name, _BUILT_IN_ESTIMATORS)
    what = f"estimator '{name}'"
    estimator = _with_traits(what, estimator, Estimator, "a GradientTask", traits)
    if taken := sorted(OPTIONS.keys() & estimator.options.keys()):
        raise _refusal(what, f"its option '{taken[0]}' is a key of learning", "name it in 'reads' instead")
    ESTIMATORS[name] = estimator


def register_initialization(
    name: str, draw: Initialization | Callable[[Any, int, Any], Mapping[str, Any]], **traits: bool
) -> None:
    """Let ``init: name`` stand for a rule of your own that draws the initial parameters.

    A name registered before is replaced. Parameters that the rule leaves out are drawn as published.

    Parameters
    ----------
    draw
        A function (graph, seed, x) → tensors by their names in the ``state_dict`` of an engine, where x is a batch of
        inputs or None; or an ``Initialization``. Its traits may follow: ``measures=True``.

    Raises
    ------
    EpgraphError
        If it cannot be called, a trait is unknown, or the name is built in or not a name.
    """
    _check_name("rule of initial parameters", name, _BUILT_IN_INITIAL)
    what = f"rule of initial parameters '{name}'"
    INITIAL[name] = _with_traits(what, draw, Initialization, "(graph, seed, x)", traits)


def register_kind(cls: type[EdgeKind]) -> type[EdgeKind]:
    """Let ``NAME: {…options}`` of an edge stand for an edge kind of your own; usable as a decorator.

    ``cls.name`` is the key. The kind is then part of the language (YAML, messages, schema), of ``check`` and drawings,
    and of engines and emitted modules. ``verify_kind`` checks its mathematics. Registering the same class again, or its
    definition run again, replaces it.

    Raises
    ------
    EpgraphError
        If it is no class derived from ``EdgeKind``, or lacks a name or a method, or if the name is illegal, in use, or
        a key of edges.
    """
    _check_class("an edge kind", cls, EdgeKind)
    name = getattr(cls, "name", None)
    if not isinstance(name, str):
        hint = f'write in it: name: ClassVar[str] = "{cls.__name__.lower()}"'
        raise _refusal(f"edge kind {cls.__name__}", "it has no name, its key in YAML", hint)
    _check_name("edge kind", name, _BUILT_IN_KINDS)
    what = f"edge kind '{name}'"
    keys = {key for field, info in EdgeBase.model_fields.items() for key in (field, info.alias or field)}
    if name in keys or hasattr(EdgeBase, name):
        raise _refusal(what, "every edge has something of that name", "choose another name")
    absent = sorted(getattr(cls, "__abstractmethods__", ()))
    if absent:
        hint = f"write {'it' if len(absent) == 1 else 'them'}; docs/edge-kinds.md has an example"
        raise _refusal(what, f"the class {cls.__name__} has no {', '.join(absent)}", hint)
    for key in [key for key in vars(cls) if not key.startswith("_") and callable(getattr(cls, key))]:
        # With a misspelled name the method of the base class would stay in force without a message.
        close = nearest(key, sorted(_METHODS))
        if key not in _METHODS and close.startswith("did you mean"):
            raise _refusal(what, f"the class {cls.__name__} has an unknown method {key}", close)
    _check_traits(what, cls, cls)
    before = KINDS.get(name)
    if before is not None and _origin(before) != _origin(cls):
        raise _refusal(
            what, f"the class {before.__name__} of {_place(before)} has that name already", "choose another name"
        )
    hold(cls, KIND, what)
    KINDS[name] = cls
    return cls


_METHODS = frozenset(key for key in dir(EdgeKind) if not key.startswith("_"))


def _origin(cls: type) -> tuple[str, str]:
    return cls.__module__, cls.__qualname__


def _place(cls: type) -> str:
    return cls.__module__.removeprefix(PLUGIN_MODULE)


PLUGIN_MODULE = "plugin "
"""Prefix of the module name under which a plugin's file runs."""


def own_classes() -> list[tuple[str, type]]:
    """Return every registered class that is not built in, and what messages call it."""
    classes: list[tuple[str, type]] = [(f"edge kind '{n}'", k) for n, k in KINDS.items() if n not in _BUILT_IN_KINDS]
    classes += [(f"activation '{n}'", type(a)) for n, a in NAMED.items() if n not in _BUILT_IN]
    classes += [(f"cost '{n}'", type(c)) for n, c in COSTS.items() if n not in _BUILT_IN]
    classes += [(f"energy '{n}'", type(e)) for n, e in ENERGIES.items() if n not in _BUILT_IN_ENERGIES]
    classes += [(f"solver '{n}'", s) for n, s in SOLVERS.items() if n not in _BUILT_IN_SOLVERS]
    functions = {name: rule.function for name, rule in ESTIMATORS.items() if name not in _BUILT_IN_ESTIMATORS}
    classes += [
        (f"estimator '{name}'", type(name, (), {function.__name__: function}))
        for name, function in functions.items()
        if isinstance(function, FunctionType)
    ]
    return classes


Declared = TypeVar("Declared", Estimator, Initialization)


def _with_traits(
    what: str, function: object, declared: type[Declared], takes: str, traits: Mapping[str, Any]
) -> Declared:
    """Return a function together with the traits that it is registered with."""
    if not callable(function):
        raise _refusal(what, f"expected a function of {takes}, found {shown(function)}", "pass the function itself")
    known = [trait.name for trait in fields(declared)]
    for key in traits.keys() - set(known):
        raise _refusal(what, f"an {declared.__name__} has no trait '{key}'", nearest(key, known))
    return replace(function if isinstance(function, declared) else declared(function), **traits)


def _family(value: object) -> type[Any] | None:
    """A class of activations with options; None for anything else."""
    return value if isinstance(value, type) and issubclass(value, Activation) and is_dataclass(value) else None


def _default_member(what: str, family: type[Any]) -> object:
    """Member of a family of activations with all options at their defaults."""
    if absent := sorted(getattr(family, "__abstractmethods__", ())):
        raise _refusal(what, f"the class {family.__name__} has no {', '.join(absent)}", "write what is missing")
    if family.__hash__ is None:
        raise _refusal(what, f"the class {family.__name__} can be changed", "write @dataclass(frozen=True)")
    for option in fields(family):
        number = option.default
        if isinstance(number, bool) or not isinstance(number, int | float) or not option.init:
            why = f"its option '{option.name}' has no number as default"
            raise _refusal(what, why, f"e.g. {option.name}: float = 1.0")
        said, examples = option.metadata.get("description", ""), option.metadata.get("examples", [])
        if not isinstance(said, str) or not isinstance(examples, list):
            why = f"the description of its option '{option.name}' is no text, or its examples are no list"
            raise _refusal(what, why, 'e.g. field(default=1.0, metadata={"description": "Slope.", "examples": [2]})')
    return family()


def _check(axis: str, name: str, value: object, kind: type, built_in: frozenset[str]) -> None:
    """Refuse a name, or a value that is no instance of the base class of its axis."""
    _check_name(axis, name, built_in)
    if not isinstance(value, kind):
        # A class in place of an instance is the most likely mistake.
        hint = f"derive its class from epgraph.{kind.__name__}"
        if isinstance(value, type) and issubclass(value, kind):
            hint = f"pass {value.__name__}()"
        article = "an" if axis[0] in "aeiou" else "a"
        raise _refusal(f"{axis} '{name}'", f"expected {article} {axis}, found {shown(value)}", hint)


def _check_class(what: str, cls: object, base: type) -> None:
    if isinstance(cls, type) and issubclass(cls, base):
        return
    hint = f"pass the class {type(cls).__name__}" if isinstance(cls, base) else f"derive it from ep.{base.__name__}"
    raise _refusal(what, f"expected a class derived from {base.__name__}, found {shown(cls)}", hint)


def _check_defaults(what: str, defaults: Mapping[str, Any]) -> None:
    """Refuse defaults that a file could not have in ``dynamics``."""
    try:
        DynamicsSpec.model_validate(dict(defaults))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise _refusal(
            what,
            f"its 'defaults' are no keys of dynamics with their values: {'.'.join(map(str, first['loc']))}",
            "e.g. {'nudged_steps': 5}",
        ) from None


def _check_traits(what: str, cls: type, member: object) -> None:
    """Refuse a class whose traits, methods and options contradict one another."""
    for mistake, hint in mistakes(cls, member):
        raise _refusal(what, mistake, hint)


def _check_name(axis: str, name: object, built_in: frozenset[str]) -> None:
    name = text("the name to register", name, "e.g. 'leaky'")
    if not _NAME.fullmatch(name):
        hint = "a name is a letter followed by at most 63 letters, digits or '_'"
        raise _refusal(f"{axis} '{name[:64]}'", "it is not a name", hint)
    if name in built_in or (axis == "activation" and _RESERVED.fullmatch(name)):
        raise _refusal(f"{axis} '{name}'", "it is built in", "choose another name")


def _refusal(what: str, why: str, hint: str) -> EpgraphError:
    return EpgraphError(f"{what} cannot be registered: {why}", hint, "plugin")

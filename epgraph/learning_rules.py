"""Estimators of the gradient by the name under which ``learning.estimator`` has them, and what each declares. No torch.

To add one, write its function in ``estimators/`` and add a row to ``ESTIMATORS``; ``epgraph.register_estimator`` adds
one from outside. Nothing else in epgraph asks for the name of an estimator: it asks for these traits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from epgraph.arguments import number, whole_number
from epgraph.errors import EpgraphError, nearest

NUDGED = frozenset({"nudged_steps", "output_step", "beta"})
"""Keys that an estimator with nudged phases reads."""

OPTIONS: dict[str, Callable[[object], object]] = {
    "points": lambda value: whole_number("points", value, 2, 1024),
    "continual_rate": lambda value: number("continual_rate", value, least=0),
    "truncation": lambda value: whole_number("truncation", value, 1, 1_000_000),
    "solver_tolerance": lambda value: number("solver_tolerance", value, positive=True),
    "solver_steps": lambda value: whole_number("solver_steps", value, 1, 1_000_000),
}
"""Keys of ``learning`` that are options of estimators, each with what checks a value that Python code passes."""


@dataclass(frozen=True)
class Estimator:
    """An estimator of the gradient of the mean loss, and what it asks of the network.

    Attributes
    ----------
    compute
        A function ``GradientTask → Estimate`` that adds the gradient of the batch's mean loss to the task; or
        ``"file:function"`` in ``epgraph.estimators``, which is imported when it is first called.
    reads
        Keys of ``learning`` and ``dynamics`` that it reads beside those that all estimators read.
    options
        Options of its own with their defaults, for ``engine.backward(…, name=value)``; ``task.options`` holds them
        beside the keys of ``OPTIONS``.
    error
        Its error in words, such as ``O(β²)``; of one that differentiates, what its gradient is.
    phases
        How the phases of ``Estimate.nudged`` were moved: ``positive``, ``negative`` or ``target``.
    clamps_output
        Whether it clamps the output instead of nudging it, and follows the gradient of a contrast of its own.
    differentiates
        Whether it differentiates the dynamics, without noise or rounding, and nudges nothing.
    only_positive
        Whether β enters with a positive sign only, so that no phase needs β < 1.
    needs_symmetric
        Whether it needs an energy, which untied feedback does not have.
    complex_states
        Whether states are complex: activations, costs and edges have to be holomorphic.
    plain_sweeps
        Whether it goes back through every sweep of the free phase, so that no solver that mixes states can be used.
    single_sweeps
        Whether every nudged sweep is a phase of its own. A solver that mixes states then acts in the free phase alone.
    whole_batch
        Whether a batch must not be cut, because all examples share something that changes meanwhile.
    changes_weights
        Whether weights change between its phases, so that the free phase is no equilibrium of the last ones.
    memory_grows
        Whether memory grows with the number of sweeps.
    feedforward
        Whether it uses the feed-forward network of the wiring: every edge is read in its direction, and no state
        relaxes. Training, evaluation and ``Engine.predict`` then take that network's prediction.
    any_cost
        Whether it uses nothing of the cost but its force, so that ``epgraph.Equilibrium`` can run it for any loss.
    """

    compute: str | Callable[[Any], Any]
    reads: frozenset[str] = NUDGED
    options: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    phases: tuple[str, ...] = ("positive", "negative")
    clamps_output: bool = False
    differentiates: bool = False
    only_positive: bool = False
    needs_symmetric: bool = False
    complex_states: bool = False
    plain_sweeps: bool = False
    single_sweeps: bool = False
    whole_batch: bool = False
    changes_weights: bool = False
    memory_grows: bool = False
    feedforward: bool = False
    any_cost: bool = False

    @property
    def nudges(self) -> bool:
        """Whether it has phases that are nudged by the strength β."""
        return not (self.clamps_output or self.differentiates)

    @property
    def needs_equilibrium(self) -> bool:
        """Whether its gradient holds at an equilibrium only.

        Not where the sweeps are differentiated: then it holds after any number of them. Nor where no state relaxes.
        """
        return not (self.feedforward or self.memory_grows)

    @property
    def function(self) -> Callable[[Any], Any]:
        """The function that computes; it loads torch."""
        if callable(self.compute):
            return self.compute
        module, name = self.compute.split(":")
        loaded: Callable[[Any], Any] = getattr(import_module(f"epgraph.estimators.{module}"), name)
        return loaded

    def __call__(self, task: Any) -> Any:
        """Add the gradient to a ``GradientTask``, and return the ``Estimate``."""
        return self.function(task)


def estimator_options(name: str, learning: Any, given: Mapping[str, object]) -> dict[str, Any]:
    """Return all options of an estimator: those given, else those of ``learning``, else its defaults.

    Raises
    ------
    EpgraphError
        Where one is unknown or out of range.
    """
    own = ESTIMATORS[name].options
    for key in given.keys() - OPTIONS.keys() - own.keys():
        raise EpgraphError(f"estimator '{name}' has no option '{key}'", nearest(key, [*OPTIONS, *own]), "unknown-key")
    checked = {key: OPTIONS[key](value) if key in OPTIONS else value for key, value in given.items()}
    return {**{key: getattr(learning, key) for key in OPTIONS}, **own, **checked}


def _coupled(name: str, *phases: str) -> Estimator:
    return Estimator(
        f"clamped:{name}",
        NUDGED - {"output_step"},
        phases=phases,
        clamps_output=True,
        only_positive=True,
        needs_symmetric=True,
    )


def _differentiating(name: str, *reads: str, error: str, **traits: Any) -> Estimator:
    return Estimator(
        f"reference:{name}", frozenset(reads), error=error, differentiates=True, only_positive=True, **traits
    )


ESTIMATORS: dict[str, Estimator] = {
    "centered": Estimator("contrast:centered", error="O(β²)", any_cost=True),
    "positive": Estimator("contrast:positive", error="O(β)", only_positive=True, any_cost=True),
    "negative": Estimator("contrast:negative", error="O(β)", any_cost=True),
    "random_sign": Estimator("contrast:random_sign", error="O(β)"),
    "continual": Estimator(
        "continual:continual",
        NUDGED | {"continual_rate"},
        error="O(β) and one that grows with continual_rate",
        only_positive=True,
        single_sweeps=True,
        whole_batch=True,
        changes_weights=True,
    ),
    "holomorphic": Estimator(
        "holomorphic:holomorphic", NUDGED | {"points"}, error="O(β^N) with N points", complex_states=True
    ),
    "contrastive": Estimator(
        "clamped:contrastive",
        frozenset({"nudged_steps"}),
        phases=("target",),
        clamps_output=True,
        only_positive=True,
        needs_symmetric=True,
    ),
    "coupled_positive": _coupled("coupled_positive", "positive"),
    "coupled_negative": _coupled("coupled_negative", "negative"),
    "coupled_centered": _coupled("coupled_centered", "positive", "negative"),
    "unrolled": _differentiating(
        "unrolled",
        error="that of the loss after free_steps sweeps, at rest or not",
        plain_sweeps=True,
        memory_grows=True,
    ),
    "truncated": _differentiating(
        "truncated",
        "nudged_steps",
        "truncation",
        error="that of the loss after free_steps sweeps, as far as it goes through the last of them",
        memory_grows=True,
    ),
    "implicit": _differentiating(
        "implicit",
        "solver_tolerance",
        "solver_steps",
        error="at rest that of the loss, as exactly as solver_tolerance says, where no unit stands at a kink",
        needs_symmetric=True,
        any_cost=True,
    ),
    "backprop": Estimator(
        "backprop:backprop",
        frozenset(),
        {"batch_statistics": True},
        error="that of the feed-forward network of this wiring, by automatic differentiation",
        differentiates=True,
        only_positive=True,
        whole_batch=True,
        feedforward=True,
    ),
}
"""Every estimator by its name."""

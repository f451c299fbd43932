"""Does a network learn at all? What can be seen at the end of an epoch, said in words."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from epgraph.chance import at_chance
from epgraph.engine import Engine
from epgraph.errors import listed
from epgraph.runtime.saturation import saturated_share
from epgraph.training.metrics import Metrics
from epgraph.training.probing import needs_rest

NEARLY = 0.99
"""Share of a state's units, over units and examples, that is called all of them."""

UNSETTLED = 0.01
"""Mean residual of the free phase above which it is no equilibrium. On a Hopfield-ResNet13 of channels / 8, trained for
an epoch and more, with 8 to 15 nudged sweeps, the cosine to the gradient at rest was 0.98 to 1.00 where the largest
residual of a batch was at most 0.005, and 0.54 to 1.00 where it was above 0.01."""

FAITHFUL = 0.9
"""Cosine of the whole gradient to that at rest below which it is not called the same."""


def advice(folder: Path) -> str:
    """Return a command that checks the gradient with the weights and the data of a run."""
    return f"to check the gradient: epgraph gradcheck {shlex.quote(str(folder))}"


def troubles(
    engine: Engine,
    metrics: Metrics,
    frequencies: Sequence[float],
    examples: int,
    states: Mapping[str, Tensor],
    folder: Path,
) -> list[str]:
    """Say, in whole sentences, what is wrong after an epoch; nothing where nothing is.

    Costs one pass over ``states`` and waits for the device.

    Parameters
    ----------
    metrics
        Those of the epoch: ``epoch``, ``train_residual``, and ``test_error`` (a fraction), which may be missing, where
        targets are no labels.
    frequencies
        Share of each class among the test examples.
    examples
        Number of test examples.
    states
        Free states of some of them, such as the last batch of the test, (batch, *shape) each.
    folder
        The run folder.

    Returns
    -------
    list
        That the accuracy is at chance, by a binomial test against always answering the most frequent class; which
        states have all units at an end of their activation, or at 0; that the free phase does not settle; and last,
        what to do.
    """
    sentences = [*_chance(metrics, frequencies, examples), *_still(engine, states), *_unsettled(engine, metrics)]
    return [*sentences, advice(folder)] if sentences else []


def _chance(metrics: Metrics, frequencies: Sequence[float], examples: int) -> list[str]:
    largest = max(frequencies, default=1.0)
    if "test_error" not in metrics or not at_chance(metrics["test_error"], examples, largest):
        return []
    right = round((1 - metrics["test_error"]) * examples)
    return [
        f"after epoch {metrics['epoch']:.0f} the accuracy is at chance: {right / examples:.2%} of {examples} test "
        f"examples, and always answering the most frequent class gives {largest:.2%}"
    ]


def _still(engine: Engine, states: Mapping[str, Tensor]) -> list[str]:
    silent, saturated = [], []
    parameters = engine.snapshot()
    for name in engine.graph.dynamic:
        s, state = states[name], engine.graph.states[name]
        zero = float((s == 0).double().mean())
        if zero >= NEARLY:
            silent.append(f"'{name}'")
        elif saturated_share(state.activation, s, parameters.alpha(state)) >= NEARLY:
            saturated.append(f"'{name}' ({state.activation.label})")
    sentences = []
    if silent:
        sentences.append(f"nearly all units are 0, for every input, in {_states(silent)}: no signal passes them")
    if saturated:
        sentences.append(
            f"nearly all units are at an end of their activation in {_states(saturated)}: hardly any signal passes them"
        )
    return sentences


def _unsettled(engine: Engine, metrics: Metrics) -> list[str]:
    """Sweeps that settle the network with its initial weights can be too few for later ones.

    The gradient itself decides, where it was compared. A residual says less.
    """
    if not needs_rest(engine):
        return []
    epoch, cosine, residual = metrics["epoch"], metrics.get("gradient_cosine"), metrics["train_residual"]
    if cosine is not None:
        if cosine >= FAITHFUL:
            return []
        said = f"after epoch {epoch:.0f} the gradient has a cosine of {cosine:.2f} to that of the network at rest"
        if metrics.get("gradient_cosine_float32", cosine) >= FAITHFUL:
            dtype = str(engine.dtype).removeprefix("torch.")
            return [f"{said}, and in float32 it would be good: train with --dtype float32 in place of {dtype}"]
        zeros = "set training.warm_start: false, or " if engine.architecture.training.warm_start else ""
        return [f"{said}: {zeros}{_MORE}"]
    if not residual > UNSETTLED:
        return []
    steps = f"at most {in_sweeps(engine.architecture.dynamics.free_steps)}"
    return [unsettled(f"in epoch {epoch:.0f} the free phase", f"{residual:.1e}", steps, _MORE)]


def unsettled(phase: str, residual: str, sweeps: str, remedy: str, cosine: float | None = None) -> str:
    """Say that a phase did not settle, what that means for the gradient, and what helps.

    Parameters
    ----------
    residual, sweeps
        Mean of the examples, and the number of sweeps, in words.
    cosine
        Of the gradient to that of the network at rest, where it is known.
    """
    effect = "holds at an equilibrium only"
    if cosine is not None:
        effect = f"has a cosine of {cosine:.2f} to that of the network at rest"
    return (
        f"{phase} did not settle: its mean residual is {residual} after {sweeps}, and the gradient {effect}; {remedy}"
    )


def in_sweeps(count: int) -> str:
    """Write a number of sweeps."""
    return f"{count:,} sweep{'s' * (count != 1)}"


_MORE = (
    "raise dynamics.free_steps and dynamics.nudged_steps, and set dynamics.tolerance (0.005, say) to stop where fewer "
    "are enough"
)


def _states(names: list[str]) -> str:
    return f"state{'s' * (len(names) > 1)} {listed(names)}"

"""``ep.converge``: how a network settles, sweep by sweep, freely and nudged. Memory does not grow with the sweeps."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from epgraph.api_arguments import (
    DTYPES,
    Paths,
    Source,
    Warn,
    all_overrides,
    engine_of,
    holds_weights,
    own_examples,
    telling,
    whole,
)
from epgraph.arguments import choice, flag, number, whole_number
from epgraph.display import Shown
from epgraph.engine import Engine
from epgraph.errors import Diagnostic, EpgraphError, visible
from epgraph.graph.plugged import lacking_plugins
from epgraph.language import Architecture
from epgraph.learning_rules import ESTIMATORS
from epgraph.plain import finite
from epgraph.probes import NetworkProbe, compare_at_rest
from epgraph.progress import Progress
from epgraph.runtime.relaxation import Relaxation, States, Status, Sweep
from epgraph.runtime.saturation import saturated_share
from epgraph.training.health import FAITHFUL, UNSETTLED, in_sweeps, unsettled
from epgraph.training.probing import needs_rest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from epgraph.data import Data

__all__ = ["Convergence", "PhaseCurve", "StateCurve", "converge"]

COMPARED = 8
"""Examples on which the gradient is compared with that at rest: as many as ``ep.gradcheck`` takes."""

NOISE = "noise in [0, 1]"
"""What is said of examples that are drawn at random."""


@dataclass(frozen=True)
class StateCurve:
    """One state after each sweep of a phase, over all examples.

    Attributes
    ----------
    activity
        Mean of |s| over units and examples.
    saturation
        Share of the units at a bound of their activation, 0 to 1; NaN where the activation has no bounds. For a smooth
        activation a unit counts within 0.25 % of the range from an end.
    residual
        ‖s − s′‖ / ‖s‖ over all examples, with s′ the state after the sweep before: 1 where it was zero. 0 where the
        phase is one forward pass, which another one would not change.
    """

    activity: list[float] = field(default_factory=list)
    saturation: list[float] = field(default_factory=list)
    residual: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class PhaseCurve:
    """One phase, sweep by sweep.

    Attributes
    ----------
    sweeps
        Numbers of the sweeps of this phase, from 1.
    energy
        Mean F per example after each sweep, without the cost by which a nudged phase is pulled; None where there is no
        F (untied feedback, or the feed-forward network).
    residual
        ‖S(s) − s‖ / ‖S(s)‖ over all states, the largest of the examples.
    states
        By the name of the state.
    status
        How the phase ended: the name of an ``ep.Status``, such as ``CONVERGED``.
    mean_residual
        That after the last sweep, the mean of the examples.
    one_pass
        Whether the phase is one forward pass, after which nothing is left to settle.
    """

    sweeps: list[int]
    energy: list[float] | None
    residual: list[float]
    states: dict[str, StateCurve]
    status: str
    mean_residual: float
    one_pass: bool = False

    def ended(self) -> str:
        """Return how the phase ended, in words."""
        return f"{self.status} (one forward pass)" if self.one_pass else self.status


@dataclass(frozen=True)
class Convergence(Shown):
    """What ``ep.converge`` returns.

    Attributes
    ----------
    network
        Name of the network.
    examples
        Number of examples.
    source
        What the examples are, in words.
    beta
        Strength of the nudge; None without nudged phases.
    phases
        ``free``, and where there are targets ``+β`` and ``−β``.
    advice
        What to change where a phase did not settle and the gradient suffers, a sentence each; empty otherwise.
    """

    network: str
    examples: int
    source: str
    beta: float | None
    phases: dict[str, PhaseCurve]
    advice: tuple[str, ...] = ()

    def __repr__(self) -> str:
        ended = [f"{name} {phase.status} after {len(phase.sweeps)}" for name, phase in self.phases.items()]
        return f"Convergence({self.network!r} on {self.examples} examples: {', '.join(ended)})"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values ready for JSON: what is no finite number is None."""
        plain: dict[str, Any] = finite(asdict(self))
        return plain

    def lines(self) -> list[str]:
        """Return a table of where each phase ended, one of the states there, and advice."""
        nudge = "" if self.beta is None else f", β {self.beta:g}"
        lines = [f"{visible(self.network)} on {self.examples} examples ({visible(self.source)}){nudge}", ""]
        lines.append(f"{'phase':<8}{'sweeps':>8}{'mean residual':>15}{'largest':>10}{'energy':>14}  status")
        for name, phase in self.phases.items():
            energy = "–" if not phase.energy else f"{phase.energy[-1]:.6g}"
            mean, largest = f"{phase.mean_residual:.1e}", f"{phase.residual[-1]:.1e}"
            lines.append(f"{name:<8}{len(phase.sweeps):>8}{mean:>15}{largest:>10}{energy:>14}  {phase.ended()}")
        names = {name: visible(name) for name in self.phases["free"].states}
        width = max(len("state"), *map(len, names.values()))
        lines += ["", f"{'state':<{width}}  {'phase':<8}{'activity':>10}{'at bounds':>11}{'residual':>12}"]
        for name, shown in names.items():
            for phase_name, phase in self.phases.items():
                curve = phase.states[name]
                if not curve.activity:
                    continue
                share = "–" if math.isnan(curve.saturation[-1]) else f"{curve.saturation[-1]:.1%}"
                first = shown if phase_name == "free" else ""
                figures = f"{curve.activity[-1]:>10.4g}{share:>11}{curve.residual[-1]:>12.1e}"
                lines.append(f"{first:<{width}}  {phase_name:<8}{figures}")
        return [*lines, "", *self.advice] if self.advice else lines

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw energy, residual and states against the sweeps; with a path also write it (.png, .svg or .pdf).

        Raises
        ------
        EpgraphError
            If the suffix is unknown, or the file cannot be written.
        """
        from epgraph.drawing.settling import draw_settling

        return draw_settling(self.network, self.to_dict()["phases"], path)


def converge(
    network: Source | Engine,
    x: Tensor | None = None,
    y: Tensor | None = None,
    *,
    beta: float | None = None,
    examples: int = 64,
    free_steps: int | None = None,
    nudged_steps: int | None = None,
    tolerance: float | None = None,
    data: str | Data | Any = None,
    data_root: str | os.PathLike[str] | None = None,
    download: bool = False,
    overrides: Sequence[str] = (),
    allow_include: Paths = (),
    schedule: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    threads: int | None = None,
    progress: bool = False,
    warn: Warn | None = None,
) -> Convergence:
    """Let a network settle freely and nudged, and return energy, residual and states after every sweep.

    The free phase starts from zeros, and each nudged phase from where it ended. They stop at the tolerance, as in a
    training. The nudged phases are those of +β and of −β, or of +β alone for a rule that has no other. A rule that
    nudges nothing has the free phase alone; of ``backprop`` that is the one forward pass. States are looked at sweep by
    sweep, so that memory is that of a relaxation.

    Parameters
    ----------
    network
        As for ``load``; or an ``Architecture``, with initial weights; or a run folder, a checkpoint (``.pt``) or an
        engine, with the weights that it has.
    x, y
        Inputs (batch, *input shape), and labels (batch,) or targets (batch, *output shape). Without y there are no
        nudged phases. Left out, examples of ``data``.
    beta, free_steps, nudged_steps, tolerance
        Override ``learning.beta`` and those of ``dynamics``; 1 or more sweeps.
    examples
        Most examples that are taken where x is left out, drawn by ``training.seed``.
    data
        Name of a data set, or examples of one's own, of which the test examples are taken. Left out, the data set of
        the section ``data``. Where that names none, or its files cannot be read, noise in [0, 1] and random labels or
        targets; ``source`` of the result says which.
    data_root, download
        As for ``load_data``.
    overrides, allow_include, schedule
        As for ``train``; an engine is taken as it is.
    device, dtype, threads, progress, warn
        As for ``train``; left out, dtype is that of the run, and float32 without one.

    Raises
    ------
    EpgraphError
        If the network, the data or an argument has a mistake, or the network cannot relax.

    Example
    -------
    >>> import epgraph as ep
    >>> found = ep.converge("examples/digits.yaml", data="digits", examples=8)
    >>> list(found.phases), len(found.phases["free"].sweeps)
    (['free', '+β', '−β'], 25)
    """
    count = whole_number("examples", examples, 1)
    strength = None if beta is None else number("beta", beta, positive=True)
    steps = {"free": whole("free_steps", free_steps), "nudged": whole("nudged_steps", nudged_steps)}
    if x is None and y is not None:
        raise EpgraphError("y is given without x", "pass the inputs that the targets belong to")
    if x is not None and data is not None:
        raise EpgraphError("x and data are given, and both are examples", "leave one of them out")
    named_dtype = None if dtype is None else choice("dtype", dtype, DTYPES)
    changes = all_overrides(overrides, schedule)
    engine = engine_of(network, changes, allow_include, device, named_dtype, threads, batch=count)
    source = "those given"
    if x is None:
        named = engine.architecture.data.name
        run = network if holds_weights(network) else None
        found = data_to_settle(engine.architecture, data, data_root, download, telling(warn), run)
        if found is not None:
            source = f"test examples of {found.name}"
        else:
            source = NOISE if named is None else f"{NOISE}: the data set {named} cannot be read"
        # Imported here, because it belongs to what is used only without examples of one's own.
        from epgraph.gradient_check.examples import draw_examples

        x, y = draw_examples(engine, None if found is None else found.test, count)
    return converge_on(
        engine,
        x,
        y,
        beta=strength,
        steps=steps,
        tolerance=tolerance,
        source=source,
        progress=flag("progress", progress),
    )


def converge_on(
    engine: Engine,
    x: Tensor,
    y: Tensor | None,
    *,
    beta: float | None,
    steps: dict[str, int | None],
    tolerance: float | None,
    source: str,
    progress: bool,
) -> Convergence:
    """Settle an engine on examples; see ``converge``. ``steps`` holds those of ``free`` and ``nudged`` phases."""
    architecture = engine.architecture
    rule = ESTIMATORS[architecture.learning.estimator]
    beta = architecture.learning.beta if beta is None else beta
    signs = {} if y is None or not rule.nudges else {"+β": beta} if rule.only_positive else {"+β": beta, "−β": -beta}
    free_steps = architecture.dynamics.free_steps if steps["free"] is None else steps["free"]
    each = architecture.dynamics.nudged_steps if steps["nudged"] is None else steps["nudged"]
    known = engine.graph.untied is None and not rule.feedforward
    one_pass = rule.feedforward or engine.graph.energy.feedforward
    total = free_steps + each * len(signs)
    phases: dict[str, PhaseCurve] = {}
    with Progress("converge", total, "sweeps", show=progress, delay=1.0) as shown:
        watch = _Watch(engine, {}, shown, known=known, one_pass=one_pass)
        if rule.feedforward:
            free = engine.predict(x)
            watch(Sweep(free.states, free.residuals * math.nan, free.residual))
        else:
            free = engine.relax(x, steps=free_steps, tolerance=tolerance, record=watch)
        phases["free"] = watch.curve(free)
        for name, strength in signs.items() if free.status is not Status.DIVERGED else ():
            watch = _Watch(engine, free.states, shown, known=known)
            nudged = engine.relax(
                x, start=free.states, steps=each, tolerance=tolerance, target=y, beta=strength, record=watch
            )
            phases[name] = watch.curve(nudged)
    advice: tuple[str, ...] = ()
    if needs_rest(engine):
        given = {"beta": beta, "free_steps": steps["free"], "nudged_steps": steps["nudged"], "tolerance": tolerance}
        advice = tuple(_advice(phases, _cosine(engine, x, y, phases, given)))
    return Convergence(architecture.name, len(x), source, beta if len(phases) > 1 else None, phases, advice)


def _cosine(
    engine: Engine, x: Tensor, y: Tensor | None, phases: dict[str, PhaseCurve], given: dict[str, Any]
) -> float | None:
    """Return the cosine of the gradient to that of the network at rest, where a residual leaves it in doubt.

    None where it cannot be told: without targets, or where the network does not come to rest.
    """
    ended = phases.values()
    doubtful = any(phase.residual[-1] > UNSETTLED for phase in ended)
    changes = ESTIMATORS[engine.architecture.learning.estimator].changes_weights
    if y is None or changes or not doubtful or any(phase.status == Status.DIVERGED.name for phase in ended):
        return None
    try:
        found = compare_at_rest(NetworkProbe(engine, x[:COMPARED], y[:COMPARED]), **given)
    except EpgraphError:  # the longer phases of the reference diverge
        return None
    return None if found is None else found.cosine


def _advice(phases: dict[str, PhaseCurve], cosine: float | None) -> Iterator[str]:
    """Say what to change for each phase that did not settle, unless the gradient is good all the same."""
    for name, phase in phases.items():
        largest = phase.residual[-1]
        suffers = phase.mean_residual > UNSETTLED if cosine is None else largest > UNSETTLED and cosine < FAITHFUL
        if phase.status == Status.DIVERGED.name:
            yield f"{name}: {Status.DIVERGED.value}"
        elif suffers:
            key, other = ("free_steps", "the gains") if name == "free" else ("nudged_steps", "learning.beta")
            residual = f"{phase.mean_residual:.1e} (largest {largest:.1e})"
            remedy = f"raise dynamics.{key}, or lower {other}"
            yield unsettled(f"{name}: the phase", residual, in_sweeps(len(phase.sweeps)), remedy, cosine)


class _Watch:
    """Looks at the states after every sweep of a phase, and keeps numbers alone.

    Parameters
    ----------
    start
        States that the phase starts from, zeros where left out.
    known
        Whether there is an energy.
    one_pass
        Whether the phase is one forward pass.
    """

    def __init__(self, engine: Engine, start: States, shown: Progress, *, known: bool, one_pass: bool = False) -> None:
        self._graph, self._shown, self._one_pass = engine.graph, shown, one_pass
        self._parameters = engine.snapshot()
        self._before = start
        self._energy: list[float] | None = [] if known else None
        self._residual: list[float] = []
        self._states = {name: StateCurve() for name in engine.graph.free}

    def __call__(self, sweep: Sweep) -> None:
        """Reduce one sweep; the states are kept until the next one."""
        if self._energy is not None:
            self._energy.append(float(sweep.energy.double().mean()))
        self._residual.append(sweep.residual)
        for name, s in sweep.states.items():
            state, curve = self._graph.states[name], self._states[name]
            before = self._before.get(name)
            curve.activity.append(float(torch.linalg.vector_norm(s, 1, dtype=torch.float64)) / max(1, s.numel()))
            curve.saturation.append(saturated_share(state.activation, s, self._parameters.alpha(state)))
            change = 0.0 if self._one_pass else _norm(s if before is None else s - before)
            curve.residual.append(_ratio(change, _norm(s)))
        self._before = sweep.states
        self._shown.step()

    def curve(self, ended: Relaxation) -> PhaseCurve:
        """Return what was seen of a phase that has ended."""
        sweeps = list(range(1, len(self._residual) + 1))
        mean = float(ended.residuals.double().mean())
        return PhaseCurve(sweeps, self._energy, self._residual, self._states, ended.status.name, mean, self._one_pass)


def _norm(s: Tensor) -> float:
    return float(torch.linalg.vector_norm(s, dtype=torch.float64))


def _ratio(change: float, size: float) -> float:
    """Return a relative change: 0 where nothing changed, infinite where the state became zero."""
    return change / size if size else (math.inf if change else 0.0)


def data_to_settle(
    architecture: Architecture,
    data: Any,
    root: str | os.PathLike[str] | None,
    download: bool,
    warn: Warn,
    run: str | os.PathLike[str] | None = None,
) -> Data | None:
    """Return the data whose test examples settle; None for noise.

    That is where no data are named, and where those of the network cannot be read and nothing asks for them. Where
    that is because a plugin of the run (its folder, or a file in it) is not there, ``warn`` is told.
    """
    from epgraph.training.data import data_for

    own = own_examples(data)
    if own is not None:
        return own
    name = None if data is None else str(data)
    if name is None and architecture.data.name is None:
        return None
    try:
        found = data_for(architecture, name, root=root, download=download, augment=False, check=False)
    except EpgraphError as error:
        if data is not None or root is not None or download:
            raise
        if run is not None and (hint := lacking_plugins(run)):
            message = f"{error.diagnostics[0].message}: the examples are noise"
            warn([Diagnostic(message, hint, severity="warning", rule="data")])
        return None
    warn(found.warnings)
    return found

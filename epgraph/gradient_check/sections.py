"""The sections of a gradient check: an estimator held to backpropagation and to implicit differentiation.

Each is plain values. To add one: a function ``Check -> values`` in ``SECTIONS``, and its text in
``epgraph/gradient_check/text.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, cast

import torch
from torch import Tensor

from epgraph.gradient_check.agreement import Agreement, agree, compare, flat
from epgraph.gradient_check.check import Check
from epgraph.gradient_check.signal import coupling_norm, spread
from epgraph.gradient_check.stepwise import stepwise
from epgraph.learning_rules import ESTIMATORS
from epgraph.runtime.relaxation import Relaxation, States, Status

Report = dict[str, Any]
"""Plain values, ready for JSON, by section."""

BETAS = (1 / 30, 1 / 10, 1 / 3, 1.0, 3.0)
"""Values of β that are tried, as multiples of the configured one."""

NUDGED = (1 / 4, 1 / 2, 1.0, 2.0, 4.0)
"""Numbers of nudged sweeps that are tried, as multiples of the configured one."""

FREE = (1 / 4, 1 / 2, 1.0, 2.0)
"""Numbers of free sweeps that are tried, likewise."""

ROUNDS = 2
"""Error sweeps that are tried in place of sweeps: their default."""

RETURNED = 0.01
"""Nudged states have fallen back once this part of their way from s* is left."""


def _network(check: Check) -> Report:
    engine = check.engine
    return {
        "name": engine.architecture.name,
        "estimator": check.learning.estimator,
        "follows": "its own contrast" if check.clamped else "the loss",
        "reference": check.reference,
        "untied": check.untied,
        "why": _why(check),
        "noise": check.dynamics.noise,
        "state_bits": check.dynamics.state_bits,
        "weight_bits": check.dynamics.weight_bits,
        "step": check.dynamics.step,
        "nudging": check.nudging,
        "beta": check.learning.beta,
        "points": check.learning.points,
        "continual_rate": check.learning.continual_rate,
        "free_steps": check.dynamics.free_steps,
        "nudged_steps": check.dynamics.nudged_steps,
        "schedule": engine.plan.schedule.name,
        "one_pass": check.one_pass,
        "solver": check.dynamics.chosen_solver.name,
        "betas": list(engine.graph.energy.betas),
        "proper": engine.plan.schedule.proper,
        "examples": len(check.x),
        "said_by": _said_by(check),
        "dtype": str(engine.dtype).removeprefix("torch."),
        "device": str(engine.device),
    }


def _said_by(check: Check) -> list[str]:
    """States whose signal is that of the output: itself, or those that it reads out where it does not move."""
    graph = check.engine.graph
    output = graph.output.name
    return [output] if output in graph.dynamic else list(dict.fromkeys(e.source for e in graph.pre(output)))


def _equilibrium(check: Check) -> Report:
    check.tick("equilibrium")
    settled = check.settled
    diverged = settled.diverged or check.free.diverged
    return {
        "residual": check.free.residual,
        "distance": None if diverged else _distance(check.free.states, settled.states),
        "settled": settled.status is Status.CONVERGED,
        "settled_residual": settled.residual,
        "settled_steps": settled.steps,
        "tolerance": check.tolerance,
        "diverged": list(diverged),
    }


def _why(check: Check) -> str | None:
    """Why implicit differentiation is left out, if it is."""
    if not check.untied:
        return None
    several = len(check.untied) > 1
    names = ", ".join(check.untied[:3]) + (f" and {len(check.untied) - 3} more" if len(check.untied) > 3 else "")
    have = f"edges {names} have feedback weights" if several else f"edge {names} has a feedback weight"
    return (
        f"{have} of {'their' if several else 'its'} own: there is no energy and F has no Hessian, so that the gradient "
        "is held to unrolled backpropagation alone"
    )


def _feedback(check: Check) -> Report | None:
    """Cosine of weight and feedback weight, edge by edge: EP follows the loss once it is 1 and they are equal."""
    if not check.untied:
        return None
    parameters = dict(check.engine.named_parameters())
    pairs = {n: [parameters[f"edges.{n}.{k}"].detach() for k in ("feedback", "weight")] for n in check.untied}
    return {name: agree(*pair).cosine for name, pair in pairs.items()}


def _curvature(check: Check) -> Report | None:
    if check.one_pass:
        return None
    check.tick("eigenvalues")
    if check.untied:
        return None
    largest, smallest = check.about.spectrum()
    solved = check.solved[1]
    return {
        "largest": largest,
        "smallest": smallest,
        "norm": coupling_norm(check.about),
        "products": solved.products,
        "adjoint_residual": float(solved.residuals.max()),
        "indefinite": int(solved.indefinite.sum()),
    }


def _basin(check: Check) -> Report | None:
    """Whether s^{±β}, or states whose output was clamped, relaxed free again fall back to s*."""
    if check.one_pass:
        return None
    check.tick("same basin")
    basin: Report = {}
    for name, nudged in _moved(check).items():
        back = check.settle(check.noiseless, nudged.states, check.tolerance)
        away, left = (_distances(r.states, check.settled.states) for r in (nudged, back))
        returned = left <= RETURNED * away + 10 * check.tolerance
        still = (back.residuals > check.tolerance) | (check.settled.residuals > check.tolerance)
        basin[name] = {
            "displacement": float(away.max()),
            "left": float(left.max()),
            "returned": int(returned.sum()),
            "elsewhere": int((~returned & ~still).sum()),
            "undecided": int((~returned & still).sum()),
        }
    return basin


def _rest(check: Check) -> Report | None:
    """How near to rest nudged phases come whose free phase is one pass, and which units they bring across a kink."""
    if not check.one_pass:
        return None
    check.tick("nudged phases")
    rest: Report = {}
    free = check.sums(check.free.states)
    for name, nudged in _moved(check).items():
        sums = check.sums(nudged.states)
        slopes = [check.slopes(n, free[n]) != check.slopes(n, sums[n]) for n in check.kinked]
        rest[name] = {
            "residual": nudged.residual,
            "displacement": float(_distances(nudged.states, check.free.states).max()),
            "diverged": list(nudged.diverged),
            "crossed": float(torch.cat([s.flatten() for s in slopes]).double().mean()) if slopes else 0.0,
        }
    return rest


def _by_error_sweeps(check: Check) -> Report | None:
    """The gradient by two error sweeps, where the network takes sweeps: what a change of the solver would bring."""
    if check.quick or not check.one_pass or check.dynamics.chosen_solver.errors:
        return None
    check.tick("error sweeps")
    estimate = check.by_error_sweeps(ROUNDS)
    return {"steps": ROUNDS, "estimator": _values(compare(estimate, check.exact))}


def _moved(check: Check) -> dict[str, Relaxation]:
    """The phases that the estimator contrasts with the free one; ±β for those without such."""
    start = check.free.states
    if check.clamped:
        with check.engine.aside():
            seen = check.engine.backward(check.x, check.y, start=start, free_steps=0)
        return dict(zip(check.rule.phases, seen.nudged, strict=False))
    moved = {}
    for sign, name in ((1, "positive"), (-1, "negative")):
        with check.drawn():
            moved[name] = check.engine.relax(
                check.x,
                start=start,
                steps=check.dynamics.nudged_steps,
                target=check.y,
                beta=sign * check.learning.beta,
            )
    return moved


def _agreement(check: Check) -> Report:
    check.tick("gradients")
    pairs = {f"estimator_{check.reference}": (check.estimated, check.exact)}
    if not check.dynamics.chosen_solver.mixes and not check.untied and not check.one_pass:
        pairs["estimator_unrolled"] = (check.estimated, check.unrolled)
        pairs["unrolled_implicit"] = (check.unrolled, check.exact)
    return {name: _values(compare(*pair)) for name, pair in pairs.items()}


def _beta(check: Check) -> list[Report] | None:
    """How the gradient of a nudged phase changes with β, if it has one."""
    if check.quick or "beta" not in ESTIMATORS[check.nudging].reads:
        return None
    rows = []
    for beta in _betas(check):
        check.tick(f"beta {beta:.3g}")
        estimate = check.gradient(estimator=check.nudging, beta=beta, start=check.free.states, free_steps=0)
        rows.append({"beta": beta, "estimator": _values(compare(estimate, check.exact))})
    return rows


def _nudged(check: Check) -> list[Report] | None:
    """How it changes with the nudged sweeps; beside it backpropagation through as many sweeps."""
    if check.quick:
        return None
    rows = []
    for steps in _times(check.dynamics.nudged_steps, NUDGED):
        check.tick(f"{steps} nudged sweeps")
        options: dict[str, Any] = {"start": check.free.states, "nudged_steps": steps}
        estimate = check.gradient(estimator=check.nudging, **options, free_steps=0)
        row: Report = {"steps": steps, "estimator": _values(compare(estimate, check.exact))}
        if not check.one_pass:
            back = check.gradient(estimator="truncated", **options, free_steps=steps, tolerance=0.0)
            row["truncated"] = _values(compare(back, check.exact))
        rows.append(row)
    return rows


def _free(check: Check) -> list[Report] | None:
    """How the configured gradient changes with the free sweeps; beside it backpropagation through all of them."""
    if check.quick or check.one_pass:
        return None
    rows = []
    for steps in _times(check.dynamics.free_steps, FREE):
        check.tick(f"{steps} free sweeps")
        row: Report = {
            "steps": steps,
            "residual": check.noiseless.relax(check.x, steps=steps, tolerance=0.0).residual,
            "estimator": _values(compare(check.gradient(free_steps=steps), check.exact)),
        }
        if not check.dynamics.chosen_solver.mixes:
            unrolled = check.gradient(estimator="unrolled", free_steps=steps, tolerance=0.0)
            row["unrolled"] = _values(compare(unrolled, check.exact))
        rows.append(row)
    return rows


def _saturation(check: Check) -> Report:
    """Where units stand on σ, and how far a change of the input moves them."""
    states = check.settled.states
    return {name: {**asdict(s), "signal": spread(states[name])} for name, s in check.about.saturation().items()}


STEPWISE_BETA = 1e-4
"""β of the step-by-step comparison; the theorem is about β → 0."""


def _stepwise(check: Check) -> Report | None:
    """Δ_t of EP against ∇_t of backpropagation, under the schedule where theory has them equal, and their sums."""
    if not check.steps:
        return None
    check.tick("step by step")
    engine = check.noiseless
    if engine.plan.schedule.name != "synchronous":
        engine = check.copied(engine.architecture, "synchronous")
    still = check.settle(engine, check.settled.states, 1e-13)
    kinks = [
        s.activation.label for s in map(engine.graph.states.get, engine.graph.free) if s and not s.activation.smooth
    ]
    values: Report = {"beta": STEPWISE_BETA, "residual": still.residual, "steps": [], "kinks": sorted(set(kinks))}
    for key, runs in (("sum_error", engine), ("own_schedule_sum_error", check.noiseless)):
        ep, bptt = torch.zeros((), dtype=engine.dtype), torch.zeros((), dtype=engine.dtype)
        for t, step in enumerate(stepwise(runs, check.x, check.y, still.states, beta=STEPWISE_BETA, steps=check.steps)):
            # A readout learns from the free state alone, and a level from the forces, which are a sweep ahead.
            shared = [n for n in step.ep if n in step.bptt and not n.endswith(".alpha")]
            mine, theirs = (flat({n: part[n] for n in shared}).cpu() for part in (step.ep, step.bptt))
            if runs is engine and len(values["steps"]) == t:
                values["steps"].append({"step": t, "size": float(theirs.norm()), "error": agree(mine, theirs).error})
            ep, bptt = ep + mine, bptt + theirs
        values[key] = agree(ep, bptt).error
    return values


def tasks(check: Check) -> int:
    """Return how often ``tick`` will be called."""
    varied = 0
    if not check.quick:
        varied += ("beta" in ESTIMATORS[check.nudging].reads) * len(_betas(check))
        varied += len(_times(check.dynamics.nudged_steps, NUDGED))
        free = len(_times(check.dynamics.free_steps, FREE))
        varied += not check.dynamics.chosen_solver.errors if check.one_pass else free
    # Equilibrium, gradients, and eigenvalues and basins or nudged phases.
    return (3 if check.one_pass else 4) + varied + bool(check.steps)


SECTIONS: dict[str, Callable[[Check], Any]] = {
    "network": _network,
    "equilibrium": _equilibrium,
    "curvature": _curvature,
    "feedback": _feedback,
    "basin": _basin,
    "rest": _rest,
    "agreement": _agreement,
    "beta": _beta,
    "nudged_steps": _nudged,
    "error_sweeps": _by_error_sweeps,
    "free_steps": _free,
    "saturation": _saturation,
    "stepwise": _stepwise,
}
"""Every section by the name under which it stands in the report; None leaves it out."""


def _betas(check: Check) -> list[float]:
    return [factor * check.learning.beta for factor in BETAS]


def _times(steps: int, factors: Sequence[float]) -> list[int]:
    return sorted({max(1, round(factor * steps)) for factor in factors})


def _values(agreements: Mapping[str, Agreement]) -> Report:
    return {name: asdict(agreement) for name, agreement in agreements.items()}


def _distances(states: States, settled: States) -> Tensor:
    """‖s − s*‖/‖s*‖ per example, (batch,)."""
    change, size = (
        torch.linalg.vector_norm(torch.cat([s.flatten(1) for s in flat], 1), dim=1)
        for flat in ([states[name] - settled[name] for name in settled], list(settled.values()))
    )
    return cast(Tensor, change / size.clamp_min(torch.finfo(size.dtype).tiny))


def _distance(states: States, settled: States) -> float:
    return float(_distances(states, settled).max())

"""What a gradient check comes to, in words. Works on the plain values of a report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from epgraph.errors import listed
from epgraph.learning_rules import ESTIMATORS

Report = Mapping[str, Any]

RIGHT = 0.05
"""Relative error up to which a gradient counts as right."""

POINTS = 0.9
"""Cosine from which its direction counts as right."""

FINE = 0.01
"""Relative error below which there is nothing to improve."""


FAINT = 1e-3
"""Deviation over the inputs below which the output hardly depends on them. A target differs by about 1."""

RESTLESS = 0.01
"""Residual above which a nudged phase is not near to rest."""


def verdict(report: Report) -> dict[str, Any]:
    """Judge a report.

    Returns
    -------
    dict
        ``level``: ``right`` (error at most 5 %), ``rough`` (cosine at least 0.9), ``wrong``, ``unaligned`` (as wrong,
        and because feedback weights differ from the weights), ``own`` (follows the gradient of a contrast of its own),
        ``none`` (there is no gradient to compare with) or ``diverged``; and ``lines``, what to say.
    """
    if diverged := _diverged(report):
        return {"level": "diverged", "lines": diverged}
    reference, whole = _whole(report)
    if whole["error"] is None:
        lines = [
            "the gradient vanishes here (nothing reaches the output, or the target is met): there is nothing to check"
        ]
        return {"level": "none", "lines": [*lines, *_curvature(report)]}
    network = report["network"]
    error, cosine = whole["error"], whole["cosine"] or 0.0
    how = f"'{network['estimator']}'"
    rule = ESTIMATORS[network["estimator"]]
    if not rule.differentiates:
        how += f" at beta = {network['beta']:g} with {network['nudged_steps']} {_kind(report)} sweep"
        how += "s" * (network["nudged_steps"] != 1)
    how += f" and continual_rate = {network['continual_rate']:g}" if "continual_rate" in rule.reads else ""
    how += f" and {network['points']} points" if "points" in rule.reads else ""
    against = f" ({reference})"
    if network["follows"] != "the loss":
        return {"level": "own", "lines": [*_faint(report), *_own(report, reference, cosine), *_curvature(report)]}
    if error <= RIGHT:
        level, head = "right", f"the gradient of {how} is right to {percent(error)}{against}"
    elif cosine >= POINTS:
        level = "rough"
        head = (
            f"the gradient of {how} points the right way (cosine {cosine:.3f}) but is off by {percent(error)}{against}"
        )
    elif network["untied"]:
        level = "unaligned"
        head = f"the estimate of {how} is not the gradient of the loss: cosine {cosine:.3f}, off by {percent(error)}"
        head += against
    else:
        level = "wrong"
        head = f"the gradient of {how} is wrong: cosine {cosine:.3f}, off by {percent(error)}{against}"
    lines = [*_faint(report), head, *_dynamics(report), *_settling(report)]
    lines += [*_advice(report, level), *_basin(report), *_worst(report), *_dead(report)]
    return {"level": level, "lines": [*lines, *_curvature(report)]}


def _faint(report: Report) -> Iterator[str]:
    """Say first of all that the output hardly depends on the input, where that is so."""
    names, count = report["network"]["said_by"], report["network"]["examples"]
    signals = [report["saturation"][name]["signal"] for name in names if name in report["saturation"]]
    if count < 2 or len(signals) < len(names) or max(signals) >= FAINT:
        return
    yield (
        f"the output hardly depends on the input: its signal is {max(signals):.1e} at {listed(names)} over {count} "
        "examples; the network can hardly learn with these weights, however right the gradient is"
    )


def _advice(report: Report, level: str) -> Iterator[str]:
    """How to improve nudged phases."""
    network = report["network"]
    if network["one_pass"] and ESTIMATORS[network["estimator"]].differentiates:
        return  # there are none
    restless = _restless(report)
    yield from restless
    if not report["equilibrium"]["settled"] or level == "unaligned":
        return  # what these go by is no reference
    if not restless:
        yield from _sweeps(report)
    yield from _beta(report)
    if not restless:
        yield from _kinks(report)


REFERENCES = {
    "implicit": "implicit differentiation",
    "unrolled": "unrolled backpropagation",
    "backprop": "backpropagation",
}
"""Reference gradients in words."""

PHASES = {
    "positive": "nudged by +beta",
    "negative": "nudged by −beta",
    "target": "clamped to the target",
}
"""How the states of a section ``basin`` were moved."""


def percent(share: float) -> str:
    """Write a share with two digits: 0.3 %, 12 %, 0.0041 %."""
    if 0 < share < 1e-5:
        return "less than 0.001 %"
    # 99.6 with two digits would be 1e+02.
    return f"{100 * share:.2g} %" if 100 * share < 99.5 else f"{100 * share:.0f} %"


def _own(report: Report, reference: str, cosine: float) -> Iterator[str]:
    """What to say of a rule that follows another gradient: an alignment is no error."""
    key = _whole_key(report)
    yield (
        f"'{report['network']['estimator']}' follows the gradient of its own contrast, a difference of energies, and "
        "not that of the loss"
    )
    yield f"its cosine with the gradient of the loss is {cosine:.3f} ({reference}): an alignment, not an error"
    yield from _dynamics(report)
    yield from _settling(report)
    cosines = {n: a["cosine"] for n, a in report["agreement"][key].items() if n != "all" and a["cosine"] is not None}
    if len(cosines) > 1:
        least = min(cosines, key=lambda n: cosines[n])
        yield f"{least} is the least aligned, cosine {cosines[least]:.3f}"
    yield from _basin(report)
    yield from _dead(report)


def _dynamics(report: Report) -> Iterator[str]:
    """What the references do not take into account, or why there are not more of them."""
    network = report["network"]
    if network["why"]:
        yield network["why"]
    cosines = {name: cosine for name, cosine in report.get("feedback", {}).items() if cosine is not None}
    apart = sorted((name for name in cosines if cosines[name] < POINTS), key=lambda name: cosines[name])
    if apart:
        yield (
            f"feedback has not aligned with the weights on {len(apart)} of {len(cosines)} edges, least on {apart[0]} "
            f"(cosine {cosines[apart[0]]:.3f})"
        )
    if network["estimator"] == "random_sign":
        yield "one sign is checked, drawn by training.seed; the mean over both is the estimate of 'centered'"
    left = [f"{key} {network[key]:g}" for key in ("noise", "state_bits") if network[key]]
    if left:
        keys = " ".join(f"--set dynamics.{key}=0" for key in ("noise", "state_bits") if network[key])
        yield (
            f"the estimate has dynamics.{' and dynamics.'.join(left)}, the reference gradients are those of the "
            f"network without; {keys} checks it without"
        )


def _whole(report: Report) -> tuple[str, Report]:
    """Agreement of all parameters, with the reference that can be trusted here."""
    key = _whole_key(report)
    return f"against {REFERENCES[key.removeprefix('estimator_')]}", report["agreement"][key]["all"]


def _whole_key(report: Report) -> str:
    tables = report["agreement"]
    if report["network"]["one_pass"]:
        return "estimator_backprop"
    trusted = report["equilibrium"]["settled"] or "estimator_unrolled" not in tables
    return "estimator_implicit" if trusted and "estimator_implicit" in tables else "estimator_unrolled"


def _diverged(report: Report) -> list[str]:
    """What to say where states diverge, in the free phase or in a nudged one."""
    names = report["equilibrium"]["diverged"]
    if names:
        return [f"the states diverge ({', '.join(names)}): lower the gains"]
    phases = [phase for phase, part in report.get("rest", {}).items() if part["diverged"]]
    if not phases:
        return []
    names = report["rest"][phases[0]]["diverged"]
    lines = [f"{PHASES[phases[0]]}, the states diverge ({', '.join(names)}): lower beta"]
    if "error_sweeps" in report:
        lines[0] += ", or set dynamics.solver: error_sweeps"
        lines += _rounds(report)
    return lines


def _restless(report: Report) -> list[str]:
    """What to say where nudged phases come to no rest, however many sweeps they take, and the gradient is wrong."""
    rest = report.get("rest", {})
    residual = max((part["residual"] for part in rest.values()), default=0.0)
    errors = [_error(row["estimator"]) for row in report.get("nudged_steps", [])]
    if residual <= RESTLESS or min([_whole(report)[1]["error"], *errors]) <= RIGHT:
        return []
    network = report["network"]
    said = f"nudged phases come to no rest (residual {residual:.1e} after {network['nudged_steps']} sweeps)"
    if "error_sweeps" not in report:
        return [f"{said}: lower beta"]
    better = "" if network["schedule"] == "backward" else "schedule: backward, or "
    return [f"{said}: use {better}dynamics.solver: error_sweeps", *_rounds(report)]


def _rounds(report: Report) -> Iterator[str]:
    part = report["error_sweeps"]
    yield (
        f"with {part['steps']} error sweeps in their place (dynamics.solver: error_sweeps) the error is "
        f"{percent(_rounds_error(report))}"
    )


def _rounds_error(report: Report) -> float:
    return _error(report["error_sweeps"]["estimator"])


def _kind(report: Report) -> str:
    return "error" if report["network"]["solver"] == "error_sweeps" else "nudged"


def _settling(report: Report) -> Iterator[str]:
    if report["network"]["one_pass"]:
        return
    part, steps = report["equilibrium"], report["network"]["free_steps"]
    if not part["settled"]:
        yield (
            f"the network has not settled in {part['settled_steps']} sweeps (residual "
            f"{part['settled_residual']:.1e}): EP's theory starts from an equilibrium"
            + (", and implicit differentiation is exact at one only" * (not report["network"]["untied"]))
        )
    elif part["distance"] > FINE and (report["network"]["noise"] or report["network"]["state_bits"]):
        yield f"the free states are {percent(part['distance'])} away from the equilibrium of the network without"
    elif part["distance"] > FINE:
        yield (
            f"after {steps} free sweeps the states are still {percent(part['distance'])} away from the equilibrium, "
            f"which takes {part['settled_steps']}"
        )
    rows = {row["steps"]: _error(row["estimator"]) for row in report.get("free_steps", [])}
    if not part["settled"] or steps not in rows or report["network"]["follows"] != "the loss":
        return
    most, now = max(rows), rows[steps]
    best = rows[most]
    if now > FINE and best < 0.5 * now:
        yield f"{sweeps(steps, 'free')} too few: with {most} the error is {percent(best)}, not {percent(now)}"


def sweeps(count: int, which: str) -> str:
    """Write a number of sweeps as a subject with its verb."""
    return f"{count} {which} sweep{'s are' if count != 1 else ' is'}"


def _sweeps(report: Report) -> Iterator[str]:
    errors = {row["steps"]: _error(row["estimator"]) for row in report.get("nudged_steps", [])}
    steps = report["network"]["nudged_steps"]
    if steps not in errors:
        return
    best = min(errors.values())
    enough = next(n for n, e in sorted(errors.items()) if e <= max(1.1 * best, best + 0.002))
    most, least = max(errors), min(errors, key=lambda n: errors[n])
    if errors[most] > max(RIGHT, 1.5 * best):
        shown = f"{percent(best)} with {least}, {percent(errors[most])} with {most}"
        yield f"more {_kind(report)} sweeps make it worse ({shown}), not better"
    elif enough <= steps:
        yield f"{enough} {_kind(report)} sweep{'s suffice' if enough != 1 else ' suffices'}" + (
            f" (of {steps})" if enough < steps else ""
        )
    else:
        yield (
            f"{sweeps(steps, _kind(report))} too few: with {enough} the error is {percent(errors[enough])}, "
            f"not {percent(errors[steps])}"
        )
    if "error_sweeps" in report and errors[steps] > FINE and _rounds_error(report) < 0.5 * errors[steps]:
        yield from _rounds(report)


def _beta(report: Report) -> Iterator[str]:
    errors = {row["beta"]: _error(row["estimator"]) for row in report.get("beta", [])}
    beta = report["network"]["beta"]
    now = errors.get(beta)
    if now is None or now <= FINE:
        return
    best = min(errors, key=lambda b: errors[b])
    # An error of 100 % is no better than no gradient.
    if errors[best] < min(0.5 * now, 1.0):
        low, high = report["network"]["betas"]
        size = "large" if best < beta else "small"
        said = f"beta = {beta:g} is too {size}: at {best:.3g} the error is {percent(errors[best])}, not {percent(now)}"
        if low <= beta <= high and not low <= best <= high:
            said = f"at beta = {best:.3g} the error would be {percent(errors[best])}, not {percent(now)}"
        if not low <= best <= high:
            # What is best for the gradient of one batch in double precision is not what trains best.
            said += f"; {low:g} to {high:g} are usual" + ", and smaller values lose digits in float32" * (best < low)
        yield said


def _kinks(report: Report) -> Iterator[str]:
    crossed = max((part["crossed"] for part in report.get("rest", {}).values()), default=0.0)
    error = _whole(report)[1]["error"]
    # Where sweeps are too few, that is the error.
    rest = min((_error(row["estimator"]) for row in report.get("nudged_steps", [])), default=error)
    if crossed and error > FINE and rest >= 0.5 * error:
        yield (
            f"the nudge takes {percent(crossed)} of the units across a kink of σ, where σ′ jumps: each adds an error, "
            "and fewer cross at a smaller beta"
        )


def _basin(report: Report) -> Iterator[str]:
    count = report["network"]["examples"]
    for name, phase in report.get("basin", {}).items():
        if phase["elsewhere"]:
            yield (
                f"{PHASES[name]}, {phase['elsewhere']} of {count} examples end in another equilibrium"
                + ": a smaller beta would keep them" * (name != "target")
            )


def _worst(report: Report) -> Iterator[str]:
    key = _whole_key(report)
    errors = {n: a["error"] for n, a in report["agreement"][key].items() if n != "all" and a["error"] is not None}
    if len(errors) > 1:
        worst = max(errors, key=lambda n: errors[n])
        if not errors[worst]:
            return
        yield f"{worst} is the worst, off by {percent(errors[worst])}"


def _dead(report: Report) -> Iterator[str]:
    table = report["agreement"][f"estimator_{report['network']['reference']}"]
    none = [name for name, agreement in table.items() if agreement["error"] is None]
    levels = [name for name in none if name.startswith("alpha of ")]
    if levels:
        yield f"no unit that matters stands at its level, so that no gradient reaches {', '.join(levels)}"
    dead = [name for name in none if name not in levels]
    if dead:
        shown = ", ".join(dead[:6]) + ", …" * (len(dead) > 6)
        yield f"no gradient reaches {shown} ({len(dead)} of {len(table) - 1}): what they join is saturated or silent"


def _curvature(report: Report) -> Iterator[str]:
    if "curvature" not in report:
        return
    part, count = report["curvature"], report["network"]["examples"]
    if part["largest"] >= 1:
        yield (
            f"the largest eigenvalue of the linearized update is {part['largest']:.4f}: the states are no minimum of "
            "F, and even colored sweeps leave them"
        )
    elif part["smallest"] <= 1 - 2 / report["network"]["step"] and report["network"]["schedule"] == "synchronous":
        yield (
            f"the smallest eigenvalue of the linearized update is {part['smallest']:.4f}: synchronous sweeps "
            "oscillate; use schedule: coloring"
        )
    if part["indefinite"]:
        yield (
            f"on {part['indefinite']} of {count} examples conjugate gradients met negative curvature and MINRES "
            "solved the system"
        )


def _error(agreements: Report) -> float:
    error = agreements["all"]["error"]
    return float("inf") if error is None else float(error)

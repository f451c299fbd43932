"""What a gradient check comes to, in words. Works on the plain values of a report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Report = Mapping[str, Any]

RIGHT = 0.05
"""Relative error up to which a gradient counts as right."""

POINTS = 0.9
"""Cosine from which its direction counts as right."""

FINE = 0.01
"""Relative error below which there is nothing to improve."""


def verdict(report: Report) -> dict[str, Any]:
    """Judge a report.

    Returns
    -------
    dict
        ``level``: ``right`` (error at most 5 %), ``rough`` (cosine at least 0.9), ``wrong``, ``none`` (there is no
        gradient to compare with) or ``diverged``; and ``lines``, what to say.
    """
    equilibrium = report["equilibrium"]
    if equilibrium["diverged"]:
        names = ", ".join(equilibrium["diverged"])
        return {"level": "diverged", "lines": [f"the states diverge ({names}): lower the gains"]}
    reference, whole = _whole(report)
    if whole["error"] is None:
        lines = [
            "the gradient vanishes here (nothing reaches the output, or the target is met): there is nothing to check"
        ]
        return {"level": "none", "lines": [*lines, *_curvature(report)]}
    network = report["network"]
    error, cosine = whole["error"], whole["cosine"] or 0.0
    how = f"'{network['estimator']}'"
    if network["estimator"] not in REFERENCES:
        how += f" at beta = {network['beta']:g} with {network['nudged_steps']} nudged sweeps"
    against = f" ({reference})"
    if error <= RIGHT:
        level, head = "right", f"the gradient of {how} is right to {percent(error)}{against}"
    elif cosine >= POINTS:
        level = "rough"
        head = (
            f"the gradient of {how} points the right way (cosine {cosine:.3f}) but is off by {percent(error)}{against}"
        )
    else:
        level = "wrong"
        head = f"the gradient of {how} is wrong: cosine {cosine:.3f}, off by {percent(error)}{against}"
    lines = [head, *_settling(report)]
    if report["equilibrium"]["settled"]:
        # Elsewhere what these go by is no reference.
        lines += [*_sweeps(report), *_beta(report)]
    lines += [*_basin(report), *_worst(report), *_dead(report)]
    return {"level": level, "lines": [*lines, *_curvature(report)]}


REFERENCES = ("implicit", "unrolled", "truncated")


def percent(share: float) -> str:
    """Write a share with two digits: 0.3 %, 12 %, 0.0041 %."""
    return f"{100 * share:.2g} %" if 100 * share < 100 else f"{100 * share:.0f} %"


def _whole(report: Report) -> tuple[str, Report]:
    """Agreement of all parameters, with the reference that can be trusted here."""
    tables = report["agreement"]
    if report["equilibrium"]["settled"] or "estimator_unrolled" not in tables:
        return "against implicit differentiation", tables["estimator_implicit"]["all"]
    return "against unrolled backpropagation", tables["estimator_unrolled"]["all"]


def _settling(report: Report) -> Iterator[str]:
    found, steps = report["equilibrium"], report["network"]["free_steps"]
    if not found["settled"]:
        yield (
            f"the network has not settled in {found['settled_steps']} sweeps (residual "
            f"{found['settled_residual']:.1e}): implicit differentiation is exact at an equilibrium only, and EP's "
            "theory starts from one"
        )
    elif found["distance"] > FINE:
        yield (
            f"after {steps} free sweeps the states are still {percent(found['distance'])} away from the equilibrium, "
            f"which takes {found['settled_steps']}"
        )
    rows = {row["steps"]: _error(row["estimator"]) for row in report.get("free_steps", [])}
    if not found["settled"] or steps not in rows:
        return
    most, now = max(rows), rows[steps]
    best = rows[most]
    if now > FINE and best < 0.5 * now:
        yield f"{steps} free sweeps are too few: with {most} the error is {percent(best)}, not {percent(now)}"


def _sweeps(report: Report) -> Iterator[str]:
    errors = {row["steps"]: _error(row["estimator"]) for row in report.get("nudged_steps", [])}
    steps = report["network"]["nudged_steps"]
    if steps not in errors:
        return
    best = min(errors.values())
    enough = next(n for n, e in sorted(errors.items()) if e <= max(1.1 * best, best + 0.002))
    most = max(errors)
    if errors[most] > max(RIGHT, 1.5 * best):
        yield f"more nudged sweeps make it worse ({percent(errors[most])} with {most}), not better"
    elif enough <= steps:
        yield f"{enough} nudged sweeps suffice" + (f" (of {steps})" if enough < steps else "")
    else:
        yield (
            f"{steps} nudged sweeps are too few: with {enough} the error is {percent(errors[enough])}, "
            f"not {percent(errors[steps])}"
        )


def _beta(report: Report) -> Iterator[str]:
    errors = {row["beta"]: _error(row["estimator"]) for row in report.get("beta", [])}
    beta = report["network"]["beta"]
    now = errors.get(beta)
    if now is None or now <= FINE:
        return
    best = min(errors, key=lambda b: errors[b])
    if errors[best] < 0.5 * now:
        size = "large" if best < beta else "small"
        yield f"beta = {beta:g} is too {size}: at {best:.3g} the error is {percent(errors[best])}, not {percent(now)}"


def _basin(report: Report) -> Iterator[str]:
    count = report["network"]["examples"]
    for name, sign in (("positive", "+"), ("negative", "−")):
        found = report["basin"][name]
        if found["elsewhere"]:
            yield (
                f"nudged by {sign}beta, {found['elsewhere']} of {count} examples end in another equilibrium: "
                "a smaller beta would keep them"
            )


def _worst(report: Report) -> Iterator[str]:
    _, whole = _whole(report)
    key = "estimator_implicit" if whole is report["agreement"]["estimator_implicit"]["all"] else "estimator_unrolled"
    errors = {n: a["error"] for n, a in report["agreement"][key].items() if n != "all" and a["error"] is not None}
    if len(errors) > 1:
        worst = max(errors, key=lambda n: errors[n])
        yield f"{worst} is the worst, off by {percent(errors[worst])}"


def _dead(report: Report) -> Iterator[str]:
    table = report["agreement"]["estimator_implicit"]
    dead = [name for name, agreement in table.items() if agreement["error"] is None]
    if dead:
        shown = ", ".join(dead[:6]) + ", …" * (len(dead) > 6)
        yield f"no gradient reaches {shown} ({len(dead)} of {len(table) - 1}): what they join is saturated or silent"


def _curvature(report: Report) -> Iterator[str]:
    found, count = report["curvature"], report["network"]["examples"]
    if found["largest"] >= 1:
        yield (
            f"the largest eigenvalue of the linearised update is {found['largest']:.4f}: the states are no minimum of "
            "F, and even coloured sweeps leave them"
        )
    elif found["smallest"] <= -1 and report["network"]["schedule"] == "synchronous":
        yield (
            f"the smallest eigenvalue of the linearised update is {found['smallest']:.4f}: synchronous sweeps "
            "oscillate; use schedule: coloring"
        )
    if found["indefinite"]:
        yield (
            f"on {found['indefinite']} of {count} examples conjugate gradients met negative curvature and MINRES "
            "solved the system"
        )


def _error(agreements: Report) -> float:
    found = agreements["all"]["error"]
    return float("inf") if found is None else float(found)

"""A gradient check as text: each section of the report in lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from epgraph.gradient_check.verdict import percent
from epgraph.learning_rules import ESTIMATORS

Report = dict[str, Any]


def text(report: Report) -> list[str]:
    """Write a report as lines for a terminal."""
    lines: list[str] = []
    for name, write in WRITERS.items():
        if name in report:
            lines += [*([""] if lines else []), *write(report)]
    return lines


def _network(report: Report) -> list[str]:
    part = report["network"]
    of = "training examples" if part["data"] else "examples"
    what = part["data"] or f"noise ({part.get('no_data') or 'neither --data nor data.name names a data set'})"
    beta = "" if "beta" not in ESTIMATORS[part["nudging"]].reads else f"beta {part['beta']:g}, "
    what_moves = "error sweeps" if part["solver"] == "error_sweeps" else "nudged sweeps"
    if part["one_pass"]:
        moves = f"one forward pass and {part['nudged_steps']} {what_moves}"
    else:
        moves = f"{part['free_steps']} free and {part['nudged_steps']} nudged sweeps"
    moves += "" if part["solver"] == "error_sweeps" else f", {part['schedule']}"
    kept = "" if part["follows"] == "the loss" else f"; its gradient is that of {part['follows']}"
    lines = [
        f"{part['name']}: '{part['estimator']}', {beta}{moves}{kept}",
        f"{part['examples']} {of} of {what}, weights: {part['weights']}, {part['dtype']} on {part['device']}",
    ]
    quiet = [f"dynamics.{key} {part[key]:g}" for key in ("noise", "state_bits") if part[key]]
    if quiet:
        lines.append(f"estimated with {' and '.join(quiet)}; the references are those of the network without")
    if part["weight_bits"]:
        lines.append(f"weights rounded to {part['weight_bits']} bits; their gradients are taken straight through that")
    return lines


def _equilibrium(report: Report) -> list[str]:
    part, steps = report["equilibrium"], report["network"]["free_steps"]
    if part["diverged"]:
        return [f"equilibrium  the states diverge: {', '.join(part['diverged'])}"]
    if report["network"]["one_pass"]:
        return ["equilibrium  one forward pass is the free equilibrium, exactly; the reference is backpropagation"]
    ended = "settles" if part["settled"] else "has not settled"
    return [
        f"equilibrium  after {steps} free sweeps: largest residual {part['residual']:.1e}, distance from the "
        f"equilibrium {part['distance']:.1e}",
        f"             {ended} after {part['settled_steps']} sweeps (largest residual {part['settled_residual']:.1e})",
    ]


def _curvature(report: Report) -> list[str]:
    part, count = report["curvature"], report["network"]["examples"]
    # An update that goes part of the way, or beyond, has the eigenvalues 1 − ε + ελ.
    step = report["network"]["step"]
    factor = "|λ|" if step == 1 else f"|1 − {step:g}(1 − λ)|"
    colored = "settle here" if part["largest"] < 1 else "do not settle here"
    sizes = max(abs(1 - step * (1 - part[end])) for end in ("largest", "smallest"))
    synchronous = "settle" if sizes < 1 else "do not"
    lines = [
        f"curvature    eigenvalues of the linearized update on active units: largest {part['largest']:.4f}, smallest "
        f"{part['smallest']:.4f}",
        f"             colored sweeps (largest < 1) {colored}, synchronous ones (all {factor} < 1) {synchronous}",
        f"             norm of the coupling of all units {part['norm']:.4f}: below 1 it settles wherever it starts"
        + " (not guaranteed)" * (part["norm"] >= 1),
    ]
    how = f"{part['products']} products with the Hessian, residual {part['adjoint_residual']:.1e}"
    if part["indefinite"]:
        how += f"; negative curvature on {part['indefinite']} of {count} examples: MINRES"
    return [*lines, f"             implicit differentiation: {how}"]


def _feedback(report: Report) -> list[str]:
    part = report["feedback"]
    cosines = ", ".join(f"{name} {_number(cosine, '.3f')}" for name, cosine in part.items())
    return [f"feedback     {report['network']['why']}", f"             cosine of weight and feedback weight: {cosines}"]


def _basin(report: Report) -> list[str]:
    lines: list[str] = []
    for name, part in report["basin"].items():
        clamped = report["network"]["follows"] != "the loss"
        towards = {"positive": "towards", "negative": "away from"}.get(name, "to")
        sign = {"positive": "+", "negative": "−"}.get(name, "")
        moved = f"clamping the output {towards} the target" if clamped else f"{sign}beta"
        again = "set free" if clamped else "at beta = 0"
        rest = ", ".join(f"{part[key]} {key}" for key in ("elsewhere", "undecided") if part[key])
        rest = f" ({rest})" if rest else ""
        lines.append(
            f"{'same basin' if not lines else '':<13}{moved} moves the states by {part['displacement']:.1e}; "
            f"{again} {part['returned']} of {report['network']['examples']} return to the equilibrium{rest}"
        )
    return lines


def _rest(report: Report) -> list[str]:
    lines: list[str] = []
    steps = report["network"]["nudged_steps"]
    for name, part in report["rest"].items():
        sign = {"positive": "+", "negative": "−"}[name]
        line = f"{'nudged phases' if not lines else '':<14}{sign}beta: after {steps} largest residual "
        line += f"{part['residual']:.1e}, distance {part['displacement']:.1e} from the forward pass"
        if part["diverged"]:
            line = f"{'nudged phases' if not lines else '':<14}{sign}beta: the states diverge ("
            line += f"{', '.join(part['diverged'])})"
        elif part["crossed"]:
            line += f"; {percent(part['crossed'])} of the units cross a kink"
        lines.append(line)
    return lines


def _error_sweeps(report: Report) -> list[str]:
    part = report["error_sweeps"]
    return [f"with dynamics.solver: error_sweeps, {part['steps']} of them:  {_cells(part['estimator']['all']).strip()}"]


PAIRS = {
    "estimator_backprop": "{} – backpropagation",
    "estimator_implicit": "{} – implicit",
    "estimator_unrolled": "{} – unrolled",
    "unrolled_implicit": "unrolled – implicit",
}


def _agreement(report: Report) -> list[str]:
    tables, estimator = report["agreement"], report["network"]["estimator"]
    names = list(next(iter(tables.values())))
    width = max(len("parameter"), *map(len, names))
    heads = [PAIRS[key].format(estimator) for key in tables]
    lines = _heads(heads, f"{'':<{width}}  ", f"{'parameter':<{width}}  ")
    for name in names:
        cells = [f"{_cells(table[name]):<{len(head)}}" for head, table in zip(heads, tables.values(), strict=True)]
        lines.append(f"{name:<{width}}  {'  '.join(cells)}".rstrip())
    untied = report["network"]["untied"]
    if untied:
        lines.append(
            f"{', '.join(untied)}: unrolled is the slope as weight and feedback weight move together, as in EP"
        )
    return lines


def _heads(heads: Sequence[str], first: str, second: str) -> list[str]:
    """Two lines above comparisons: whose they are, and the measures."""
    measures = f"{'cosine':>8}{'error':>10}{'signs':>8}"
    return [
        (first + "  ".join(f"{head:<{len(measures)}}" for head in heads)).rstrip(),
        (second + "  ".join(f"{measures:<{len(head)}}" for head in heads)).rstrip(),
    ]


def _cells(agreement: dict[str, float | None]) -> str:
    formats = (("cosine", ".4f", 8), ("error", ".1e", 10), ("signs", ".1%", 8))
    return "".join(f"{_number(agreement[key], how):>{width}}" for key, how, width in formats)


def _number(value: float | None, how: str) -> str:
    return "–" if value is None else format(value, how)


def _rows(key: str, head: str, columns: Sequence[str]) -> Callable[[Report], list[str]]:
    """A table of how the gradient of all parameters changes with one setting, against the reference gradient."""

    def write(report: Report) -> list[str]:
        part: list[dict[str, Any]] = report[key]
        there = [column for column in columns if column in part[0]]
        own = report["network"]["nudging" if key != "free_steps" else "estimator"]
        heads = [own if column == "estimator" else column for column in there]
        heads = [f"{name} – {report['network']['reference']}" for name in heads]
        errors = key == "nudged_steps" and report["network"]["solver"] == "error_sweeps"
        lines = _heads(heads, f"{'error sweeps' if errors else head:<14}", " " * 14)
        setting = "beta" if key == "beta" else "steps"
        now = report["network"][key]
        for row in part:
            mark = " ←" if row[setting] == now else ""
            cells = [f"{_cells(row[column]['all']):<{len(h)}}" for h, column in zip(heads, there, strict=True)]
            lines.append(f"{row[setting]:<14.4g}{'  '.join(cells).rstrip()}{mark}")
        return lines

    return write


def _saturation(report: Report) -> list[str]:
    part = report["saturation"]
    width = max(len("state"), *map(len, part))
    lines = [
        "low, high, active: share of units at the lower end, upper end, between; signal: deviation over inputs",
        f"{'state':<{width}}{'low':>9}{'high':>9}{'active':>9}{'signal':>10}",
    ]
    for name, shares in part.items():
        line = f"{name:<{width}}{shares['low']:>9.1%}{shares['high']:>9.1%}{shares['active']:>9.1%}"
        lines.append(f"{line}{shares['signal']:>10.1e}")
    return lines


def _stepwise(report: Report) -> list[str]:
    part = report["stepwise"]
    lines = [
        f"step by step  'centered', synchronous, beta {part['beta']:g}, residual {part['residual']:.1e}: what the",
        "              nth nudged sweep adds to the gradient, against what backpropagation through the nth last adds",
        f"{'sweep':<8}{'size':>10}{'error':>10}",
    ]
    lines += [f"{row['step'] + 1:<8}{row['size']:>10.1e}{_number(row['error'], '.1e'):>10}" for row in part["steps"]]
    shown = [_number(part[key], ".1e") for key in ("sum_error", "own_schedule_sum_error")]
    lines.append(f"sums over all sweeps: {shown[0]} apart; under {report['network']['schedule']} {shown[1]}")
    if part["kinks"]:
        lines.append(f"σ has kinks ({', '.join(part['kinks'])}): the match is exact only while no unit crosses one")
    return lines


def _verdict(report: Report) -> list[str]:
    first, *rest = report["verdict"]["lines"]
    return [f"verdict      {first}", *(f"             {line}" for line in rest)]


WRITERS: dict[str, Callable[[Report], list[str]]] = {
    "network": _network,
    "equilibrium": _equilibrium,
    "curvature": _curvature,
    "feedback": _feedback,
    "basin": _basin,
    "rest": _rest,
    "agreement": _agreement,
    "beta": _rows("beta", "beta", ("estimator",)),
    "nudged_steps": _rows("nudged_steps", "nudged sweeps", ("estimator", "truncated")),
    "error_sweeps": _error_sweeps,
    "free_steps": _rows("free_steps", "free sweeps", ("estimator", "unrolled")),
    "saturation": _saturation,
    "stepwise": _stepwise,
    "verdict": _verdict,
}
"""How each section of the report is written, in order."""

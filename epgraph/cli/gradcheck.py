"""``epgraph gradcheck``: whether the gradient is right, for the user's own network and weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from epgraph.cli.options import (
    allow_include_option,
    data_option,
    data_root_option,
    device_option,
    download_option,
    file_argument,
    load_for,
    pick_device,
    plugin_option,
    schedule_option,
    set_option,
    settings,
    threads_option,
)
from epgraph.cli.output import check_output, echo, echo_json
from epgraph.errors import EpgraphError
from epgraph.graph import build, load

if TYPE_CHECKING:
    from torch import Tensor

    from epgraph.engine import Engine
    from epgraph.gradient_check.check import Report


@click.command()
@plugin_option
@file_argument
@allow_include_option
@data_option(required=False, more="; left out, noise in [0, 1], and random labels or targets")
@data_root_option
@download_option
@click.option(
    "--checkpoint", type=click.Path(path_type=Path), help="Run folder (or .pt file) with the weights to take."
)
@click.option("--examples", type=click.IntRange(min=1), default=8, show_default=True, help="Examples to check on.")
@click.option("--quick", is_flag=True, help="Leave out how beta and the numbers of sweeps change the gradient.")
@click.option("--stepwise", is_flag=True, help="Compare EP with backpropagation through time sweep by sweep as well.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Figure to write; .png, .svg or .pdf.")
@schedule_option
@set_option
@device_option
@click.option(
    "--dtype", type=click.Choice(["float32", "float64"]), default="float64", show_default=True, help="Precision."
)
@threads_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def gradcheck(
    file: Path,
    allow_include: tuple[Path, ...],
    data: str | None,
    data_root: Path,
    download: bool,
    checkpoint: Path | None,
    examples: int,
    quick: bool,
    stepwise: bool,
    output: Path | None,
    schedule: str | None,
    overrides: tuple[str, ...],
    device: str | None,
    dtype: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Check the gradient of a network: against backpropagation and implicit differentiation, edge by edge.

    The configured estimator is compared with backpropagation through the unrolled free phase and with implicit
    differentiation at the equilibrium, as it is and as beta and the sweeps vary; with distance from equilibrium,
    eigenvalues of the linearised update, basins of the nudged states, saturation, and a verdict in words.

    \b
    Example:
      epgraph gradcheck examples/digits.yaml --data digits -o gradcheck.png
      epgraph gradcheck examples/digits.yaml --data digits --checkpoint runs/demo
    """
    architecture = load(file, settings(overrides, schedule), allow_include)
    if output is not None:
        from epgraph.drawing.curves import FORMATS
        from epgraph.drawing.formats import suffix

        suffix(output, FORMATS)
        if quick:
            raise EpgraphError(
                "--quick leaves out what --output draws: how the gradient varies with beta and the sweeps",
                "leave out one of the two",
            )
    check_output(output)

    import torch
    from tqdm import tqdm

    from epgraph.compiling import compile
    from epgraph.gradient_check.check import Check, tasks
    from epgraph.gradient_check.check import gradcheck as run
    from epgraph.runtime.memory import refuse_too_large
    from epgraph.training import set_threads

    where = pick_device(device)
    refuse_too_large(build(architecture), where, getattr(torch, dtype), copies=2, batch=examples)
    engine = compile(
        architecture,
        device=where,
        dtype=getattr(torch, dtype),
        initialised=checkpoint is None,
    )
    set_threads(engine, threads)
    if checkpoint is not None:
        _take_weights(engine, checkpoint)
    x, y = _examples(engine, data, data_root, download, examples)
    check = Check(engine, x, y, quick, architecture.dynamics.nudged_steps if stepwise else 0)
    with tqdm(total=tasks(check), leave=False, disable=True if as_json else None) as shown:

        def tick(what: str) -> None:
            shown.set_description(what)
            shown.update()

        check.tick = tick
        report = run(check)
    report["network"] |= {"data": data, "weights": "initial" if checkpoint is None else str(checkpoint)}
    # Printed first: a figure that cannot be drawn does not lose the report.
    if as_json:
        echo_json(_finite(report))
    else:
        echo(*_text(report))
    if output is not None:
        from epgraph.gradient_check.figure import draw

        draw(report, output)
        if not as_json:
            echo("", f"figure: {output}")


def _finite(value: Any) -> Any:
    """Ready for JSON, which has no NaN and no infinity."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _take_weights(engine: Engine, path: Path) -> None:
    from epgraph.training import load_checkpoint, load_parameters

    load_parameters(engine, load_checkpoint(path, engine.device), str(path))


def _examples(engine: Engine, data: str | None, root: Path, download: bool, count: int) -> tuple[Tensor, Tensor]:
    """Examples of the training set, drawn by the seed; or noise in [0, 1] with random labels or targets."""
    import torch

    architecture = engine.architecture
    generator = torch.Generator().manual_seed(architecture.training.seed)
    if data is None:
        x = torch.rand((count, *engine.graph.input.shape), generator=generator)
        if architecture.output.classes is None:
            return x, torch.rand((count, *engine.graph.output.shape), generator=generator)
        return x, torch.randint(engine.graph.output.units, (count,), generator=generator)
    train = load_for(architecture, data, root, download, None, augment=False, check=False).train
    drawn = torch.randperm(len(train), generator=generator)[:count].tolist()
    chosen = [train[i] for i in drawn]
    return torch.stack([x for x, _ in chosen]), torch.tensor([int(y) for _, y in chosen])


def _text(report: Report) -> list[str]:
    lines: list[str] = []
    for name, write in WRITERS.items():
        if name in report:
            lines += [*([""] if lines else []), *write(report)]
    return lines


def _network(report: Report) -> list[str]:
    found = report["network"]
    what = found["data"] or "noise (no --data)"
    beta = "" if found["nudging"] == "contrastive" else f"beta {found['beta']:g}, "
    kept = "" if found["follows"] == "the loss" else f"; its gradient is that of {found['follows']}"
    lines = [
        f"{found['name']}: '{found['estimator']}', {beta}{found['free_steps']} free and "
        f"{found['nudged_steps']} nudged sweeps, {found['schedule']}{kept}",
        f"{found['examples']} examples of {what}, weights: {found['weights']}, {found['dtype']} on {found['device']}",
    ]
    quiet = [f"dynamics.{key} {found[key]:g}" for key in ("noise", "state_bits") if found[key]]
    if quiet:
        lines.append(f"estimated with {' and '.join(quiet)}; the references are those of the network without")
    if found["weight_bits"]:
        lines.append(f"weights rounded to {found['weight_bits']} bits; their gradients are taken straight through that")
    return lines


def _equilibrium(report: Report) -> list[str]:
    found, steps = report["equilibrium"], report["network"]["free_steps"]
    if found["diverged"]:
        return [f"equilibrium  the states diverge: {', '.join(found['diverged'])}"]
    ended = "settles" if found["settled"] else "has not settled"
    return [
        f"equilibrium  after {steps} free sweeps: residual {found['residual']:.1e}, {found['distance']:.1e} away from "
        "where it goes",
        f"             {ended} after {found['settled_steps']} sweeps (residual {found['settled_residual']:.1e})",
    ]


def _curvature(report: Report) -> list[str]:
    found, count = report["curvature"], report["network"]["examples"]
    # An update that goes part of the way, or beyond, has the eigenvalues 1 − ε + ελ.
    step = report["network"]["step"]
    factor = "|λ|" if step == 1 else f"|1 − {step:g}(1 − λ)|"
    coloured = "settle here" if found["largest"] < 1 else "do not settle here"
    sizes = max(abs(1 - step * (1 - found[end])) for end in ("largest", "smallest"))
    synchronous = "settle" if sizes < 1 else "do not"
    lines = [
        f"curvature    eigenvalues of the linearised update on active units: largest {found['largest']:.4f}, smallest "
        f"{found['smallest']:.4f}",
        f"             coloured sweeps (largest < 1) {coloured}, synchronous ones (all {factor} < 1) {synchronous}",
        f"             norm of the coupling of all units {found['norm']:.4f}: below 1 it settles wherever it starts",
    ]
    how = f"{found['products']} products with the Hessian, residual {found['adjoint_residual']:.1e}"
    if found["indefinite"]:
        how += f"; negative curvature on {found['indefinite']} of {count} examples: MINRES"
    return [*lines, f"             implicit differentiation: {how}"]


def _feedback(report: Report) -> list[str]:
    found = report["feedback"]
    cosines = ", ".join(f"{name} {_number(cosine, '.3f')}" for name, cosine in found.items())
    return [f"feedback     {report['network']['why']}", f"             cosine of weight and feedback weight: {cosines}"]


def _basin(report: Report) -> list[str]:
    lines: list[str] = []
    for name, found in report["basin"].items():
        clamped = report["network"]["follows"] != "the loss"
        towards = {"positive": "towards", "negative": "away from"}.get(name, "to")
        sign = {"positive": "+", "negative": "−"}.get(name, "")
        moved = f"clamping the output {towards} the target" if clamped else f"{sign}beta"
        again = "set free" if clamped else "at beta = 0"
        rest = ", ".join(f"{found[key]} {key}" for key in ("elsewhere", "undecided") if found[key])
        lines.append(
            f"{'same basin' if not lines else '':<13}{moved} moves the states by {found['displacement']:.1e}; "
            f"{again} {found['returned']} of {report['network']['examples']} fall back{f' ({rest})' if rest else ''}"
        )
    return lines


PAIRS = {
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
        found: list[dict[str, Any]] = report[key]
        there = [column for column in columns if column in found[0]]
        own = report["network"]["nudging" if key != "free_steps" else "estimator"]
        heads = [own if column == "estimator" else column for column in there]
        heads = [f"{name} – {report['network']['reference']}" for name in heads]
        lines = _heads(heads, f"{head:<14}", " " * 14)
        setting = "beta" if key == "beta" else "steps"
        now = report["network"][key]
        for row in found:
            mark = " ←" if row[setting] == now else ""
            cells = [f"{_cells(row[column]['all']):<{len(h)}}" for h, column in zip(heads, there, strict=True)]
            lines.append(f"{row[setting]:<14.4g}{'  '.join(cells).rstrip()}{mark}")
        return lines

    return write


def _saturation(report: Report) -> list[str]:
    found = report["saturation"]
    width = max(len("state"), *map(len, found))
    head = f"{'state':<{width}}{'low':>9}{'high':>9}{'active':>9}{'signal':>10}"
    lines = [f"{head}   share of units at the ends of σ, and between; deviation over the inputs"]
    for name, shares in found.items():
        line = f"{name:<{width}}{shares['low']:>9.1%}{shares['high']:>9.1%}{shares['active']:>9.1%}"
        lines.append(f"{line}{shares['signal']:>10.1e}")
    return lines


def _stepwise(report: Report) -> list[str]:
    found = report["stepwise"]
    lines = [
        f"step by step  'centered', synchronous, beta {found['beta']:g}, residual {found['residual']:.1e}: what the",
        "              nth nudged sweep adds to the gradient, against what backpropagation through the nth last adds",
        f"{'sweep':<8}{'size':>10}{'error':>10}",
    ]
    lines += [f"{row['step'] + 1:<8}{row['size']:>10.1e}{_number(row['error'], '.1e'):>10}" for row in found["steps"]]
    shown = [_number(found[key], ".1e") for key in ("sum_error", "own_schedule_sum_error")]
    lines.append(f"sums over all sweeps: {shown[0]} apart; under {report['network']['schedule']} {shown[1]}")
    if found["kinks"]:
        lines.append(f"σ has kinks ({', '.join(found['kinks'])}): the match is exact only while no unit crosses one")
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
    "agreement": _agreement,
    "beta": _rows("beta", "beta", ("estimator",)),
    "nudged_steps": _rows("nudged_steps", "nudged sweeps", ("estimator", "truncated")),
    "free_steps": _rows("free_steps", "free sweeps", ("estimator", "unrolled")),
    "saturation": _saturation,
    "stepwise": _stepwise,
    "verdict": _verdict,
}
"""How each section of the report is written, in order."""

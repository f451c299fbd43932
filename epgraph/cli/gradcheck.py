"""``epgraph gradcheck``: whether the gradient is right, for the user's own network and weights."""

from __future__ import annotations

import math
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
    from epgraph.gradient_check.check import Check
    from epgraph.gradient_check.sections import gradcheck as run
    from epgraph.gradient_check.sections import tasks
    from epgraph.gradient_check.text import text
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
        echo(*text(report))
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

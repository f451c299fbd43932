"""``epgraph eval``: accuracy of a trained network."""

from __future__ import annotations

import math
from pathlib import Path

import click

from epgraph.cli.options import data_options, device_option, load_for, pick_device, plugin_option, threads_option
from epgraph.cli.output import echo, echo_json
from epgraph.errors import Diagnostic, EpgraphError


@click.command("eval")
@plugin_option
@click.argument("run", type=click.Path(path_type=Path))
@data_options()
@device_option
@threads_option
@click.option("--free-steps", type=click.IntRange(min=1), help="Override dynamics.free_steps.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def eval_command(
    run: Path,
    data: str,
    data_root: Path,
    download: bool,
    limit: int | None,
    device: str | None,
    threads: int | None,
    free_steps: int | None,
    as_json: bool,
) -> None:
    """Evaluate the network of a run folder (or of a checkpoint) on a data set's test images.

    \b
    Example:
      epgraph eval runs/demo --data digits
    """
    from epgraph.training import bar, batches, engine_from_checkpoint, evaluate, load_checkpoint, set_threads
    from epgraph.training import default_workers as workers_for

    where = pick_device(device)
    engine = engine_from_checkpoint(load_checkpoint(run, where), device=where)
    set_threads(engine, threads)
    architecture = engine.architecture
    try:
        examples = load_for(architecture, data, data_root, download, limit, augment=False, check=False)
    except EpgraphError as error:
        # The network is trained: only another data set can mend a misfit.
        raise EpgraphError(
            Diagnostic(d.message, "choose the data that the run was trained on" if d.at else d.hint)
            for d in error.diagnostics
        ) from None
    engine.batches = math.ceil(len(examples.test) / architecture.training.batch_size)
    loader = batches(
        examples.test,
        architecture.training.batch_size,
        device=engine.device,
        workers=workers_for(examples.test),
    )
    metrics = evaluate(engine, bar(loader, "test", not as_json), free_steps)
    if as_json:
        echo_json({"data": data, "examples": len(examples.test), **metrics})
        return
    echo(
        f"accuracy {1 - metrics['error']:.2%} on {len(examples.test)} held-out examples of {data}, "
        f"loss {metrics['loss']:.4f}, residual {metrics['residual']:.1e}"
    )

"""``epgraph tune``: measure the backends on this machine, and keep the fastest on record."""

from __future__ import annotations

from pathlib import Path

import click

from epgraph.cli.options import (
    allow_include_option,
    device_option,
    dtype_option,
    file_argument,
    pick_device,
    plugin_option,
    schedule_option,
    set_option,
    settings,
    threads_option,
)
from epgraph.cli.output import echo, echo_json
from epgraph.errors import EpgraphError, nearest
from epgraph.graph import build, load


@click.command()
@plugin_option
@file_argument
@allow_include_option
@click.option("--batch", type=click.IntRange(min=1), help="Examples in a batch; left out, training.batch_size.")
@click.option("--backend", "backends", multiple=True, metavar="NAME", help="Measure only this one; may be repeated.")
@schedule_option
@set_option
@device_option
@dtype_option
@threads_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def tune(
    file: Path,
    allow_include: tuple[Path, ...],
    batch: int | None,
    backends: tuple[str, ...],
    schedule: str | None,
    overrides: tuple[str, ...],
    device: str | None,
    dtype: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Measure how fast each backend runs a network here, and record the times.

    'train', 'eval' and 'compile' use the record of this network, device, precision, number of threads and torch. They
    take the fastest backend; a short training takes the one that ends first, its start included. --backend measures
    that one again, and keeps the recorded times of the others. Inputs are random. inductor compiles first, which may
    take minutes.

    \b
    Example:
      epgraph tune examples/vgg5.yaml --batch 64
      epgraph tune examples/vgg5.yaml --backend onednn --backend channels_last
    """
    architecture = load(file, settings(overrides, schedule), allow_include)

    import torch

    from epgraph.compiler import BACKENDS
    from epgraph.compiling import compile
    from epgraph.runtime.memory import refuse_too_large
    from epgraph.training import set_threads
    from epgraph.tuning import break_even
    from epgraph.tuning import tune as choose

    for name in backends:
        if name not in BACKENDS:
            raise EpgraphError(f"unknown backend '{name}'", nearest(name, list(BACKENDS)))
    size, where = batch or architecture.training.batch_size, pick_device(device)
    refuse_too_large(build(architecture), where, getattr(torch, dtype), copies=2, batch=size)
    engine = compile(architecture, device=where, dtype=getattr(torch, dtype), initialised=False)
    set_threads(engine, threads)
    generator = torch.Generator().manual_seed(architecture.training.seed)
    x = torch.rand((size, *engine.graph.input.shape), generator=generator)
    y = torch.randint(engine.graph.output.units, (size,), generator=generator)
    try:
        found, path = choose(engine, x, y, backends or None)
    except OSError as error:
        raise EpgraphError(
            f"the choice cannot be recorded: {error}", "set XDG_CACHE_HOME to a folder that can be written"
        ) from None
    if as_json:
        rows = [timing.to_dict() for timing in found]
        kept = None if path is None else str(path)
        echo_json({"batch": size, "backend": found[0].backend, "record": kept, "timings": rows})
        return
    dynamics = architecture.dynamics
    echo(
        f"batch {size}, {dtype} on {engine.device}; an iteration has {dynamics.free_steps} free and "
        f"{dynamics.nudged_steps} nudged sweeps; seconds",
        "",
    )
    heads = ("iteration", "free sweep", "nudged pair", "per batch", "to start")
    echo(f"{'backend':<15}" + "".join(f"{head:>13}" for head in heads))
    for t in found:
        figures = (t.iteration, t.sweep, t.pair_sweep, t.once, t.first)
        echo(f"{t.backend:<15}" + (t.reason or "".join(f"{seconds:>13.4f}" for seconds in figures)))
    if path is None:
        echo("", "the record holds another batch size and stays: leave --backend out to measure all for this one")
        return
    echo("", f"{found[0].backend} is on record: {path}")
    sooner = break_even(found)
    if sooner is not None:
        other, batches = sooner
        echo(
            f"it takes {found[0].first:.1f} s to start, and {other.backend} {other.first:.1f} s: below "
            f"{batches:,.0f} batches {other.backend} takes less, and is what 'auto' takes for a training that short"
        )

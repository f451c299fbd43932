"""``epgraph train``: train a network, and leave a run folder behind."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from epgraph.cli.options import (
    backend_option,
    data_options,
    device_option,
    dtype_option,
    file_argument,
    load_for,
    pick_device,
    plugin_option,
    schedule_option,
    set_option,
    threads_option,
)
from epgraph.errors import EpgraphError
from epgraph.graph import load
from epgraph.spec import Architecture, to_yaml

if TYPE_CHECKING:
    from epgraph.learning.metrics import Metrics


@click.command()
@plugin_option
@file_argument
@data_options
@click.option("--out", type=click.Path(path_type=Path), help="Run folder; left out, runs/NAME-DATA.")
@click.option("--epochs", type=click.IntRange(min=1), help="Override training.epochs.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Override training.seed.")
@schedule_option
@set_option
@device_option
@dtype_option
@backend_option
@threads_option
@click.option("--workers", type=click.IntRange(0, 64), help="Processes that load data; left out, chosen by size.")
@click.option("--no-augment", is_flag=True, help="Train on the images as they are.")
@click.option("--overwrite", is_flag=True, help="Start over in a run folder that is in use.")
@click.option("--resume", is_flag=True, help="Go on from the run folder's last checkpoint.")
@click.option("--json", "as_json", is_flag=True, help="Print the metrics of each epoch as JSON lines.")
def train(
    file: Path,
    data: str,
    data_root: Path,
    download: bool,
    limit: int | None,
    out: Path | None,
    epochs: int | None,
    seed: int | None,
    schedule: str | None,
    overrides: tuple[str, ...],
    device: str | None,
    dtype: str,
    backend: str,
    threads: int | None,
    workers: int | None,
    no_augment: bool,
    overwrite: bool,
    resume: bool,
    as_json: bool,
) -> None:
    """Train a network by equilibrium propagation.

    The run folder receives architecture.yaml (as trained), network.svg, metrics.jsonl (epochs), batches.jsonl (loss,
    energy, steps and residuals of every batch), curves.png, last.pt and tensorboard/. The same seed gives the same run
    on the same machine.

    \b
    Example:
      epgraph train examples/digits.yaml --data digits
      epgraph train examples/vgg5.yaml --data fashion-mnist --set 'input.shape=[1, 32, 32]' \\
          --set learning.beta=0.15 --epochs 5
    """
    if overwrite and resume:
        raise EpgraphError("--overwrite and --resume exclude each other")
    given = [*overrides]
    given += [f"training.epochs={epochs}"] if epochs is not None else []
    given += [f"training.seed={seed}"] if seed is not None else []
    given += [f"dynamics.schedule={schedule}"] if schedule is not None else []
    architecture = load(file, given)
    folder = out or Path("runs") / f"{_slug(architecture.name)}-{_slug(data)}"
    _check_folder(folder, overwrite, resume)

    # Loading torch takes seconds; every mistake that can be found without it has been found.
    import torch

    from epgraph.draw import curves, render
    from epgraph.engine import compile
    from epgraph.learning import Run, Trainer, default_workers, initialise, load_checkpoint, set_threads

    examples = load_for(architecture, data, data_root, download, limit, augment=not no_augment)
    where = pick_device(device)
    engine = compile(architecture, device=where, dtype=getattr(torch, dtype), backend=backend, initialised=False)
    set_threads(engine, threads)
    checkpoint = load_checkpoint(folder, where) if resume else None
    if checkpoint is not None:
        _check_same(architecture, checkpoint["architecture"], folder)
        engine.load_state_dict(checkpoint["model"])
        if backend == "auto":
            engine.prefer(checkpoint.get("backend", "auto"))
    else:
        initialise(engine, examples.train)
    chosen = engine.machine.backend.name  # refused here, before the run folder is touched, if it cannot be used
    total = architecture.training.epochs

    def show(metrics: Metrics) -> None:
        if replaced is not None:
            shutil.rmtree(replaced, ignore_errors=True)
        curves(folder / "metrics.jsonl", folder / "curves.png")
        click.echo(json.dumps(metrics) if as_json else _line(metrics, total))

    run = Run(folder, default_workers(examples.train) if workers is None else workers, not as_json, show)
    trainer = Trainer(engine, examples, run)
    if checkpoint is not None:
        trainer.restore(checkpoint)
    replaced = None if resume else _set_aside(folder)
    try:
        _prepare(folder, architecture)
        render(architecture, folder / "network.svg")
        metrics = trainer.train()
    except BaseException:
        if replaced is not None and replaced.exists():  # not one epoch was finished: the old run stays
            shutil.rmtree(folder, ignore_errors=True)
            replaced.rename(folder)
        raise
    if as_json:
        return
    if not metrics:
        click.echo(f"{folder} is trained to epoch {total} already; raise --epochs to go on")
        return
    tested = len(examples.test)
    click.echo(
        f"accuracy of the last epoch: {1 - metrics['test_error']:.2%} on {tested} held-out examples of {data} "
        f"(seed {architecture.training.seed}, {dtype} on {where}, backend {chosen})"
    )
    click.echo(f"run folder: {folder}")


def _line(metrics: Metrics, total: int) -> str:
    nudged = f" free {metrics['nudged_residual']:.1e} nudged" if "nudged_residual" in metrics else ""
    return (
        f"epoch {metrics['epoch']:.0f}/{total}: "
        f"train loss {metrics['train_loss']:.4f} error {metrics['train_error']:.2%}, "
        f"test loss {metrics['test_loss']:.4f} error {metrics['test_error']:.2%}, "
        f"residual {metrics['train_residual']:.1e}{nudged}, "
        f"{metrics['seconds']:.1f} s"
    )


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:80].lower() or "run"


def _check_folder(folder: Path, overwrite: bool, resume: bool) -> None:
    if resume:
        return
    if folder.is_file():
        raise EpgraphError(f"{folder} is a file", "name a folder with --out")
    if folder.exists() and any(folder.iterdir()) and not overwrite:
        raise EpgraphError(
            f"the run folder {folder} is in use",
            "go on with --resume, start over with --overwrite, or name --out",
        )
    if overwrite and folder.exists() and any(folder.iterdir()) and not (folder / "architecture.yaml").exists():
        # Never delete a folder that is not a run of ours.
        raise EpgraphError(f"{folder} holds files but is no run folder", "name another folder with --out")


def _check_same(architecture: Architecture, trained: dict[str, object], folder: Path) -> None:
    now = architecture.to_dict()
    parts = [key for key in {**now, **trained} if key != "training" and now.get(key) != trained.get(key)]
    if parts:
        raise EpgraphError(
            f"{folder} was trained with another network: {', '.join(sorted(parts))} differ",
            "resume with the run's own architecture.yaml, or start over with --overwrite",
        )


def _set_aside(folder: Path) -> Path | None:
    """Move the run that is to be replaced out of the way; it is deleted once the new one has finished an epoch."""
    if not (folder.exists() and any(folder.iterdir())):
        return None
    aside = folder.with_name(f".{folder.name}.replaced")
    shutil.rmtree(aside, ignore_errors=True)
    return folder.rename(aside)


def _prepare(folder: Path, architecture: Architecture) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "architecture.yaml").write_text(to_yaml(architecture), encoding="utf-8")
    except OSError as error:
        raise EpgraphError(f"{folder}: cannot be written: {error.strerror}", "name a folder with --out") from None

"""What the functions of ``api`` take: networks, examples and options, each read once."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

from epgraph.arguments import choice, flag, refused, several, shown, text, whole_number
from epgraph.arguments import path as file_path
from epgraph.errors import Diagnostic, EpgraphError
from epgraph.graph import SCHEDULES, build, load
from epgraph.graph.plugged import lacking_plugins, plugins_named
from epgraph.language import Architecture, Assignment, to_yaml
from epgraph.language.overrides import MOST_SHOWN
from epgraph.runs.record import Record
from epgraph.runs.resume import architecture_of

if TYPE_CHECKING:
    from epgraph.data import Data
    from epgraph.engine import Engine
    from epgraph.training.checkpoint import Checkpoint

Source = str | os.PathLike[str] | Architecture
Paths = Sequence[str | os.PathLike[str]]
Warn = Callable[[Sequence[Diagnostic]], None]

DTYPES = ("float32", "float64", "bfloat16", "float16")
"""Precisions of states and parameters, by name."""


def compiled(
    architecture: Architecture, device: str | None, dtype: str, batch: int, initialised: bool, threads: int | None
) -> Engine:
    """Compile a network whose gradient for a batch fits into memory."""
    import torch

    from epgraph.compiling import compile
    from epgraph.runtime.arguments import chosen_device
    from epgraph.runtime.memory import refuse_too_large
    from epgraph.training import set_threads

    where = chosen_device(device)
    refuse_too_large(build(architecture), where, getattr(torch, dtype), copies=2, batch=batch)
    engine = compile(architecture, device=where, dtype=dtype, initialised=initialised)
    set_threads(engine, threads)
    return engine


def engine_of(
    network: Source | Engine,
    overrides: Sequence[str],
    allow_include: Paths,
    device: str | None,
    dtype: str | None,
    threads: int | None,
    *,
    batch: int | None,
    initialised: bool = True,
    content: Checkpoint | None = None,
) -> Engine:
    """Return the engine of a network, with the weights that it has: those of a run, a checkpoint or an engine.

    A network file has initial weights, unless ``initialised`` is False. Left out, ``dtype`` is that of the weights, and
    float32 where there are none. ``batch`` is the number of examples whose gradient has to fit into memory; None is
    ``training.batch_size``. ``content`` is that of the checkpoint, where it has been read already.
    """
    from epgraph.engine import Engine
    from epgraph.runtime.arguments import chosen_device
    from epgraph.training import load_checkpoint, load_parameters, set_threads
    from epgraph.training.checkpoint import averaged

    if isinstance(network, Engine):
        set_threads(network, threads)
        return network
    if not holds_weights(network):
        architecture = as_architecture(network, overrides, allow_include)
        count = batch or architecture.training.batch_size
        return compiled(architecture, device, dtype or "float32", count, initialised, threads)
    assert isinstance(network, str | os.PathLike)
    content = content or load_checkpoint(network, chosen_device(device))
    with plugins_named(network):
        architecture = as_architecture(architecture_of(content["architecture"], "the checkpoint"), overrides)
    stored = next(value.dtype for value in content["model"].values() if value.is_floating_point())
    kept = dtype or str(stored).removeprefix("torch.")
    engine = compiled(architecture, device, kept, batch or architecture.training.batch_size, False, threads)
    load_parameters(engine, averaged(content), "the checkpoint")
    return engine


def trained(network: str | os.PathLike[str] | Engine, device: str | None) -> tuple[Engine, dict[str, Any]]:
    """Return the engine of a run folder or a checkpoint, and what the run says of its data; of an engine, itself."""
    from epgraph.engine import Engine
    from epgraph.runtime.arguments import chosen_device
    from epgraph.training import engine_from_checkpoint, load_checkpoint

    if isinstance(network, Engine):
        return network, {}
    where = chosen_device(device)
    content = load_checkpoint(network, where)
    with plugins_named(network):
        return engine_from_checkpoint(content, device=where), recorded_data(network)


def as_source(network: Source) -> str | os.PathLike[str]:
    """Return a network as ``load`` takes it."""
    return to_yaml(network, complete=True) if isinstance(network, Architecture) else network


def as_architecture(network: Source, overrides: Sequence[str] = (), allow_include: Paths = ()) -> Architecture:
    """Return an architecture, which keeps its places in the file where nothing is overridden."""
    if isinstance(network, Architecture) and not overrides:
        return network
    return load(as_source(network), overrides, allow_include)


def holds_weights(network: object) -> TypeGuard[str | os.PathLike[str]]:
    """Whether a network is named by what a training left: a run folder, or a checkpoint."""
    if not isinstance(network, str | os.PathLike) or "\n" in os.fspath(network):
        return False
    # os.path.isfile takes YAML text too, which may be too long for a path.
    return os.fspath(network).endswith(".pt") or any(
        os.path.isfile(os.path.join(network, name)) for name in ("run.json", "last.pt")
    )


def weights_in_words(network: Source | Engine, content: Checkpoint | None) -> str:
    """Say which weights a network has: a checkpoint's with its epoch, those of an engine, or initial ones.

    ``content`` is that of the checkpoint which ``network`` names, or None.
    """
    if content is not None:
        file = ", last.pt" if os.path.isdir(network) else ""  # type: ignore[arg-type]
        return f"{network}{file} (epoch {content['epoch']})"
    return "initial" if isinstance(network, str | os.PathLike | Architecture) else "those of the engine"


def own_examples(data: Any) -> Data | None:
    """Return examples of the user's own; None where it is the name of a data set, or left out.

    Two data sets of torch's kind, to train and to test on, are examples too; one of them is both.
    """
    if data is None or isinstance(data, str):
        return None
    from epgraph.data import Data

    if isinstance(data, Data):
        return data
    parts = list(data) if isinstance(data, tuple | list) else [data, data]
    if len(parts) != 2 or not all(hasattr(part, "__getitem__") and hasattr(part, "__len__") for part in parts):
        raise refused(f"data expects a name, Data, or two data sets, found {shown(data)}", "write (train, test)")
    return _data_of(*parts)


def _data_of(train: Any, test: Any) -> Data:
    from torch import Tensor

    from epgraph.data import Data

    for part in (train, test):
        if len(part) == 0:
            raise EpgraphError(f"{shown(part)} has no examples", "give a data set that is not empty", "data")
        example = part[0]
        pair = isinstance(example, tuple | list) and len(example) == 2
        if not (pair and isinstance(example[0], Tensor)):
            found = f"a pair with {shown(example[0])}" if pair else shown(example)
            hint = "images are made tensors by transform=torchvision.transforms.ToTensor()"
            message = f"an example of {shown(part)} should be a tensor and its label or target, found {found}"
            raise refused(message, hint)
    classes = tuple(map(str, getattr(train, "classes", ())))
    return Data(type(train).__name__, train, test, classes, tuple(train[0][0].shape))


def recorded_data(network: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a run says of its data, by its folder or a checkpoint in it; nothing where a checkpoint is alone."""
    path = file_path("network", network)
    folder = path if path.is_dir() else path.parent
    return Record.read(folder).data if (folder / "run.json").exists() else {}


def all_overrides(
    overrides: Sequence[str], schedule: str | None, epochs: int | None = None, seed: int | None = None
) -> list[str]:
    """Return overrides as assignments: those that are given, and those that have an argument of their own."""
    assignments = [text("an override", one, "e.g. 'learning.beta=0.2'") for one in several("overrides", overrides)]
    if schedule is not None:
        named = choice("schedule", schedule, SCHEDULES)
        assignments.append(Assignment(f"dynamics.schedule={named}", f"--schedule {named}"))
    if epochs is not None:
        count = whole_number("epochs", epochs, 1)
        assignments.append(Assignment(f"training.epochs={count}", f"--epochs {count}"))
    if seed is not None:
        number = whole_number("seed", seed, 0, 2**32 - 1)
        assignments.append(Assignment(f"training.seed={number}", f"--seed {number}"))
    return assignments


def threads_or_auto(name: str, value: object) -> int | str:
    """Return a number of threads, or ``auto``."""
    return "auto" if value == "auto" else whole_number(name, value, 1)


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "dtype": lambda name, value: choice(name, value, ("auto", *DTYPES)),
    "device": lambda name, value: text(name, value, "e.g. 'cpu'"),
    "backend": lambda name, value: text(name, value, "e.g. 'auto'"),
    "threads": threads_or_auto,
    "workers": lambda name, value: whole_number(name, value, 0),
}


def data_overrides(
    name: str | None, root: str | os.PathLike[str] | None, limit: int | None, augment: bool | None
) -> list[str]:
    """Return what replaces values of the section ``data`` as assignments."""
    given: dict[str, tuple[Any, str]] = {}
    if name is not None:
        given["name"] = text("data", name), f"--data {name[:MOST_SHOWN]}"
    if root is not None:
        given["root"] = str(file_path("data_root", root).absolute()), f"--data-root {str(root)[:MOST_SHOWN]}"
    if limit is not None:
        given["limit"] = whole("limit", limit), f"--limit {limit}"
    if augment is not None:
        given["augment"] = ("published", "--augment") if flag("augment", augment) else ("none", "--no-augment")
    # JSON is YAML, and quotes what would be read otherwise.
    return [
        Assignment(f"data.{key}={json.dumps(value, ensure_ascii=False)}", option)
        for key, (value, option) in given.items()
    ]


def run_options(**options: Any) -> dict[str, Any]:
    """Return the options of a run that are given, each read once; None is: not given."""
    return {name: _READERS[name](name, value) for name, value in options.items() if value is not None}


def whole(name: str, value: int | None, least: int = 1) -> int | None:
    """Return a whole number, or None."""
    return None if value is None else whole_number(name, value, least)


def telling(warn: Warn | None) -> Warn:
    """Return what is called with what is doubtful, and only where there is something; None: Python's warnings."""

    def tell(diagnostics: Sequence[Diagnostic]) -> None:
        if diagnostics and warn is not None:
            warn(diagnostics)
        for diagnostic in diagnostics if warn is None else ():
            warnings.warn(str(diagnostic), stacklevel=3)

    return tell


def examples_of_run(
    architecture: Architecture,
    data: Any,
    root: str | os.PathLike[str] | None,
    download: bool,
    run: str | os.PathLike[str] | None,
    warn: Warn | None,
) -> tuple[Data | None, str]:
    """Return the examples that are asked for or of the network, and why there are none where a run cannot read its own.

    Data that is asked for must be there.
    """
    own = own_examples(data)
    if own is not None:
        return own, ""
    from epgraph.training.data import data_for

    name = None if data is None else str(data)
    try:
        if name is not None or architecture.data.name is not None:
            own = data_for(architecture, name, root=root, download=download, augment=False, check=False)
            telling(warn)(own.warnings)
    except EpgraphError as error:
        if data is not None or root is not None or download:
            raise
        hint = "" if run is None else lacking_plugins(run)
        return None, "; ".join(part for part in (error.diagnostics[0].message, hint) if part)
    return own, ""

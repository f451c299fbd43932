"""Checkpoints: everything that a run needs to go on as if it had not stopped."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any, NotRequired, cast

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from torch import Tensor
from typing_extensions import TypedDict

from epgraph.arguments import path as file_path
from epgraph.compiling import compile
from epgraph.engine import Engine
from epgraph.errors import EpgraphError
from epgraph.files import regular_file
from epgraph.graph import refuse_sweep
from epgraph.runs.folder import replace
from epgraph.runs.resume import architecture_of
from epgraph.runtime.arguments import place

VERSION = 2


class Best(TypedDict):
    """The epoch with the lowest test error, or test loss where targets are no labels."""

    epoch: int
    value: float


@with_config(ConfigDict(arbitrary_types_allowed=True, extra="forbid"))
class Checkpoint(TypedDict):
    """What a checkpoint holds.

    ``epoch`` counts finished epochs; ``batch`` and ``examples`` count what the next one has seen so far, ``sums`` and
    ``counts`` hold its means so far, and ``seconds`` its time so far. ``warm`` holds the states that the next batch
    starts from. ``generators`` are the states of torch's global generators, by device.
    ``average`` holds the running average of the parameters where there is one.
    """

    epgraph_checkpoint: int
    architecture: dict[str, Any]
    schedule: str
    backend: str
    model: dict[str, Tensor]
    data: str
    optimizer: dict[str, dict[str, Any]]
    epoch: int
    batch: int
    examples: int
    sums: dict[str, Tensor]
    counts: dict[str, int]
    seconds: float
    warm: dict[str, Tensor] | None
    generators: dict[str, Tensor]
    best: Best | None
    average: NotRequired[dict[str, Tensor]]


_CHECK = TypeAdapter(Checkpoint)
_HINT = "give a run folder that 'epgraph train' left, or the last.pt in it"


def save_checkpoint(path: Path, engine: Engine, **progress: Any) -> None:
    """Write the architecture, all parameters and ``progress``, the other keys of ``Checkpoint``; all or nothing.

    Raises
    ------
    WriteError
        If the file cannot be written. The checkpoint that was there stays.
    """
    content = {
        "epgraph_checkpoint": VERSION,
        "architecture": engine.architecture.to_dict(complete=True),
        "schedule": engine.plan.schedule.name,
        # Another backend rounds otherwise: a run goes on to the bit only with its own.
        "backend": engine.machine.backend.name,
        "model": dict(engine.state_dict()),
        **progress,
    }

    def write(partial: Path) -> None:
        with partial.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())  # without it a power failure may leave the name without the content

    replace(path, write)


def load_checkpoint(path: str | os.PathLike[str], device: torch.device | str | None = None) -> Checkpoint:
    """Read a checkpoint; a folder stands for the ``last.pt`` in it.

    Its checksums are compared first: a flipped bit would otherwise be trained on.

    Raises
    ------
    EpgraphError
        If there is no such file, it is damaged, it is no checkpoint of epgraph, or the device cannot be used.
    """
    path = file_path("path", path)
    where = place("cpu" if device is None else device)
    path = path / "last.pt" if path.is_dir() else path
    if not path.exists():
        refuse_sweep(path.parent)
        hint = "give a run folder or a .pt file of it; of a sweep folder, one of the folders in trials/"
        raise EpgraphError(f"{path}: there is no checkpoint", hint)
    regular_file(path, _HINT)
    if damage := _damage(path):
        raise EpgraphError(f"{path}: cannot be read as a checkpoint: {damage}", _hint(path))
    try:
        content = torch.load(path, map_location=where, weights_only=True)
    except Exception:  # torch raises half a dozen types for a file that is foreign
        content = None
    if not isinstance(content, dict) or "epgraph_checkpoint" not in content:
        raise EpgraphError(f"{path}: cannot be read as a checkpoint: epgraph did not write it", _hint(path))
    if content["epgraph_checkpoint"] != VERSION:
        raise EpgraphError(
            f"{path}: cannot be read as a checkpoint: another version of epgraph wrote it", "use that version"
        )
    try:
        return _CHECK.validate_python(content, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        at = ".".join(map(str, first["loc"]))
        raise EpgraphError(f"{path}: cannot be read as a checkpoint: {at}: {first['msg']}", _hint(path)) from None


def engine_from_checkpoint(
    content: Checkpoint, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> Engine:
    """Compile the checkpoint's own architecture and load its parameters, averaged where it holds an average.

    Raises
    ------
    EpgraphError
        If its network uses what is not there, or its parameters are not those of its network.
    """
    architecture = architecture_of(content["architecture"], "the checkpoint")
    dtype = dtype or next((v.dtype for v in content["model"].values() if v.is_floating_point()), None)
    engine = compile(architecture, device=device, dtype=dtype, schedule=content["schedule"], initialised=False)
    load_parameters(engine, averaged(content), "the checkpoint")
    return engine


def averaged(content: Checkpoint) -> Checkpoint:
    """Return a checkpoint with the averaged parameters, with which its network was evaluated, as its parameters."""
    return {**content, "model": {**content["model"], **content.get("average", {})}}


def load_parameters(engine: Engine, content: Checkpoint, where: str) -> None:
    """Put a checkpoint's parameters into an engine.

    Raises
    ------
    EpgraphError
        If names, shapes or kinds of numbers differ; the engine keeps its own then.
    """
    own, model = engine.state_dict(), content["model"]
    for name in [*own, *model]:
        if name not in model or name not in own:
            missing, there = ("it", "the network") if name not in model else ("the network", "it")
            raise EpgraphError(
                f"{where} is of another network: {missing} has no '{name}', which {there} has", _OTHER_NETWORK
            )
        value, expected = model[name], own[name]
        if value.shape != expected.shape or value.is_floating_point() != expected.is_floating_point():
            raise EpgraphError(
                f"{where} is of another network: its '{name}' is {_kind(value)}, the network's is {_kind(expected)}",
                _OTHER_NETWORK,
            )
    engine.load_state_dict(cast(dict[str, Any], model))


_OTHER_NETWORK = "give a checkpoint of the same network"


def _kind(value: Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"


def _damage(path: Path) -> str:
    """What is wrong with the file itself, in words; empty where nothing is."""
    try:
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                return "it is compressed, which no checkpoint is"
            broken = archive.testzip()
    except OSError as error:
        return error.strerror or str(error)
    except Exception:  # zipfile raises several types for a damaged directory
        return "it is damaged, or no checkpoint of epgraph"
    return "" if broken is None else "it is damaged (a checksum is wrong)"


def _hint(path: Path) -> str:
    best = path.with_name("best.pt")
    if path.name == "last.pt" and best.is_file():
        return f"start a new run from the weights in {best} with --from"
    return _HINT

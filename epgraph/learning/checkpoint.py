"""Checkpoints: everything that a run needs to go on as if it had not stopped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from epgraph.engine import Engine, compile
from epgraph.errors import Diagnostic, EpgraphError
from epgraph.spec import Architecture
from epgraph.spec.validate import explain

VERSION = 1


def save_checkpoint(path: Path, engine: Engine, **rest: Any) -> None:
    """Write the architecture, all parameters and ``rest`` (tensors and plain values), all or nothing."""
    content = {
        "epgraph_checkpoint": VERSION,
        "architecture": engine.architecture.to_dict(),
        "schedule": engine.plan.schedule.name,
        # Another backend rounds otherwise: a run goes on to the bit only with its own.
        "backend": engine.machine.backend.name,
        "model": engine.state_dict(),
        **rest,
    }
    # A crash while writing must not cost the last good checkpoint.
    partial = path.with_suffix(".partial")
    torch.save(content, partial)
    os.replace(partial, path)


def load_checkpoint(path: Path, device: torch.device | str | None = None) -> dict[str, Any]:
    """Read a checkpoint; a folder stands for the ``last.pt`` in it.

    Raises
    ------
    EpgraphError
        If there is no such file, or it is no checkpoint of epgraph.
    """
    path = path / "last.pt" if path.is_dir() else path
    try:
        content = torch.load(path, map_location=device or "cpu", weights_only=True)
    except FileNotFoundError:
        raise EpgraphError(f"{path}: there is no checkpoint", "give a run folder or a .pt file of it") from None
    except Exception:  # torch raises half a dozen types for a file that is damaged or foreign
        content = None
    if not isinstance(content, dict) or content.get("epgraph_checkpoint") != VERSION:
        raise EpgraphError(
            f"{path}: cannot be read as a checkpoint: damaged, or not written by this version of epgraph",
            "give a run folder that 'epgraph train' left, or the last.pt in it",
        )
    return content


def engine_from_checkpoint(
    content: dict[str, Any], *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> Engine:
    """Compile the checkpoint's own architecture and load its parameters.

    Raises
    ------
    EpgraphError
        If its network uses what is not there: an activation or a cost that a plugin registers, say.
    """
    try:
        architecture = Architecture.model_validate(content["architecture"])
    except ValidationError as error:
        problems = [explain(details) for details in error.errors(include_url=False)]
        hint = "give the plugin that it was trained with"
        raise EpgraphError(Diagnostic(f"the checkpoint: {d.message}", hint, d.at) for d in problems) from None
    model = content["model"]
    dtype = dtype or next((v.dtype for v in model.values()), None)
    engine = compile(architecture, device=device, dtype=dtype, schedule=content["schedule"], initialised=False)
    engine.load_state_dict(model)
    return engine

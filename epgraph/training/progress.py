"""Checkpoints that a run goes on from: whether one is sound, and the states of torch's random generators."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from epgraph.engine import Engine
from epgraph.errors import EpgraphError
from epgraph.runs.resume import same_network
from epgraph.training.checkpoint import Checkpoint


def generators(device: torch.device) -> dict[str, Tensor]:
    """Return the states of torch's generators."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_generators(states: dict[str, Tensor], device: torch.device) -> None:
    """Set torch's generators to what they were."""
    torch.set_rng_state(states["cpu"].cpu())
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"].cpu(), device)


def check_progress(checkpoint: Checkpoint, engine: Engine, examples: int) -> None:
    """Refuse what passes for a checkpoint and cannot be gone on from."""
    graph, warm = engine.graph, checkpoint["warm"]
    before = torch.get_rng_state()
    try:
        set_generators(checkpoint["generators"], torch.device("cpu"))
        generators = True
    except (KeyError, RuntimeError, TypeError):
        generators = False
    finally:
        torch.set_rng_state(before)
    parameters = dict(engine.named_parameters())
    rows = set() if warm is None else {len(s) for s in warm.values() if s.ndim and s.is_floating_point()}
    sound = {
        "architecture": same_network(checkpoint["architecture"], engine.architecture.to_dict(complete=True)),
        "schedule": checkpoint["schedule"] == engine.plan.schedule.name,
        "epoch": checkpoint["epoch"] >= 0,
        "batch": checkpoint["batch"] >= 0 and (checkpoint["batch"] == 0) == (checkpoint["examples"] == 0),
        "examples": 0 <= checkpoint["examples"] <= examples,
        "seconds": 0 <= checkpoint["seconds"] < math.inf,
        "sums": all(s.ndim == 0 for s in checkpoint["sums"].values()),
        "counts": checkpoint["counts"].keys() == checkpoint["sums"].keys() and 0 not in checkpoint["counts"].values(),
        "generators": generators,
        "average": all(
            name in parameters and value.shape == parameters[name].shape and value.is_floating_point()
            for name, value in checkpoint.get("average", {}).items()
        ),
        "warm": warm is None
        or (
            warm.keys() == set(graph.free)
            and all(s.is_floating_point() for s in warm.values())
            and all((*rows, *graph.states[name].shape) == tuple(s.shape) for name, s in warm.items())
        ),
    }
    for name, right in sound.items():
        if not right:
            raise EpgraphError(
                f"the checkpoint is damaged: its '{name}' is none that a training leaves",
                "start a new run from its weights with --from",
            )

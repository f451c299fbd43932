"""What the explorer shows of a run: how the network settles with the weights of each checkpoint."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epgraph.api_arguments import Warn
from epgraph.errors import Diagnostic, EpgraphError, visible
from epgraph.language import Architecture
from epgraph.progress import Progress

if TYPE_CHECKING:
    from epgraph.convergence import Convergence, PhaseCurve
    from epgraph.data import Data
    from epgraph.training.checkpoint import Checkpoint

MOST_CHECKPOINTS = 24
"""Checkpoints that are shown: of more, the last, the best, and others at equal distances."""

MOST_NUMBERS = 60_000
"""Numbers that all curves together may have: about 400 kB of the page. Long phases are shown at fewer sweeps."""

_KEPT = re.compile(r"epoch-[0-9]+\.pt")


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a run folder: those that are kept, in order, then ``best.pt`` and ``last.pt``."""
    kept = sorted(path for path in folder.iterdir() if _KEPT.fullmatch(path.name))
    room = MOST_CHECKPOINTS - 2
    if len(kept) > room:
        kept = [kept[round(i * (len(kept) - 1) / (room - 1))] for i in range(room)]
    return [*kept, *(path for name in ("best.pt", "last.pt") if (path := folder / name).exists())]


def settled(
    architecture: Architecture,
    paths: Sequence[Path],
    read: dict[Path, Checkpoint],
    data: Data | None,
    *,
    examples: int,
    device: str | None,
    threads: int | None,
    progress: bool,
    warn: Warn,
) -> dict[str, Any]:
    """Let a network settle with the weights of each checkpoint, and return the curves, ready for JSON.

    Parameters
    ----------
    architecture
        The network of the run, with what overrides it.
    paths
        Its checkpoints.
    read
        Content of those that have been read already.
    data
        Where the examples come from; None for noise.
    examples
        Number of examples.

    Raises
    ------
    EpgraphError
        If none of the checkpoints can be used. One that cannot, where others can, is a warning.
    """
    from epgraph.compiling import compile
    from epgraph.convergence import converge
    from epgraph.runtime.arguments import chosen_device
    from epgraph.training import load_checkpoint, load_parameters, set_threads
    from epgraph.training.checkpoint import averaged

    engine, found, refused = None, [], []
    where = chosen_device(device)
    with Progress("explore", len(paths), "checkpoints", show=progress, delay=1.0) as shown:
        for path in paths:
            shown.begin(path.name)
            try:
                content = read[path] if path in read else load_checkpoint(path, where)
                if engine is None:
                    dtype = next((v.dtype for v in content["model"].values() if v.is_floating_point()), None)
                    engine = compile(architecture, device=where, dtype=dtype, initialised=False)
                    set_threads(engine, threads)
                load_parameters(engine, averaged(content), str(path))
            except EpgraphError as error:
                refused += [Diagnostic(d.message, d.hint, severity="warning") for d in error.diagnostics]
                if len(paths) == 1:
                    raise
                continue
            found.append((path.name, content["epoch"], converge(engine, data=data, examples=examples, warn=warn)))
    if not found:
        raise EpgraphError(Diagnostic(d.message, d.hint) for d in refused)
    warn(refused)
    # In the order of their epochs; of equal ones last.pt comes last, which is what a run goes on from.
    found.sort(key=lambda one: one[1])
    return {"folder": visible(str(paths[0].parent)), **_curves(found)}


def _curves(found: Sequence[tuple[str, int, Convergence]]) -> dict[str, Any]:
    first = found[0][2]
    rows = [2 + 3 * len(phase.states) for _, _, one in found for phase in one.phases.values()]
    most = max(2, MOST_NUMBERS // sum(rows))
    return {
        "facts": [
            ["examples", f"{first.examples} {visible(first.source)}"],
            *([] if first.beta is None else [["β", f"{first.beta:g}"]]),
        ],
        "checkpoints": [
            {"name": name, "epoch": epoch, "phases": {key: _phase(phase, most) for key, phase in one.phases.items()}}
            for name, epoch, one in found
        ],
    }


def _phase(phase: PhaseCurve, most: int) -> dict[str, Any]:
    shown = _spread(len(phase.sweeps), most)

    def at(values: Sequence[float]) -> list[float]:
        return [float(f"{values[i]:.4g}") for i in shown] if values else []

    return {
        "status": phase.status,
        **({"pass": True} if phase.one_pass else {}),
        "all": len(phase.sweeps),
        "sweeps": [phase.sweeps[i] for i in shown],
        # In more digits: what falls at the end of a phase is small against F.
        "energy": None if phase.energy is None else [float(f"{phase.energy[i]:.7g}") for i in shown],
        "residual": at(phase.residual),
        "states": {
            name: [at(curve.activity), at(curve.saturation), at(curve.residual)] for name, curve in phase.states.items()
        },
    }


def _spread(count: int, most: int) -> list[int]:
    """Return at most ``most`` of ``count`` places, the first and the last among them."""
    return list(range(count)) if count <= most else [round(i * (count - 1) / (most - 1)) for i in range(most)]

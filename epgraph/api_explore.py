"""``ep.explore``: a network, or a run, as one HTML file to look into."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epgraph.api_arguments import (
    Paths,
    Source,
    Warn,
    all_overrides,
    as_architecture,
    holds_weights,
    telling,
    whole,
)
from epgraph.arguments import flag
from epgraph.arguments import path as file_path
from epgraph.errors import EpgraphError
from epgraph.explorer import describe, page
from epgraph.files import check_writable, write_bytes
from epgraph.graph import checked
from epgraph.graph.plugged import plugins_named
from epgraph.language import Architecture
from epgraph.lowering import depicted

if TYPE_CHECKING:
    from epgraph.data import Data
    from epgraph.training.checkpoint import Checkpoint

__all__ = ["ExploreResult", "explore"]

EXAMPLES = 64
"""Examples of the curves, where no number is given."""

IN_A_RUN = "explore.html"
"""The file that is written into a run folder where no other is named."""


@dataclass(frozen=True)
class ExploreResult:
    """What ``ep.explore`` returns.

    Attributes
    ----------
    path
        The file that was written.
    size
        Its size in bytes.
    checkpoints
        Names of the checkpoints whose curves are in it; empty for a network without a run.
    """

    path: Path
    size: int
    checkpoints: tuple[str, ...]


def explore(
    source: Source,
    path: str | os.PathLike[str] | None = None,
    *,
    data: str | Data | Any = None,
    overrides: Sequence[str] = (),
    allow_include: Paths = (),
    schedule: str | None = None,
    examples: int | None = None,
    data_root: str | os.PathLike[str] | None = None,
    download: bool = False,
    device: str | None = None,
    threads: int | None = None,
    progress: bool = False,
    warn: Warn | None = None,
) -> ExploreResult:
    """Write a network as one HTML file that a browser shows without network and server.

    It has the diagram, tables of states and edges, the equation of every update, and the classes of a sweep as an
    animation. Of a run it also has curves: energy, residual, and activity, saturation and residual of each state, for
    every checkpoint (``ep.converge``). A network alone needs no torch.

    Parameters
    ----------
    source
        As for ``load``; or an ``Architecture``; or a run folder, or a checkpoint.
    path
        File to write, ``.html``; left out, ``explore.html`` in the run folder.
    data, data_root, download
        Examples of a run's curves, as for ``converge``.
    overrides, allow_include, schedule
        As for ``train``.
    examples
        Number of examples of a run's curves; left out, 64.
    device, threads, progress, warn
        As for ``train``.

    Raises
    ------
    EpgraphError
        If the network, the data or an option has a mistake, the network is too large to be shown, no checkpoint can be
        used, or the file cannot be written.

    Example
    -------
    >>> import epgraph as ep
    >>> result = ep.explore("examples/digits.yaml", "net.html")
    >>> result.path.name, result.checkpoints
    ('net.html', ())
    """
    count = whole("examples", examples)
    changes = all_overrides(overrides, schedule)
    weights = _weights(source)
    target = _target(path, source, weights)
    run = None
    if weights:
        from epgraph.convergence import data_to_settle
        from epgraph.explorer.relaxation import settled
        from epgraph.runs.resume import architecture_of

        path_of_last, content_of_last = _last_readable(weights)
        with plugins_named(path_of_last):
            stored = architecture_of(content_of_last["architecture"], str(path_of_last))
        architecture = as_architecture(stored, changes, allow_include)
        network = describe(depicted(checked(architecture), architecture.dynamics.schedule))
        check_writable(target)
        with plugins_named(path_of_last):  # read once for all checkpoints
            examples_of = data_to_settle(architecture, data, data_root, download, telling(warn), path_of_last)
        run = settled(
            architecture,
            weights,
            {path_of_last: content_of_last},
            examples_of,
            examples=count or EXAMPLES,
            device=device,
            threads=threads,
            progress=flag("progress", progress),
            warn=telling(warn),
        )
    else:
        of_data = data is not None or data_root is not None or download
        if of_data or count is not None:
            given = "data is given" if of_data else "the number of examples is given"
            raise EpgraphError(f"{given}, and there is no run whose curves need it", "leave it out")
        architecture = as_architecture(source, changes, allow_include)
        network = describe(depicted(checked(architecture), architecture.dynamics.schedule))
    content = page(network, run).encode()
    names = () if run is None else tuple(one["name"] for one in run["checkpoints"])
    return ExploreResult(write_bytes(target, content), len(content), names)


def _weights(source: Source) -> list[Path]:
    """Checkpoints of a run folder, or the one that is named; none of a network file."""
    if isinstance(source, Architecture) or not holds_weights(source):
        return []
    path = Path(source)
    if not path.is_dir():
        return [path]
    from epgraph.explorer.relaxation import checkpoints

    # Without any, the message is that of a checkpoint that is not there.
    return checkpoints(path) or [path / "last.pt"]


def _target(path: str | os.PathLike[str] | None, source: Source, weights: list[Path]) -> Path:
    if path is None:
        if not weights or os.fspath(source).endswith(".pt"):  # type: ignore[arg-type]
            raise EpgraphError("it is not said which file to write", "name one, e.g. net.html (-o net.html)")
        return weights[0].parent / IN_A_RUN
    target = file_path("path", path)
    if target.suffix.lower() not in (".html", ".htm"):
        raise EpgraphError(f"{target}: the explorer is a page and not '{target.suffix}'", "end the name with .html")
    return target


def _last_readable(weights: list[Path]) -> tuple[Path, Checkpoint]:
    """Return the last checkpoint that can be read, and its content."""
    from epgraph.training import load_checkpoint

    error: EpgraphError | None = None
    for path in reversed(weights):
        try:
            return path, load_checkpoint(path)
        except EpgraphError as refused:
            error = error or refused
    assert error is not None
    raise error

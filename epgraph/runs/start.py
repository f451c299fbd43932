"""Start of a run: from the arguments of ``ep.train`` to a folder and settings, new or resumed. Loads no torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from epgraph.errors import Diagnostic, EpgraphError
from epgraph.graph import check, checked, inspect, load, refuse_sweep
from epgraph.graph.checks.data import NO_DATA, data_refusals
from epgraph.language import Architecture, raise_for
from epgraph.runs.folder import RunFolder, slug
from epgraph.runs.launch import launch
from epgraph.runs.lock import locked
from epgraph.runs.record import Given, Record, finished
from epgraph.runs.resume import Changes, resume

DEFAULTS: Mapping[str, Any] = {
    "dtype": "float32",
    "device": None,
    "backend": "auto",
    "threads": None,
    "workers": None,
}
"""Default options of a new run; None depends on the machine and the data."""

MEASURED = frozenset({"dtype", "threads"})
"""Options whose value ``auto`` is replaced by a measurement at the start of a run."""


@dataclass(frozen=True)
class Request:
    """Arguments of a training.

    Attributes
    ----------
    source
        A network file, YAML text, or a run folder to resume.
    overrides, allow_include
        As for ``load``.
    options
        Options of ``epgraph.runs.record.Options`` that are given, by name.
    own_data
        Values of the section ``data`` that examples of the user's own stand for: their name and limit.
    out
        The run folder; None: derived from the names of network and data.
    weights
        Run folder or checkpoint with the initial weights of a new run.
    resume, overwrite
        Whether to resume the run in the folder, or to replace it.
    """

    source: str | os.PathLike[str]
    overrides: Sequence[str] = ()
    allow_include: Sequence[Path] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    own_data: Mapping[str, Any] | None = None
    out: Path | None = None
    weights: Path | None = None
    resume: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.overwrite and self.resume:
            raise EpgraphError("--overwrite and --resume exclude each other")
        if self.weights and self.resume:
            raise EpgraphError("--from and --resume exclude each other", "--resume has the weights of the run")

    @property
    def chosen(self) -> dict[str, Any]:
        """All options, with defaults for those that are not given."""
        return {**DEFAULTS, **self.options}


@dataclass(frozen=True)
class Flags:
    """Side effects of a training: download data, show how far it is, draw pictures, write histograms."""

    download: bool = False
    progress: bool = False
    pictures: bool = True
    histograms: bool = True


@dataclass(frozen=True)
class Start:
    """A training with its final settings.

    Attributes
    ----------
    request
        What was asked for.
    options
        All of ``epgraph.runs.record.Options``; None: depends on the machine and the data.
    changed
        Changed settings of a resumed run: name → (before, now).
    given
        The network file without overrides, for the record.
    before
        The record of the resumed run; None for a new one.
    diagnostics
        Warnings about the network.
    """

    request: Request
    folder: RunFolder
    architecture: Architecture
    options: dict[str, Any]
    given: Given
    changed: Changes = field(default_factory=dict)
    before: Record | None = None
    diagnostics: Sequence[Diagnostic] = ()


@contextmanager
def prepared(request: Request) -> Iterator[Start]:
    """Decide the settings and the folder of a training, and hold the folder's lock in this context.

    Raises
    ------
    EpgraphError
        If the network has mistakes, the folder cannot be used, or a setting must not change within the run.
    """
    if request.resume:
        _expect_run(request.source)
    architecture, diagnostics = inspect(request.source, request.overrides, request.allow_include)
    raise_for(diagnostics)
    assert architecture is not None
    settings = _file_alone(request, architecture)
    if request.own_data is not None:
        section = architecture.data
        architecture = architecture.model_copy(update={"data": section.model_copy(update=dict(request.own_data))})
    folder = RunFolder(_path(request, architecture))
    request = _restarted(request, folder)
    goes_on = request.resume and folder.has_checkpoint
    if not goes_on:
        _check_new(request, folder, architecture)
    with locked(folder):
        folder.recover()
        given = Given(file=_name(request.source), settings=settings)
        if goes_on:
            start = _resumed(request, folder, given, architecture)
        else:
            start = Start(request, folder, architecture, request.chosen, given, diagnostics=diagnostics)
        start = replace(start, architecture=_rooted(start.architecture))
        if request.own_data is None:
            raise_for(data_refusals(start.architecture))
        yield start


def _restarted(request: Request, folder: RunFolder) -> Request:
    """Go on with the run, where torchrun has started this job again and its run has a checkpoint."""
    here = launch()
    if not here.restarts or not folder.has_checkpoint:
        return request
    if Record.read(folder.path).history[-1].machine.get("job") != here.name:
        return request  # another job left it
    return replace(request, resume=True, overwrite=False, weights=None)


def _rooted(architecture: Architecture) -> Architecture:
    """Return an architecture that finds its data from every working directory."""
    data = architecture.data
    data = data.model_copy(update={"root": str(Path(data.root).expanduser().absolute())})
    return architecture.model_copy(update={"data": data})


def _resumed(request: Request, folder: RunFolder, given: Given, now: Architecture) -> Start:
    before = Record.read(folder.path)
    if _is_path(request.source) and Path(request.source).resolve() in (
        folder.path.resolve(),
        (folder / "architecture.yaml").resolve(),
    ):
        # The run's copy of its settings is the network file: any edit was made there.
        before = before.model_copy(update={"given": Given(file=before.given.file, settings=before.settings)})
    chosen = request.chosen
    merged = resume(
        before,
        folder.path,
        given.settings,
        now.to_dict(complete=True),
        {text.partition("=")[0].strip() for text in request.overrides},
        # What was measured at the start of the run stays.
        {name: chosen[name] for name in request.options if not (name in MEASURED and chosen[name] == "auto")},
    )
    diagnostics = check(checked(merged.architecture))
    return Start(request, folder, merged.architecture, dict(merged.options), given, merged.changed, before, diagnostics)


def _is_path(source: str | os.PathLike[str]) -> bool:
    """Whether a source is a path, not YAML text; see ``load``."""
    return isinstance(source, os.PathLike) or (
        isinstance(source, str) and not ("\n" in source or source.lstrip().startswith("{"))
    )


def _name(source: str | os.PathLike[str]) -> str:
    return str(source) if _is_path(source) else "<text>"


def _expect_run(source: str | os.PathLike[str]) -> None:
    """Refuse to resume from a path that is neither a file nor a run folder."""
    if not _is_path(source):
        return
    refuse_sweep(Path(source))
    hint = "give the run folder that 'epgraph train' left, or the network file"
    if os.path.isdir(source) and not os.path.exists(Path(source) / "architecture.yaml"):
        raise EpgraphError(f"{source} is no run folder: it has no architecture.yaml", hint)
    if not os.path.exists(source):
        raise EpgraphError(f"there is no run folder {source}", hint)


def _path(request: Request, architecture: Architecture) -> Path:
    if request.out is not None:
        return request.out
    if request.resume and _is_path(request.source) and Path(request.source).is_dir():
        return Path(request.source)
    if architecture.data.name is None:
        raise EpgraphError(replace(NO_DATA, hint=f"{NO_DATA.hint}; with --resume, FILE may be the run folder"))
    return Path("runs") / f"{slug(architecture.name)}-{slug(architecture.data.name)}"


def _check_new(request: Request, folder: RunFolder, architecture: Architecture) -> None:
    """Refuse a folder in which no run can be started."""
    if architecture.data.name is None:
        raise EpgraphError(NO_DATA)
    if not folder.in_use or ((request.resume or launch().restarts) and folder.never_started):
        return
    if request.overwrite:
        folder.check_replaceable()
        return
    if finished(folder.path):
        raise EpgraphError(
            f"the run folder {folder.path} holds a finished run",
            "train it further with --resume and more --epochs, start over with --overwrite, or name --out",
        )
    raise EpgraphError(
        f"the run folder {folder.path} is in use", "continue with --resume, start over with --overwrite, or name --out"
    )


def _file_alone(request: Request, architecture: Architecture) -> dict[str, Any]:
    """Settings of the network file without overrides."""
    if request.overrides:
        try:
            return load(request.source, (), request.allow_include).to_dict(complete=True)
        except EpgraphError:
            pass  # the file is valid only with the overrides
    return architecture.to_dict(complete=True)

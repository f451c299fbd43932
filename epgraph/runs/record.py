"""``run.json``: every setting of a run, and the changes at each resumption."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from epgraph.errors import EpgraphError
from epgraph.files import read_bytes
from epgraph.runs.folder import replace
from epgraph.runs.launch import launch

VERSION = 2
MAX_BYTES = 64 << 20


class Invocation(BaseModel):
    """One start of a run: the first one, or a resumption.

    Attributes
    ----------
    epoch, batch
        Position at the start: finished epochs, and finished batches of the next one.
    changed
        Changed settings: name → [before, now].
    """

    model_config = ConfigDict(extra="forbid")

    command: list[str]
    started: str
    directory: str
    git: str | None
    versions: dict[str, str]
    machine: dict[str, str | int]
    epoch: int = 0
    batch: int = 0
    changed: dict[str, tuple[Any, Any]] = Field(default_factory=dict)


class Given(BaseModel):
    """The network file without the overrides of the command line; a resumption compares the edited file with it."""

    model_config = ConfigDict(extra="forbid")

    file: str
    settings: dict[str, Any]


class Options(BaseModel):
    """Options of the command line that a run keeps, defaults included. A resumption takes missing options from here."""

    model_config = ConfigDict(extra="forbid", strict=True)

    dtype: Literal["float32", "float64", "bfloat16", "float16"]
    device: Annotated[str, Field(pattern=r"^(cpu|cuda|mps|xpu)(:\d+)?$")]
    backend: str
    threads: Annotated[int, Field(ge=1)]
    workers: Annotated[int, Field(ge=0)]


class Record(BaseModel):
    """The content of ``run.json``.

    Attributes
    ----------
    settings
        Every setting of the network file, overridden values and defaults included.
    options
        Every option of the command line, defaults included. Those that were ``auto`` have what was chosen.
    measured
        What ``dtype: auto`` and ``threads: auto`` measured, by the name of the option.
    data
        ``epgraph.data.Data.facts`` of the training: content hash, numbers of examples, mean, standard deviation.
    history
        The first start and all resumptions.
    finished
        Whether the last epoch was reached.
    """

    model_config = ConfigDict(extra="forbid")

    epgraph_run: int = VERSION
    settings: dict[str, Any]
    given: Given
    options: Options
    measured: dict[str, dict[str, Any]] = Field(default_factory=dict)
    data: dict[str, Any]
    weights_from: str | None = None
    finished: bool = False
    history: list[Invocation] = Field(min_length=1)

    @classmethod
    def read(cls, folder: Path) -> Record:
        """Read the record of a run folder.

        Raises
        ------
        EpgraphError
            If there is none, or it is damaged.
        """
        path = folder / "run.json"
        hint = "name a folder that 'epgraph train' or 'epgraph sweep' left"
        if folder.is_dir() and not path.exists():
            raise EpgraphError(f"{folder} is no run folder: it has no run.json", hint)
        try:
            content = json.loads(read_bytes(path, MAX_BYTES, hint))
            if isinstance(content, dict) and content.get("epgraph_run", VERSION) != VERSION:
                raise EpgraphError(f"{path}: written by another version of epgraph", "use that version")
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            at = ".".join(map(str, first["loc"]))
            raise EpgraphError(f"{path}: damaged: {at or 'the file'}: {first['msg']}", _DAMAGED) from None
        except (ValueError, RecursionError) as error:
            raise EpgraphError(f"{path}: damaged: {error}", _DAMAGED) from None

    def write(self, folder: Path) -> None:
        """Write ``run.json``, completely or not at all."""
        text = self.model_dump_json(indent=1) + "\n"
        replace(folder / "run.json", lambda path: path.write_text(text, encoding="utf-8"))


_DAMAGED = "start over with --overwrite; the weights in last.pt can be used with --from"


def finished(folder: Path) -> bool:
    """Whether the run in a folder reached its last epoch."""
    try:
        return Record.read(folder).finished
    except EpgraphError:
        return False


def invocation(arguments: Sequence[str] | None = None) -> Invocation:
    """Describe this start: the command, the versions and the machine, and with torchrun the job."""
    here = launch()
    job: dict[str, str | int] = {"job": here.name, "processes": here.size} if here.name else {}
    return Invocation(
        command=list(sys.argv if arguments is None else arguments),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        directory=str(Path.cwd()),
        git=_git_commit(),
        versions={"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        machine={"system": platform.platform(), "processor": _processor(), "cores": os.cpu_count() or 1} | job,
    )


PACKAGES = ("epgraph", "torch", "torchvision", "numpy")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _git_commit() -> str | None:
    """Commit of the git repository around the working directory, or None."""
    try:
        process = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return process.stdout.strip() or None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())

"""A run folder: the files that a training writes, and the replacement of an old run without losing it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from epgraph.errors import EpgraphError, listed

FILES = (
    "architecture.yaml",
    "architecture.schema.json",
    "run.json",
    "metrics.jsonl",
    "batches.jsonl",
    "last.pt",
    "best.pt",
    "network.svg",
    "curves.png",
    "explore.html",
)
"""Files that a run writes, and those that are made of it."""

_KEPT = re.compile(r"epoch-[0-9]{3,7}\.pt")
"""Checkpoints that ``training.checkpoint_epochs`` keeps."""

BOARD = "tensorboard"
LOCK = ".lock"
PID = ".lock.pid"
REPLACED = ".replaced"
"""Subfolder of the run that ``--overwrite`` replaces. It is deleted when the new run has finished."""

MOVING = ".replaced.partial"
"""``REPLACED`` while files are moved there or back."""

PARTIAL = ".partial"
"""Suffix of a file that is being written."""


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run folder, and the moves of whole runs.

    Only files that a run wrote are ever deleted: ``foreign`` names all others, and ``set_aside`` refuses them.
    """

    path: Path

    def __post_init__(self) -> None:
        text = str(self.path)
        if not text or "\0" in text or self.path.name in ("", ".."):
            raise EpgraphError(f"'{text}' cannot be a run folder", "name a new folder with --out, e.g. runs/first")
        if self.path.is_symlink():
            raise EpgraphError(f"{self.path} is a link and cannot be a run folder", "name the folder itself with --out")
        if self.path.exists() and not self.path.is_dir():
            raise EpgraphError(f"{self.path} is a file", "name a folder with --out")

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def is_run(self) -> bool:
        """Whether a run was started here."""
        return (self.path / "run.json").is_file()

    @property
    def has_checkpoint(self) -> bool:
        """Whether the run can be resumed."""
        return (self.path / "last.pt").exists()

    @property
    def in_use(self) -> bool:
        """Whether the folder holds anything but the lock, and files that were never written to their end."""
        return bool(self._names() - {LOCK, PID, *(name + PARTIAL for name in FILES)})

    @property
    def never_started(self) -> bool:
        """Whether a run was stopped here before its first checkpoint: nothing is lost if it is replaced."""
        return self.is_run and not self.has_checkpoint and not (self.path / "metrics.jsonl").exists()

    def check_replaceable(self) -> None:
        """Refuse to replace a folder that holds anything but one run.

        Raises
        ------
        EpgraphError
            If it does; the message names the other files.
        """
        if not self.is_run and not self._has(REPLACED):
            raise EpgraphError(f"{self.path} holds files but is no run folder", "name another folder with --out")
        if foreign := self.foreign():
            raise EpgraphError(
                f"{self.path} holds files that no run of epgraph wrote: {listed(foreign)}",
                "name another folder with --out, or move these files away",
            )

    def foreign(self) -> list[str]:
        """Sorted names in the folder that no run writes; a link counts as foreign."""
        names = [name for name in self._names() if not self._ours(self.path / name, name)]
        names += [
            f"{BOARD}/{entry.name}"
            for entry in self._entries(BOARD)
            if entry.is_symlink() or not entry.is_file() or not entry.name.startswith("events.out.tfevents.")
        ]
        for folder in (REPLACED, MOVING):
            names += [
                f"{folder}/{name}" for name in (RunFolder(self.path / folder).foreign() if self._has(folder) else ())
            ]
        return sorted(names)

    def recover(self) -> None:
        """Undo an interrupted move of an old run, and remove partial files."""
        if self._has(MOVING):
            for entry in self._entries(MOVING):
                target = self.path / entry.name
                if not target.exists():
                    entry.rename(target)
            shutil.rmtree(self.path / MOVING)
        for name in self._names():
            if name.endswith(PARTIAL) and not (self.path / name).is_dir():
                (self.path / name).unlink()

    def set_aside(self, finished: Callable[[Path], bool]) -> None:
        """Move the present run into ``REPLACED``, where it stays until ``forget_replaced``.

        If ``REPLACED`` holds another run, whose replacement was stopped, one of the two is deleted: the present run if
        only the other one has ``finished``, else the other one.

        Raises
        ------
        EpgraphError
            If the folder holds anything but one run. Then nothing is moved.
        """
        if not self.in_use:
            return
        self.check_replaceable()
        replaced = self.path / REPLACED
        if replaced.is_dir() and finished(replaced) and not finished(self.path):
            self._delete_run()
            return
        shutil.rmtree(replaced, ignore_errors=True)
        self._move_to(self.path / MOVING)
        (self.path / MOVING).rename(replaced)

    def restore_replaced(self) -> None:
        """Delete the present run, and move the run in ``REPLACED`` back."""
        if self._has(REPLACED):
            self._delete_run()
            (self.path / REPLACED).rename(self.path / MOVING)
            self.recover()

    def forget_replaced(self) -> None:
        """Delete the replaced run."""
        shutil.rmtree(self.path / REPLACED, ignore_errors=True)

    def _has(self, name: str) -> bool:
        return (self.path / name).is_dir()

    def _names(self) -> set[str]:
        return {entry.name for entry in self._entries()}

    def _entries(self, *inside: str) -> list[Path]:
        folder = self.path.joinpath(*inside)
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def _ours(self, path: Path, name: str) -> bool:
        if path.is_symlink():
            return False
        if name in (BOARD, REPLACED, MOVING):
            return path.is_dir()
        written = name.removesuffix(PARTIAL)
        return path.is_file() and (name in (LOCK, PID) or written in FILES or bool(_KEPT.fullmatch(written)))

    def _move_to(self, target: Path) -> None:
        target.mkdir()
        for name in self._run_names():
            (self.path / name).rename(target / name)

    def _delete_run(self) -> None:
        for name in self._run_names():
            path = self.path / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _run_names(self) -> list[str]:
        """Names of the present run's files."""
        return sorted(self._names() - {LOCK, PID, REPLACED, MOVING})


class WriteError(Exception):
    """A file of a run cannot be written: ``path`` and the system's ``reason``."""

    def __init__(self, path: Path, error: BaseException) -> None:
        cause = _of_the_system(error) or error
        reason = getattr(cause, "strerror", None) or str(cause).strip().split("\n")[0]
        super().__init__(f"{path}: cannot be written: {reason}")


def _of_the_system(error: BaseException | None) -> OSError | None:
    """Return the system's error below another one: where a write fails, torch raises that its positions differ."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file completely or not at all: ``write`` fills a partial file, which is then renamed to ``path``.

    Raises
    ------
    WriteError
        If that fails. The old file is unchanged, and no partial file is left.
    """
    partial = path.with_name(path.name + PARTIAL)
    try:
        write(partial)
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:  # torch raises RuntimeError if the disk is full
        partial.unlink(missing_ok=True)
        raise WriteError(path, error) from None
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def slug(text: str) -> str:
    """Turn a text into the name of a folder."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:80].lower() or "run"

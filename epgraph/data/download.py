"""Check for the files of torchvision's data sets, and download them."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from epgraph.errors import EpgraphError

START_AGAIN = "remove that folder, then pass --download or put the files there again"


@dataclass(frozen=True)
class Files:
    """The files of the data set ``name``: torchvision's class, their folder, and a function that lists missing ones.

    ``options`` are those with which the class downloads one part each.
    """

    name: str
    class_name: str
    folder: Path
    absent: Callable[[], list[str]]
    options: Sequence[Mapping[str, Any]] = ({},)

    def lacking(self) -> str:
        """Return what is missing, in words, or an empty string."""
        if not self.folder.is_dir():
            return "there is no such folder"
        names = self.absent()
        return f"no {', '.join(names)}" if names else ""


def make_available(files: Files, root: Path, *, download: bool) -> None:
    """Download the files if some are missing and ``download`` allows it.

    Raises
    ------
    EpgraphError
        If files are missing, or the download fails.
    """
    if download and files.lacking():
        _download(files, root)
    if lacking := files.lacking():
        raise EpgraphError(f"{files.name} is not in {files.folder}: {lacking}", _where_from(files, root))


def _where_from(files: Files, root: Path) -> str:
    archive = getattr(torchvision_class(files.class_name), "filename", None)
    if archive and (root / archive).is_file():
        return f"unpack it: tar -xzf {root / archive} -C {root}"
    return "pass --download, or put the files there"


def _download(files: Files, root: Path) -> None:
    """Download to a temporary folder and move complete files: an aborted run leaves no partial file."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as temporary, old_pickles():
            for options in files.options:
                torchvision_class(files.class_name)(temporary, download=True, **options)
            for file in sorted(Path(temporary).rglob("*")):
                # torchvision has unpacked the archives.
                if file.is_file() and file.suffix != ".gz":
                    target = root / file.relative_to(temporary)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(file, target)
    # URLError is an OSError. torchvision raises RuntimeError if every mirror failed or a checksum is wrong.
    except (OSError, RuntimeError, HTTPException) as error:
        raise EpgraphError(
            f"{files.name} cannot be downloaded into {root}: {' '.join(str(error).split())}",
            f"check the network, or put the files in {files.folder}",
        ) from error


@contextmanager
def old_pickles() -> Iterator[None]:
    """Silence the warning of numpy 2.4.0 to 2.4.4 about a dtype in CIFAR's pickles, which Python 2 wrote."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"dtype\(\): align should be")
        yield


def torchvision_class(class_name: str) -> Any:
    """Return the class of torchvision's data set."""
    from torchvision import datasets

    return getattr(datasets, class_name)

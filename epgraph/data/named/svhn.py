"""SVHN, house numbers in color, as torchvision reads it."""

from __future__ import annotations

from pathlib import Path

from epgraph.data.download import START_AGAIN, Files, make_available, torchvision_class
from epgraph.data.pictures import DataSet, Pictures, array_pictures
from epgraph.data.recipes import Recipe
from epgraph.errors import EpgraphError

_CLASS = "SVHN"


def _read(root: Path, download: bool) -> Pictures:
    make = torchvision_class(_CLASS)
    parts = {part: make.split_list[part][1] for part in ("train", "test")}

    def absent() -> list[str]:
        return [file for file in parts.values() if not (root / file).is_file()]

    options = [{"split": part} for part in parts]
    make_available(Files("svhn", _CLASS, root, absent, options), root, download=download)
    try:
        train, test = (make(root, **one) for one in options)
    # torchvision compares checksums before it reads, and raises RuntimeError where they differ.
    except (RuntimeError, OSError, ValueError) as error:
        raise EpgraphError(f"the files of svhn in {root} are damaged", START_AGAIN) from error
    first, second = ((part.data.transpose(0, 2, 3, 1), part.labels.tolist()) for part in (train, test))
    return array_pictures(first, second, "0123456789")


DATA_SETS = {
    "svhn": DataSet(
        Recipe((3, 32, 32), 10, (0.4377, 0.4438, 0.4728), (0.198, 0.201, 0.197)),
        _read,
        (73257, 26032),
        "House numbers in color. There is no published recipe for EP; mean and deviation are the usual ones.",
    ),
}

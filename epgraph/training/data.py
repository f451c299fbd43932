"""The data set that a network is trained or tested on."""

from __future__ import annotations

import os

from epgraph.data import Data, load_data
from epgraph.errors import Diagnostic, EpgraphError
from epgraph.language import Architecture


def data_for(
    architecture: Architecture,
    name: str,
    *,
    root: str | os.PathLike[str] = "data",
    download: bool = False,
    limit: int | None = None,
    augment: bool = True,
    check: bool = True,
) -> Data:
    """Load a data set for an architecture, augmented as ``training.augment`` says.

    ``augment`` and ``check`` switch off the augmentation and the check of the test images; the rest is as for
    ``epgraph.data.load_data``.

    Raises
    ------
    EpgraphError
        Where the two do not fit, naming the line of the network file; or as ``epgraph.data.load_data`` does.
    """
    classes = architecture.output.classes
    if classes is None:
        misfit = Diagnostic(
            f"{name} has labels, but the network's output has a shape in place of classes",
            "write output: {classes: …}, or train on targets of your own from Python",
            at=("output", "shape"),
            rule="data",
        )
        raise EpgraphError(architecture.locate(misfit))
    augmentation = architecture.training.augment if augment else "none"
    try:
        return load_data(
            name,
            shape=architecture.input.shape,
            classes=classes,
            root=root,
            download=download,
            augment=augmentation == "published" if isinstance(augmentation, str) else augmentation,
            limit=limit,
            check=check,
        )
    except EpgraphError as error:
        raise EpgraphError(architecture.locate(d) if d.at else d for d in error.diagnostics) from None

"""The data set that a network is trained or tested on."""

from __future__ import annotations

import os

from epgraph.data import Data, load_data
from epgraph.errors import EpgraphError
from epgraph.graph.checks.data import NO_DATA
from epgraph.language import Architecture


def data_for(
    architecture: Architecture,
    name: str | None = None,
    *,
    root: str | os.PathLike[str] | None = None,
    download: bool = False,
    limit: int | None = None,
    augment: bool = True,
    check: bool = True,
) -> Data:
    """Load the data set of an architecture, prepared as its section ``data`` says.

    ``name`` and ``limit`` stand in place of those of the section: another data set is used whole unless ``limit`` is
    given. ``augment`` and ``check`` switch off the augmentation and the check of the test images; the rest is as for
    ``epgraph.data.load_data``.

    Raises
    ------
    EpgraphError
        Where the two do not fit, naming the line of the network file; or as ``epgraph.data.load_data`` does.
    """
    section, output = architecture.data, architecture.output
    if name is None:
        name, limit = section.name, section.limit if limit is None else limit
    if name is None:
        raise EpgraphError(NO_DATA)
    try:
        return load_data(
            name,
            shape=architecture.input.shape,
            classes=output.classes,
            targets=output.shape,
            root=section.root if root is None else root,
            download=download,
            augment=section.augmentation if augment else False,
            normalize=section.normalizing,
            limit=limit,
            validation=section.validation,
            seed=section.seed,
            check=check,
        )
    except EpgraphError as error:
        raise EpgraphError(architecture.locate(d) if d.at else d for d in error.diagnostics) from None

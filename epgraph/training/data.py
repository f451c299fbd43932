"""The data set that a network is trained or tested on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from epgraph.data import Data, load_data
from epgraph.data.examples import Examples
from epgraph.data.own import Like
from epgraph.data.sets import TENSORS
from epgraph.errors import Diagnostic, EpgraphError, listed
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


def as_in_the_run(data: Data, facts: Mapping[str, Any]) -> Data:
    """Return data whose test examples are normalized as those of a run, with a warning about what is unlike them.

    Parameters
    ----------
    facts
        What the record of the run says of its data; empty where nothing is known.
    """
    like = Like.recorded(facts, data.shape, 0)
    if like is None:
        return data
    warnings = list(data.warnings)
    classes = tuple(facts["classes"])
    # Arrays have no names of classes.
    if data.classes and classes and data.classes != classes and not data.name.startswith(TENSORS):
        message = f"the classes of {data.name} ({listed(data.classes)}) are not those of the run ({listed(classes)})"
        warnings.append(_doubt(message, "label 0 is the first class of each: see that they mean the same"))
    own, test, run = data.recipe, data.test, None if like.as_they_are else like.recipe
    if own is None or run is None or not own.images or Like(data.name, data.shape, own).as_they_are:
        return replace(data, warnings=tuple(warnings))
    recipe = replace(own, mean=run.mean, std=run.std)
    if len(recipe.mean) in (0, recipe.shape[0]) and recipe != own:
        message = f"the images of {data.name} are normalized as those of {like.name}, on which the run was trained"
        mean, std = recipe.normalization()
        warnings.append(_doubt(message, f"mean {mean}, deviation {std}"))
        preparation = replace(test.preparation, recipe=recipe)
        test = Examples(test.images, test.targets, preparation, test.order)
    return replace(data, test=test, warnings=tuple(warnings))


def _doubt(message: str, hint: str) -> Diagnostic:
    return Diagnostic(message, hint, severity="warning", rule="data")

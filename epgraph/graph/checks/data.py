"""The named data set fits the network: what can be said without its files."""

from __future__ import annotations

from dataclasses import replace

from epgraph.data.sets import adapted, data_named, in_files
from epgraph.errors import Diagnostic, EpgraphError
from epgraph.language import Architecture

NO_DATA = Diagnostic(
    "no data set is named", "write data: {name: digits} in the file, or pass --data digits", rule="data"
)


def data_refusals(architecture: Architecture) -> list[Diagnostic]:
    """Return the reasons why a network cannot be trained on the data set that its file names, located.

    They are no part of ``check``: a network is compiled and evaluated on other data, and without any.
    """
    section, output = architecture.data, architecture.output
    if section.name is None or in_files(section.name):
        return []
    wanted = output.shape if output.classes is None else output.classes
    assert wanted is not None, "an output has one of the two"
    try:
        recipe = data_named(section.name).recipe
        *_, problems = adapted(
            section.name, recipe, architecture.input.shape, wanted, section.augmentation, section.normalizing
        )
    except EpgraphError as error:
        problems = [replace(problem, at=("data", "name")) for problem in error.diagnostics]
    return [architecture.locate(problem) for problem in problems]

"""Every built-in activation, for the tests that hold for all of them: a new one enters them from here."""

from __future__ import annotations

from dataclasses import fields

from epgraph.activations import NAMED, Activation
from epgraph.activations.language import FAMILIES
from epgraph.activations.relu import ReLU

VARIANTS: dict[str, tuple[Activation, ...]] = {
    name: tuple(
        family(*map(float, values))
        for values in zip(*(one.metadata["examples"] for one in fields(family)), strict=True)
    )
    for name, family in FAMILIES.items()
}
"""Members of each family with other options than its defaults: the first examples of all options, and so on."""

assert all(len(members) > 1 for members in VARIANTS.values()), "give every option two examples"

WITHOUT_LEVEL = [*NAMED.values(), *(member for members in VARIANTS.values() for member in members)]

LEVELS: list[tuple[Activation, float]] = [*((a, 1.0) for a in WITHOUT_LEVEL), (ReLU(6, 6), 6.0), (ReLU(1, 9), 2.5)]
"""With the level α that their methods are given."""

WRITTEN = ("relu6", "relu1", {"relu": [0.5, 4.0]}, "identity", *FAMILIES, {"tanh": {"height": 2}})
"""An activation of every kind, as a file has it."""

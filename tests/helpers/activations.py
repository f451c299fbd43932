"""Every built-in activation, for the tests that hold for all of them: a new one enters them from here."""

from __future__ import annotations

from epgraph.activations import NAMED, Activation, Logistic, ReLU, Softclip, Tanh
from epgraph.activations.language import FAMILIES

VARIANTS: dict[str, tuple[Activation, ...]] = {
    "softclip": (Softclip(6, 12), Softclip(0.7, 5)),
    "tanh": (Tanh(2, 3), Tanh(0.5)),
    "logistic": (Logistic(1, 1, 0.5), Logistic(0.25, 2, -1)),
}
"""Members of each family with other options than its defaults."""

assert VARIANTS.keys() == FAMILIES.keys(), "give every family members with options here"

WITHOUT_LEVEL = [*NAMED.values(), *(member for members in VARIANTS.values() for member in members)]

LEVELS: list[tuple[Activation, float]] = [*((a, 1.0) for a in WITHOUT_LEVEL), (ReLU(6, 6), 6.0), (ReLU(1, 9), 2.5)]
"""With the level α that their methods are given."""

WRITTEN = ("relu6", "relu1", {"relu": [0.5, 4.0]}, "identity", *FAMILIES, {"tanh": {"height": 2}})
"""An activation of every kind, as a file has it."""

"""Names of values in emitted code: the user's own, made into identifiers, each once."""

from __future__ import annotations

import keyword
import re

ROLES = {
    "state": "s",
    "next": "n",
    "weight": "w",
    "bias": "b",
    "alpha": "a",
    "constant": "c",
    "force": "f",
    "prepared": "p",
    "carried": "k",
    "scratch": "t",
    "pair": "pair",
}
"""Prefix of each kind of value; what a name starts with in emitted code."""


class Names:
    """Gives every value of a network a Python identifier, the same in all functions."""

    def __init__(self) -> None:
        self._given: dict[tuple[str, str], str] = {}
        self._taken: set[str] = {"self", "torch", "inf", "nan", "device"}

    def __call__(self, role: str, name: str) -> str:
        """Identifier of the value ``name`` in a role of ``ROLES``, e.g. ``s_h1a`` for the state h1a."""
        if (role, name) not in self._given:
            self._given[role, name] = self._free(f"{ROLES[role]}_{name}")
        return self._given[role, name]

    def fresh(self, role: str, name: str) -> str:
        """Identifier that nothing else has, even for the same name."""
        return self._free(f"{ROLES[role]}_{name}")

    def function(self, name: str) -> str:
        """Identifier of a function, the same whenever it is asked for."""
        if ("function", name) not in self._given:
            self._given["function", name] = self._free(name)
        return self._given["function", name]

    def _free(self, wanted: str) -> str:
        base = re.sub(r"\W", "_", wanted)
        if base[0].isdigit() or keyword.iskeyword(base):
            base = f"_{base}"
        name, count = base, 1
        while name in self._taken:
            count += 1
            name = f"{base}_{count}"
        self._taken.add(name)
        return name

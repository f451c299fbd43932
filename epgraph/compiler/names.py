"""Identifiers of emitted code: the user's names with a prefix for the role of the value, each unique.

torch.fx's own names are not used. It lowers their case and numbers them: the states ``Y`` and ``y``, or ``hA`` and
``h_a``, would share a name.
"""

from __future__ import annotations

import builtins
import keyword
import re

from epgraph.compiler.helpers import namespace

ROLES = {
    "state": "s",
    "next": "n",
    "constant": "c",
    "force": "f",
    "bias": "b",
    "alpha": "a",
    "weight": "w",
    "feedback": "v",
    "prepared": "p",
    "carried": "k",
    "scratch": "t",
}
"""Role of a value → prefix of its identifier. Functions have no prefix."""

SHARED = {
    "y": "target",
    "beta": "strength",
    "omega": "step",
    "weights": "weight of an example",
    "input": "result",
    "phi": "result",
    "own": "result",
    "energy": "result",
    "output": "result",
}
"""Identifiers and roles of the values that exist once per network. No user's name maps to one of them."""

PARAMETERS = frozenset({"weight", "feedback", "bias", "alpha"})
"""Roles of parameters."""

BATCHED = frozenset({"state", "next", "force", "carried"})
"""Roles of values with one row per example."""

ORDER = tuple(dict.fromkeys((*ROLES, *SHARED.values())))
"""Roles in the order in which a sweep takes its arguments."""

RESERVED = frozenset({*keyword.kwlist, *dir(builtins), *namespace()})
"""Names that emitted code uses with their own meaning, so no value may have them."""


_FOREIGN = re.compile("[^0-9A-Za-z_]")


class Scope:
    """Identifiers in use in one scope: in one function, or among the values of one network."""

    def __init__(self, taken: set[str] | frozenset[str] = frozenset()) -> None:
        self._taken = set(taken)
        self._counts: dict[str, int] = {}

    def take(self, wanted: str) -> str:
        """Return an unused identifier and mark it as used: ``wanted`` itself if possible."""
        base = _FOREIGN.sub("_", wanted)
        if not base or base[0].isdigit():
            base = f"_{base}"
        name = base
        while name in self._taken or name in RESERVED:
            self._counts[base] = count = self._counts.get(base, 1) + 1
            name = f"{base}_{count}"
        self._taken.add(name)
        return name


class Names:
    """Maps every value and function of a network to one identifier."""

    def __init__(self) -> None:
        self._given: dict[tuple[str | int, ...], str] = {}
        self._meaning: dict[str, tuple[str, str]] = {name: (role, name) for name, role in SHARED.items()}
        self._scope = Scope(frozenset(SHARED))

    def __call__(self, role: str, *name: str | int) -> str:
        """Identifier of a role and a name, e.g. ``s_h1a`` for ("state", "h1a").

        A name may have several parts. Names that differ in any part have different identifiers, even if their parts
        joined give the same text.
        """
        key = (role, *name)
        if key not in self._given:
            self._given[key] = self.fresh(role, "_".join(map(str, name)))
        return self._given[key]

    def fresh(self, role: str, name: str) -> str:
        """New identifier, different from all others, even for the same name."""
        prefix = f"{ROLES[role]}_" if role in ROLES else ""
        made = self._scope.take(f"{prefix}{name}")
        self._meaning[made] = role, name
        return made

    def role(self, identifier: str) -> str | None:
        """Role of a value; None for an unknown identifier."""
        return self._meaning.get(identifier, (None, ""))[0]

    def name(self, identifier: str) -> str:
        """Name behind an identifier."""
        return self._meaning[identifier][1]

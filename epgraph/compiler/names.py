"""Identifiers of emitted code: the user's own names with a prefix for the role of the value, no two values alike.

torch.fx is not asked for names. It writes them in lower case and numbers them, so that the states ``Y`` and ``y``, or
``hA`` and ``h_a``, would have one name.
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
"""Prefix of every role of a value. A function has none."""

SHARED = {
    "y": "target",
    "beta": "strength",
    "omega": "step",
    "phi": "result",
    "own": "result",
    "energy": "result",
    "output": "result",
}
"""Values that a network has once, by their identifiers, and their roles. No name of the user's gives one of these."""

PARAMETERS = frozenset({"weight", "feedback", "bias", "alpha"})
"""Roles of parameters."""

BATCHED = frozenset({"state", "next", "force", "carried"})
"""Roles of values that have a row for every example."""

ORDER = tuple(dict.fromkeys((*ROLES, *SHARED.values())))
"""Roles in the order in which a sweep takes its arguments."""

RESERVED = frozenset({*keyword.kwlist, *dir(builtins), *namespace()})
"""What no value may be called: emitted code needs these names for themselves."""


_FOREIGN = re.compile("[^0-9A-Za-z_]")


class Scope:
    """Identifiers that are in use at one place: in one function, or among the values of one network."""

    def __init__(self, taken: set[str] | frozenset[str] = frozenset()) -> None:
        self._taken = set(taken)
        self._counts: dict[str, int] = {}

    def take(self, wanted: str) -> str:
        """Return an identifier that was not in use, and is from now on: ``wanted`` where that is possible."""
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
    """Gives every value and every function of a network an identifier, the same wherever it is asked for."""

    def __init__(self) -> None:
        self._given: dict[tuple[str | int, ...], str] = {}
        self._meaning: dict[str, tuple[str, str]] = {name: (role, name) for name, role in SHARED.items()}
        self._scope = Scope(frozenset(SHARED))

    def __call__(self, role: str, *name: str | int) -> str:
        """Identifier of what has a name in a role, e.g. ``s_h1a`` for ("state", "h1a").

        A name may have several parts. What differs in a part has another identifier, even where the parts in a row read
        the same.
        """
        key = (role, *name)
        if key not in self._given:
            self._given[key] = self.fresh(role, "_".join(map(str, name)))
        return self._given[key]

    def fresh(self, role: str, name: str) -> str:
        """Identifier that nothing else has, even for the same name."""
        prefix = f"{ROLES[role]}_" if role in ROLES else ""
        made = self._scope.take(f"{prefix}{name}")
        self._meaning[made] = role, name
        return made

    def role(self, identifier: str) -> str | None:
        """Role of a value; None for an identifier that was not given by this."""
        return self._meaning.get(identifier, (None, ""))[0]

    def name(self, identifier: str) -> str:
        """Name that an identifier was given for."""
        return self._meaning[identifier][1]

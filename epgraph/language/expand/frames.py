"""Frames: one scope of names for the file and for each instance of a block."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from epgraph.errors import Location
from epgraph.language.document import Origin
from epgraph.language.expand.parameter_origins import ParameterOrigins
from epgraph.language.sugar import BlockSpec

Value = tuple[Any, Origin]
"""A default and its origin."""


@dataclass(frozen=True)
class Cascade:
    """Defaults of a frame, merged from the file, the block and the instance.

    Attributes
    ----------
    keys, kinds
        Defaults of states and edges, and options of kinds.
    broken
        Kinds with invalid options: edges of such a kind are left out.
    """

    keys: dict[str, Value] = field(default_factory=dict)
    kinds: dict[str, dict[str, Value]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)

    def under(self, later: Cascade) -> Cascade:
        """Return these defaults, overridden by ``later``."""
        kinds = {name: dict(options) for name, options in self.kinds.items()}
        for name, options in later.kinds.items():
            kinds[name] = {**kinds.get(name, {}), **options}
        return Cascade({**self.keys, **later.keys}, kinds, self.broken | later.broken)


class Broken:
    """Stands for a state or an instance with a reported error, so that references to it are not reported again."""


BROKEN = Broken()


@dataclass(frozen=True, slots=True)
class MadeEdge:
    """An edge of the flat form, with its name in the frame.

    Attributes
    ----------
    index
        Position among the edges of the flat form.
    name
        Its explicit name, if any.
    unnamed
        Its default name, before equal names are numbered.
    """

    index: int
    name: str | None
    unnamed: str


@dataclass
class Frame:
    """Scope of names: the file, or one instance of a block.

    Attributes
    ----------
    dotted, prefix
        Prefixes of the names of its states, in the user's notation and in the flat form.
    at
        Location of its states and edges.
    scope
        Values of parameters.
    members
        Local name → flat name of a state, or an instance, in order. The name of a row means its last instance.
    reach, reach_flat
        All states inside, inner instances included: dotted name within the frame → flat name, and back.
    edges
        Its own edges, without those of inner instances.
    empty
        Rows of no instances.
    parameter_origins
        Where the values of its parameters stand.
    ports
        Port → flat name of its state; None for a port that the instance does not bind.
    """

    dotted: str
    prefix: str
    at: Location
    scope: dict[str, Any]
    cascade: Cascade
    parent: Frame | None = None
    block: str | None = None
    spec: BlockSpec | None = None
    instance: Location = ()
    trail: tuple[str, ...] = ()
    members: dict[str, str | Frame | Broken] = field(default_factory=dict)
    reach: dict[str, str] = field(default_factory=dict)
    reach_flat: dict[str, str] = field(default_factory=dict)
    children: list[Frame] = field(default_factory=list)
    ports: dict[str, str | Broken | None] = field(default_factory=dict)
    edges: list[MadeEdge] = field(default_factory=list)
    before: Frame | None = None
    bindings: dict[str, Any] = field(default_factory=dict)
    empty: set[str] = field(default_factory=set)
    parameter_origins: ParameterOrigins = field(default_factory=ParameterOrigins)
    out: str | Broken = BROKEN

    @property
    def depth(self) -> int:
        """Number of blocks around its states."""
        return 0 if self.parent is None else self.parent.depth + 1

    def path(self) -> list[str]:
        """Names of the blocks around its states, outermost first."""
        return [*(self.parent.path() if self.parent else []), *([self.block] if self.block else [])]

    def outputs(self) -> dict[str, str]:
        """Return the outputs of all instances inside, inner ones included, by dotted name within the frame."""
        found: dict[str, str] = {}
        level = [("", self)]
        while level:
            way, frame = level.pop()
            for child in frame.children:
                name = way + child.dotted.rpartition(".")[2]
                if isinstance(child.out, str):
                    found[name] = child.out
                level.append((f"{name}.", child))
        return found

    def __contains__(self, name: str) -> bool:
        return name in self.members or name in self.ports

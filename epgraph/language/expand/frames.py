"""What an expansion works on: the frames of instances, and what their names refer to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from epgraph.errors import Location
from epgraph.language.document import Origin
from epgraph.language.expand.parameter_origins import ParameterOrigins
from epgraph.language.sugar import BlockSpec

Value = tuple[Any, Origin]
"""A default, and where it stands."""


@dataclass(frozen=True)
class Cascade:
    """Defaults that reach a frame from the block, the instance, and what holds them.

    Attributes
    ----------
    keys, kinds
        Those of states and edges, and options of kinds.
    broken
        Kinds whose options are wrong, so that nothing is known about edges of that kind.
    """

    keys: dict[str, Value] = field(default_factory=dict)
    kinds: dict[str, dict[str, Value]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)

    def under(self, later: Cascade) -> Cascade:
        """Return these defaults with others put over them."""
        kinds = {name: dict(options) for name, options in self.kinds.items()}
        for name, options in later.kinds.items():
            kinds[name] = {**kinds.get(name, {}), **options}
        return Cascade({**self.keys, **later.keys}, kinds, self.broken | later.broken)


class Broken:
    """Stands for a state or an instance that could not be made, so that nothing is said about what refers to it."""


BROKEN = Broken()


@dataclass(frozen=True, slots=True)
class MadeEdge:
    """An edge of the flat form, as the frame that it stands in names it.

    Attributes
    ----------
    index
        Its place among the edges of the flat form.
    name
        The name that it is given, if any.
    unnamed
        What it is called without one, before numbers are put behind equal names.
    """

    index: int
    name: str | None
    unnamed: str


@dataclass
class Frame:
    """The file, or one instance of a block: the names that count inside of it.

    Attributes
    ----------
    dotted, prefix
        What stands before the names of its states, as the user says them and in the flat form.
    at
        Where its states and edges stand.
    scope
        Values of parameters.
    members
        States (their flat names) and instances by local name, in order; the name of a row of instances is its last.
    reach, reach_flat
        Every state inside, also of inner instances: dotted name within the frame → flat name, and back.
    edges
        Its edges, without those of the instances in it.
    empty
        Rows of no instances.
    parameter_origins
        Where the values of its parameters stand.
    ports
        Flat names of the states that the ports are; None for a port that the instance does not bind.
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
        """Return the outputs of the instances inside, also of inner ones, by their dotted names within the frame."""
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

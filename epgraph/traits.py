"""Traits and methods of a user's own class that go together, and options that hide a trait.

A method that is called only where a trait is set has no effect without it, and no message says so. So the class is
refused when it is registered. A trait that follows from a method alone is derived instead (``Solver.mixes``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pydantic import BaseModel

from epgraph.activations import Activation
from epgraph.contract import is_own
from epgraph.costs import Cost
from epgraph.energies import Energy
from epgraph.kinds import Unary
from epgraph.solvers import Solver


class Use(NamedTuple):
    """Methods that are called only where something else of the class says so.

    Attributes
    ----------
    reason
        A trait, or a method that calls for them.
    methods
        Their names.
    needed
        Whether the trait needs them, because the base class has none that work.
    derived
        Whether the trait is set by writing them.
    """

    reason: str
    methods: tuple[str, ...]
    needed: bool = False
    derived: bool = False


USES: dict[type, tuple[Use, ...]] = {
    Activation: (
        Use("learnt", ("excess_contrast",), needed=True),
        Use("invertible", ("inverse",), needed=True, derived=True),
        Use("inverse", ("inverse_pair",)),
        Use("holomorphic", ("holomorphic_derivative",)),
    ),
    Cost: (Use("holomorphic", ("holomorphic_gradient",)),),
    Energy: (Use("feedforward", ("feedback", "send", "reply", "input_gradient"), needed=True),),
    Solver: (Use("step", ("init", "accept")),),
    Unary: (Use("damps", ("concavity",), needed=True),),
}
"""By base class; a method or trait that is written in a class between counts too."""


def mistakes(cls: type, member: object) -> Iterator[tuple[str, str]]:
    """Yield (mistake, hint): methods that nothing would call, missing methods, options that hide traits.

    Parameters
    ----------
    member
        What has the values of the traits: an instance of the class, or the class itself.
    """
    if issubclass(cls, BaseModel):
        for option in hiding(cls):
            hint = f"write '{option}: ClassVar[…]' where it is no option, else choose another name"
            yield f"its option '{option}' has the name of a trait or method", hint
    for base, uses in USES.items():
        for use in uses if issubclass(cls, base) else ():
            written = [name for name in use.methods if _owner(cls, name) is not _owner(base, name)]
            absent = [name for name in use.methods if name not in written]
            stated = _owner(cls, use.reason) is not _owner(base, use.reason)
            if written and not stated and not use.derived:
                is_trait = use.needed or isinstance(getattr(member, use.reason), bool)
                hint = f"set the trait '{use.reason}'" if is_trait else f"write '{use.reason}' too"
                yield f"nothing calls its {_listed(written)} without '{use.reason}'", hint
            if use.needed and stated and absent and getattr(member, use.reason) is True:
                yield f"it sets '{use.reason}' and has no {_listed(absent)}", "write what is missing"


def hiding(cls: type[BaseModel]) -> list[str]:
    """Options of a class with the name of something else in the classes of epgraph that it is derived from.

    ``mixes: bool = True`` without ``ClassVar`` is an option that users see, and not the trait.
    """
    taken = set[str]()
    for owner in cls.__mro__:
        if issubclass(owner, BaseModel) and owner is not BaseModel and not is_own(owner):
            taken |= {*vars(owner), *vars(owner).get("__annotations__", {})} - owner.model_fields.keys()
    return [name for name in cls.model_fields if name in taken]


def _owner(cls: type, name: str) -> type | None:
    return next((owner for owner in cls.__mro__ if name in vars(owner)), None)


def _listed(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)

"""What every solver provides: it turns sweeps into an equilibrium.

A sweep S updates every state once. An equilibrium is a fixed point s = S(s). A solver may do two things to get there
in fewer sweeps: give every update a factor ω (``omega``), or propose other states between two sweeps (``mixes``). As
in optimistix (Rader et al. 2024, arXiv 2402.09983), a solver holds options, and what it remembers of a relaxation is a
value of its own, which ``init`` makes and ``step`` replaces. The loop over sweeps is in ``compiler.sweep``.

To add a solver: write one file beside this one, with a class that has a ``name``; ``epgraph.register_solver`` adds one
from outside. Import torch inside of methods: checking and drawing load none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator

if TYPE_CHECKING:
    from torch import Tensor


class Solver(BaseModel):
    """Base of all solvers. Its fields are the options that the user writes; this class itself is plain sweeps.

    Attributes
    ----------
    name
        Key under which ``dynamics.solver`` has it.
    mixes
        Whether ``step`` proposes states. Then sweeps are not captured as CUDA graphs and not unrolled by
        backpropagation, and complex states and noise are refused.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    name: ClassVar[str]
    mixes: ClassVar[bool] = False

    @model_validator(mode="before")
    @classmethod
    def _first_option(cls, value: Any) -> Any:
        # `anderson: 5` is its first option; `anderson:` has the defaults.
        if value is None:
            return {}
        return value if isinstance(value, dict | cls) or not cls.model_fields else {next(iter(cls.model_fields)): value}

    @property
    def title(self) -> str:
        """What messages call the solver."""
        return self.name

    @property
    def omega(self) -> float:
        """Factor ω by which every update steps towards its new value: s + ω(new − s). 1 takes the new value."""
        return 1.0

    def refusals(self, network: Any, schedule: Any) -> Iterator[tuple[str, str]]:
        """Yield why a network (``NetworkGraph``) cannot use the solver under a schedule, and what to do instead.

        What follows from ``omega`` and ``mixes`` is refused anyway. Loads no torch.
        """
        yield from ()

    def init(self) -> Any:
        """Return what the solver remembers before the first sweep."""
        return None

    def step(self, memory: Any, before: Tensor, after: Tensor) -> tuple[Any, Tensor | None]:
        """Return what to remember, and the states that the next sweep is to start from; None takes ``after``.

        Parameters
        ----------
        before, after
            All states that move, s and S(s), (rows, units), at least in float32. A row is one example; of the pairs of
            nudged states one row is the common part of an example and another its odd part.
        """
        return memory, None

    def accept(self, proposed: Tensor, swept: Tensor) -> Tensor:
        """Which proposals are used, (batch,), by their energy F and that of the plain sweep, (batch,) each.

        Asked in the free phase, where there is an energy. A solver with another rule is not promised to descend.
        """
        return proposed <= swept

    @property
    def descends(self) -> bool:
        """Whether no proposal that has a higher energy than the plain sweep is used."""
        return type(self).accept is Solver.accept

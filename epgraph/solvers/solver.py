"""Base class of solvers, which turn sweeps into an equilibrium.

A sweep S updates every state once. An equilibrium is a fixed point s = S(s). A solver can save sweeps in two ways: by a
factor ω of every update (``omega``), or by proposing other states between two sweeps (``mixes``). As in optimistix
(Rader et al. 2024, arXiv 2402.09983), a solver object holds options only. Its memory of a relaxation is a separate
value: ``init`` returns the first one, and ``step`` the next one. ``compiler.sweep`` has the loop over sweeps.

To add a solver, write one file beside this one, with a class that has a ``name``; ``epgraph.register_solver`` adds one
from outside. Import torch inside methods: checking and drawing load no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator

if TYPE_CHECKING:
    from torch import Tensor


class Solver(BaseModel):
    """Base of all solvers, and plain sweeps by itself. Its fields are the options that the user writes.

    Attributes
    ----------
    name
        Key in ``dynamics.solver``.
    mixes
        Whether the class has a ``step``, which proposes states. It is derived, and not written by hand. Where it is
        true, sweeps are neither captured as CUDA graphs, nor unrolled by backpropagation, nor written by
        ``epgraph compile``; and complex states, ``noise``, ``flow`` and ``state_bits`` are refused.
    errors
        Whether it replaces sweeps by rounds of errors and states. It needs an energy with ``feedforward``, and no
        schedule.
    defaults
        Defaults of keys of ``dynamics`` with this solver, in place of those of the energy.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    name: ClassVar[str]
    mixes: ClassVar[bool] = False
    errors: ClassVar[bool] = False
    defaults: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        super().__pydantic_init_subclass__(**options)
        cls.mixes = cls.step is not Solver.step

    @model_validator(mode="before")
    @classmethod
    def _first_option(cls, value: Any) -> Any:
        # `anderson: 5` gives the first option; `anderson:` means the defaults.
        if value is None:
            return {}
        return value if isinstance(value, dict | cls) or not cls.model_fields else {next(iter(cls.model_fields)): value}

    @property
    def title(self) -> str:
        """Name of the solver in messages."""
        return self.name

    @property
    def omega(self) -> float:
        """Factor ω of every update: s + ω(new − s); 1 is a full step."""
        return 1.0

    def refusals(self, network: Any, schedule: Any) -> Iterator[tuple[str, str]]:
        """Yield (reason, hint) if a network (``NetworkGraph``) cannot use the solver under a schedule.

        Consequences of ``omega`` and ``mixes`` are refused without this. It must not load torch.
        """
        yield from ()

    def init(self) -> Any:
        """Return the solver's memory before the first sweep."""
        return None

    def step(self, memory: Any, before: Tensor, after: Tensor) -> tuple[Any, Tensor | None]:
        """Return the new memory, and the states from which the next sweep starts; None: from ``after``.

        Parameters
        ----------
        before, after
            All states that move, s and S(s), (rows, units), at least in float32. A row is one example. In a pair of
            nudged phases an example has two rows: the common part and the odd part of its two states. What is decided
            for each row, such as a safeguard, may then differ between these parts. ``before`` is what was really
            reached: a proposal that was dropped leaves no trace there.
        """
        return memory, None

    def accept(self, proposed: Tensor, swept: Tensor) -> Tensor:
        """Return which proposals to use, (batch,), from their energies F and those of the plain sweep, (batch,) each.

        It is called in the free phase if there is an energy. With another rule, no descent is guaranteed.
        """
        return proposed <= swept

    @property
    def descends(self) -> bool:
        """Whether a proposal is used only if its energy is at most that of the plain sweep."""
        return type(self).accept is Solver.accept

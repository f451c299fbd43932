"""Over-relaxation: every update steps beyond its new value, or not as far."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from epgraph.solvers.solver import Solver


class OverRelaxed(Solver):
    """Projected successive over-relaxation: s + ω(new − s), clipped to the range of σ.

    If F is ½‖s‖² minus a function that is linear in each state, on a box, it never raises F for 0 < ω < 2, and it needs
    a fraction of the sweeps. Elsewhere ω > 1 is refused (``graph/checks/dynamics.py``).
    """

    name = "over_relaxed"

    factor: Annotated[float, Field(gt=0, lt=2)] = Field(
        description="Factor ω: above 1 an update steps beyond its new value, below 1 it is damped.", examples=[1.5]
    )

    @property
    def omega(self) -> float:
        """The option ``factor``."""
        return self.factor

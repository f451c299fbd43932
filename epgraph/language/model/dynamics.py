"""How the network relaxes to its equilibrium, as the user writes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from epgraph.language.choices import SolverField
from epgraph.language.model.fields import Model, NonNegativeFloat
from epgraph.solvers import Solver
from epgraph.solvers.anderson import Anderson
from epgraph.solvers.over_relaxed import OverRelaxed
from epgraph.solvers.plain import Plain

ScheduleName = Literal["synchronous", "even_odd", "coloring", "sequential", "backward", "forward_backward"]


class SolverKey(NamedTuple):
    """A key of ``dynamics``, the value it has, and the one with which it asks for plain sweeps, as texts."""

    key: str
    value: str
    plain: str


class DynamicsSpec(Model):
    """How the network relaxes to its equilibrium."""

    schedule: ScheduleName = Field(
        default="even_odd",
        description="Which states move together: all; the odd positions, then the even (the paper's); the "
        "classes of a proper coloring; one after the other; one after the other from the output back; one after the "
        "other forwards, then backwards.",
        examples=["coloring", "even_odd"],
    )
    free_steps: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=120, description="Maximum of sweeps of the free phase.", examples=[120]
    )
    nudged_steps: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=50,
        description="Maximum of sweeps of each nudged phase; left out, 50, with energy predictive 5, and with its "
        "error sweeps 2.",
        examples=[50],
    )
    tolerance: NonNegativeFloat = Field(
        default=0.0, description="Stop when the relative residual is at most this; 0 runs all steps.", examples=[1e-4]
    )
    solver: SolverField | None = Field(
        default=None,
        description="What turns sweeps into an equilibrium, by name, or {name: options}; left out, what 'anderson' or "
        "'over_relaxation' says, else plain sweeps.",
        examples=["plain", {"anderson": 5}, {"over_relaxed": 1.5}],
    )
    over_relaxation: Annotated[float, Field(gt=0, lt=2)] = Field(
        default=1.0,
        description="Factor ω by which every update steps towards its new value: above 1 it steps beyond it (ReLUα and "
        "identity states, linear edges, a proper schedule), below 1 it is damped; 1 takes the value itself.",
        examples=[1.5],
    )
    anderson: Annotated[int, Field(ge=0, le=50)] = Field(
        default=0, description="Number of past sweeps that Anderson acceleration mixes; 0 leaves it off.", examples=[5]
    )
    output_step: Literal["explicit", "closed_form"] = Field(
        default="explicit",
        description="Nudged update of a linear output under the squared error: the published explicit step, or its "
        "fixed point (p + βy)/(1 + β).",
        examples=["closed_form"],
    )
    update: Literal["mod_pgd", "pgd"] = Field(
        default="mod_pgd",
        description="Update of ReLUα and identity states under the energy predictive, from the sum a and the feedback "
        "B: mod_pgd is σ(a + B), pgd is σ(σ(a) + B). Other states have σ(a) + B.",
        examples=["pgd"],
    )
    damping: Annotated[float, Field(gt=0, lt=2)] | None = Field(
        default=1.5,
        description="Factor c of damped updates, for states with a 'self' edge: they go min(1, c/(1 + mκ)) of the way, "
        "with m the largest slope of σ and κ a bound on ‖W‖. Below 2 they never raise F. null takes full steps.",
        examples=[1.5],
    )
    flow: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0,
        description="Step ε of the gradient flow on F: u + ε(sum − u) with u = σ⁻¹(s), clipped for ReLUα; 0 takes full "
        "steps.",
        examples=[0.1],
    )
    noise: NonNegativeFloat = Field(
        default=0.0,
        description="Standard deviation of Gaussian noise on every pre-activation, in every sweep.",
        examples=[0.05],
    )
    state_bits: Annotated[int, Field(ge=0, le=24)] = Field(
        default=0,
        description="Bits to which a state is rounded on the range of σ after every update; 0 does not round.",
        examples=[8],
    )
    weight_bits: Annotated[int, Field(ge=0, le=24)] = Field(
        default=0,
        description="Bits to which weights are rounded in the phases, symmetrically, one scale a tensor; 0: none.",
        examples=[8],
    )

    @property
    def solver_key(self) -> SolverKey:
        """The key that says which solver is used: ``solver``, or one of the two of earlier versions."""
        if self.solver is not None:
            return SolverKey("solver", self.solver.name, "plain")
        if self.anderson:
            return SolverKey("anderson", str(self.anderson), "0")
        return SolverKey("over_relaxation", f"{self.over_relaxation:g}", "1")

    @property
    def chosen_solver(self) -> Solver:
        """The solver that is used, whichever key says it."""
        if self.solver is not None:
            return self.solver
        if self.anderson:
            return Anderson(memory=self.anderson)
        return Plain() if self.over_relaxation == 1 else OverRelaxed(factor=self.over_relaxation)

    def with_defaults(self, defaults: Mapping[str, Any]) -> DynamicsSpec:
        """Return these settings with other defaults of the keys that were left out."""
        left_out = {key: value for key, value in defaults.items() if key not in self.model_fields_set}
        return DynamicsSpec.model_construct(set(self.model_fields_set), **{**dict(self), **left_out})

    @property
    def stepped(self) -> bool:
        """Whether an update is not a full step: shorter or longer."""
        return bool(self.flow) or self.chosen_solver.omega != 1

    @property
    def step(self) -> float:
        """Length of an update relative to a full step: ε of the flow, else ω."""
        return self.flow or self.chosen_solver.omega

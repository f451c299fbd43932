"""How the gradient is estimated, as the user writes it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from epgraph.language.model.fields import EstimatorField, Model, NonNegativeFloat, PositiveFloat


class LearningSpec(Model):
    """How the gradient is estimated."""

    estimator: EstimatorField = Field(
        default="centered",
        description="EP with ±β (Eq. 5), with +β, with −β (Eq. 4) or with a random sign per batch; continual, with "
        "parameters that move during the nudged phase; holomorphic, with complex β; contrastive and coupled learning, "
        "with the output clamped; backpropagation through the whole free phase or through its last sweeps; implicit "
        "differentiation at the free equilibrium.",
        examples=["centered", "implicit"],
    )
    beta: PositiveFloat = Field(
        default=0.1, description="Nudging strength β; of holomorphic EP its modulus |β|.", examples=[0.1]
    )
    points: Annotated[int, Field(ge=2, le=1024)] = Field(
        default=4, description="Number N of points on the circle of β in holomorphic EP.", examples=[4]
    )
    continual_rate: NonNegativeFloat = Field(
        default=1e-4,
        description="Step of the parameters after every nudged sweep of continual EP. The smaller it is beside β, "
        "the closer continual EP is to 'positive'.",
        examples=[1e-4],
    )
    feedback: Literal["tied", "untied"] = Field(
        default="tied",
        description="Whether an edge between two states that move acts back through its own weight, or through a "
        "second one (then there is no energy).",
        examples=["untied"],
    )
    truncation: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None,
        description="Number of sweeps through which 'truncated' backpropagates; by default nudged_steps.",
        examples=[50],
    )
    solver_tolerance: PositiveFloat = Field(
        default=1e-6,
        description="Relative residual at which the linear system of 'implicit' counts as solved.",
        examples=[1e-6],
    )
    solver_steps: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=200,
        description="Maximum of products with the Hessian in 'implicit', each about one sweep.",
        examples=[200],
    )

"""How the parameters follow the gradient, as the user writes it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from epgraph.language.choices import OptimizerField, RateScheduleField
from epgraph.language.model.fields import Model, NonNegativeFloat, PositiveFloat
from epgraph.optimizers import OPTIMIZERS


class TrainingSpec(Model):
    """How the parameters follow the gradient; the defaults are the paper's recipe for CIFAR-10."""

    epochs: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=300, description="Passes over the data.", examples=[300]
    )
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=128, description="Examples in a batch.", examples=[128]
    )
    learning_rate: NonNegativeFloat = Field(
        default=0.03, description="Learning rate of weights and biases.", examples=[0.03]
    )
    min_learning_rate: NonNegativeFloat = Field(
        default=2e-6, description="Learning rate at the end of the schedule.", examples=[2e-6]
    )
    schedule: RateScheduleField | None = Field(
        default=None,
        description="Schedule of the learning rate, by name or {name: options}; by default the optimizer's, a cosine.",
        examples=["constant", {"step": {"every": 30}}],
    )
    warmup_epochs: NonNegativeFloat = Field(
        default=0.0,
        description="Epochs in which the rate rises linearly, with every batch, before the schedule begins.",
        examples=[5],
    )
    warmup_factor: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.01, description="Fraction of the rate at which the warm-up begins.", examples=[0.01]
    )
    optimizer: OptimizerField = Field(
        default_factory=lambda: OPTIMIZERS["sgd"](),
        description="Optimizer, by name or {name: options}; by default sgd.",
        examples=["sgd", {"adam": {"betas": [0.9, 0.98]}}],
    )
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(default=0.9, description="Momentum of SGD.", examples=[0.9])
    nesterov: bool = Field(default=True, description="Whether the momentum is Nesterov's.", examples=[True])
    weight_decay: NonNegativeFloat = Field(
        default=2.5e-4, description="Weight decay, on biases too.", examples=[2.5e-4]
    )
    clip_norm: PositiveFloat | None = Field(
        default=1.0, description="Largest norm of the whole gradient; null: no clipping.", examples=[1.0, None]
    )
    ema: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="Decay of a running average of the parameters, with which the network is evaluated; null: none.",
        examples=[0.999, None],
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="Part ε of a label's target that is spread over all classes.", examples=[0.1]
    )
    warm_start: bool = Field(
        default=True,
        description="Start from the states of the previous batch's +β phase, not from zeros.",
        examples=[False],
    )
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = Field(
        default=0, description="Seed of initial weights, batches and augmentation.", examples=[0]
    )
    checkpoint_minutes: PositiveFloat = Field(
        default=5.0,
        description="Minutes between checkpoints within an epoch; every epoch also ends with one.",
        examples=[5.0],
    )

    checkpoint_epochs: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="Epochs between checkpoints that are kept as epoch-NNN.pt; null: none is kept.",
        examples=[50, None],
    )

    @model_validator(mode="after")
    def _warmup_within_the_training(self) -> TrainingSpec:
        if self.warmup_epochs > self.epochs:
            message = f"the warm-up takes {self.warmup_epochs:g} epochs, and the training has {self.epochs}"
            raise PydanticCustomError(
                "conflicting_keys", "{message}", {"message": message, "hint": "lower warmup_epochs, or raise epochs"}
            )
        return self

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> TrainingSpec:
        if getattr(self.optimizer, "dampening", 0) and self.nesterov:
            raise PydanticCustomError(
                "conflicting_keys", "Nesterov's momentum has no dampening", {"hint": "set nesterov: false"}
            )
        if self.nesterov and self.momentum == 0:
            raise PydanticCustomError(
                "conflicting_keys",
                "Nesterov's momentum needs a momentum above 0",
                {"hint": "set nesterov: false, or momentum: 0.9"},
            )
        return self

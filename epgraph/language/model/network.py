"""The states of a network as the user writes them: input, output, hidden states, their biases, defaults."""

from __future__ import annotations

from typing import Annotated, Literal, cast

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from epgraph.activations import parse_activation
from epgraph.language.model.fields import ActivationField, CostField, Model, Name, NonNegativeFloat, ShapeField, Size


class BiasSpec(Model):
    """Initial bias: uniform in ±gain/√fan_in, one value a channel."""

    gain: NonNegativeFloat = Field(default=0.5, description="Scale of the initial bias.", examples=[0.5])
    fan_in: Size | None = Field(
        default=None,
        description="Fan-in of the scale; by default that of the widest edge into the state.",
        examples=[4608],
    )


BiasField = Annotated[
    Annotated[bool, Tag("<flag>")] | Annotated[BiasSpec, Tag("<options>")],
    Discriminator(lambda value: "<options>" if isinstance(value, dict | BiasSpec) else "<flag>"),
    Field(description="true, false, or {gain, fan_in} of the initial values.", examples=[True, {"gain": 0.5}]),
]


def _given(key: str, kind: str) -> JsonDict:
    # A key may be there and null, which is as if it were left out.
    return {"required": [key], "properties": {key: {"type": kind}}}


_CLASSES_GIVEN, _CHANNELS_GIVEN = _given("classes", "integer"), _given("channels", "integer")
_SHAPE_GIVEN = _given("shape", "array")


class InputSpec(Model):
    """The clamped input."""

    name: Name = Field(default="x", description="Name by which edges refer to the input.", examples=["x"])
    shape: ShapeField


class OutputSpec(Model):
    """The output state, which nudging pulls towards the label."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [_CLASSES_GIVEN, _SHAPE_GIVEN]})

    name: Name = Field(default="y", description="Name by which edges refer to the output.", examples=["y"])
    classes: Size | None = Field(
        default=None, description="Number of classes, which is the number of output units.", examples=[10]
    )
    shape: ShapeField | None = Field(
        default=None,
        description="Shape of targets other than labels: [channels, height, width] or [units].",
        examples=[[3, 32, 32]],
    )
    cost: CostField = Field(
        default="squared_error",
        description="Cost C: ½‖s − y‖², cross-entropy of softmax(s), or of a softmax readout outside the dynamics.",
        examples=["squared_error", "cross_entropy"],
    )
    activation: ActivationField = Field(
        default_factory=lambda: parse_activation("identity"),
        description="Activation; the published one is identity.",
    )
    bias: BiasField = True
    learning_rate: NonNegativeFloat | None = Field(
        default=None, description="Learning rate of the bias; by default that of 'training'.", examples=[0.03]
    )
    weight_decay: NonNegativeFloat | None = Field(
        default=None, description="Weight decay of the bias; by default that of 'training'.", examples=[0]
    )

    @property
    def units(self) -> tuple[int, ...]:
        """Shape of the output state: of one unit a class, or as given."""
        return self.shape or (cast(int, self.classes),)

    @model_validator(mode="after")
    def _one_of_classes_and_shape(self) -> OutputSpec:
        if (self.classes is None) == (self.shape is None):
            both = "both 'classes' and 'shape' are given" if self.classes else "missing key 'classes'"
            hint = "write classes: 10 for labels, or shape: [3, 32, 32] for targets of that shape"
            raise PydanticCustomError("conflicting_keys", "{both}", {"both": both, "hint": hint})
        return self


class StateSpec(Model):
    """A hidden state. Give its shape, or its channels and let the edges say how large it is."""

    model_config = ConfigDict(json_schema_extra={"not": {"allOf": [_SHAPE_GIVEN, _CHANNELS_GIVEN]}})

    channels: Size | None = Field(
        default=None, description="Channels; height and width follow from the edges.", examples=[64]
    )
    shape: ShapeField | None = Field(
        default=None, description="Shape: [channels, height, width] or [units].", examples=[[64, 16, 16], [128]]
    )
    activation: ActivationField | None = Field(
        default=None, description="Activation; by default that of 'defaults'.", examples=["relu6", "tanh"]
    )
    bias: BiasField | None = Field(
        default=None,
        description="Bias: true, false or {gain, fan_in}; by default that of 'defaults'.",
        examples=[False, {"gain": 0.5}],
    )
    norm: Literal["batch"] | None = Field(
        default=None,
        description="Batch normalization of the sum before the activation, with a scale and a shift for each channel "
        "in place of the bias; with learning.estimator: backprop alone.",
        examples=["batch"],
    )
    learning_rate: NonNegativeFloat | None = Field(
        default=None, description="Learning rate of the bias; by default that of 'training'.", examples=[0.03]
    )
    weight_decay: NonNegativeFloat | None = Field(
        default=None, description="Weight decay of the bias; by default that of 'training'.", examples=[0]
    )

    @model_validator(mode="after")
    def _one_of_shape_and_channels(self) -> StateSpec:
        if self.shape is not None and self.channels is not None:
            raise PydanticCustomError(
                "conflicting_keys",
                "both 'shape' and 'channels' are given",
                {"hint": "keep 'shape', or keep 'channels' and let the edges give height and width"},
            )
        return self


class DefaultsSpec(Model):
    """What states and edges use where they say nothing themselves."""

    activation: ActivationField = Field(
        default_factory=lambda: parse_activation("relu6"), description="Activation of hidden states."
    )
    gain: NonNegativeFloat = Field(default=0.5, description="Gain of the initial weights.", examples=[0.6])
    bias: BiasField = True

"""What the user writes, as pydantic models: ``Architecture`` and its parts.

Numbers are strict (``"3"`` and ``true`` are not integers), unknown keys are refused, and every field has a
description, from which the JSON Schema in ``schemas/`` is generated.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    PlainValidator,
    PrivateAttr,
    Tag,
    WithJsonSchema,
    create_model,
    model_validator,
)
from pydantic_core import PydanticCustomError

from epgraph.activations import ACTIVATION_SCHEMA, Activation, activation_to_yaml, parse_activation
from epgraph.costs import COSTS
from epgraph.edges import KINDS, EdgeKind
from epgraph.errors import Diagnostic, Location
from epgraph.spec.document import Document

LANGUAGE = 1
"""Version of the language that this package reads."""

MAX_UNITS = 2**31 - 1
"""Most units a state may have; a larger tensor cannot be indexed by the kernels."""


def _to_tuple(value: object) -> object:
    # YAML has lists and strict models want tuples.
    return tuple(value) if isinstance(value, list) else value


def _activation(value: object) -> Activation:
    try:
        return parse_activation(value)
    except ValueError as error:
        message, _, hint = str(error).partition("; ")
        raise PydanticCustomError("activation", "{message}", {"message": message, "hint": hint}) from None


def _cost(value: object) -> object:
    if isinstance(value, str) and value in COSTS:
        return value
    *names, last = (f"'{name}'" for name in COSTS)
    expected = f"{', '.join(names)} or {last}"
    raise PydanticCustomError("literal_error", "unknown cost, expected {expected}", {"expected": expected})


Name = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$",
        description="A letter, then letters, digits or '_'; it names parameters and lines of generated code.",
    ),
]
Size = Annotated[int, Field(ge=1, le=2**24)]
ActivationField = Annotated[
    Activation,
    PlainValidator(_activation),
    PlainSerializer(activation_to_yaml),
    WithJsonSchema(ACTIVATION_SCHEMA),
]
ShapeField = Annotated[
    tuple[Size, ...],
    BeforeValidator(_to_tuple),
    Field(
        min_length=1,
        max_length=3,
        description="[channels, height, width] or [units].",
        examples=[[3, 32, 32]],
    ),
]
CostField = Annotated[str, BeforeValidator(_cost), WithJsonSchema({"type": "string", "enum": list(COSTS)})]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]


class Model(BaseModel):
    """Strict, closed and frozen base of everything in the language."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class BiasSpec(Model):
    """Initial bias: uniform in ±gain/√fan_in, one value a channel."""

    gain: NonNegativeFloat = Field(default=0.5, description="Scale of the initial bias.")
    fan_in: Size | None = Field(
        default=None,
        description="Fan-in of the scale; left out, that of the widest edge into the state.",
    )


BiasField = Annotated[
    Annotated[bool, Tag("<flag>")] | Annotated[BiasSpec, Tag("<options>")],
    Discriminator(lambda value: "<options>" if isinstance(value, dict | BiasSpec) else "<flag>"),
    Field(description="true, false, or {gain, fan_in} of the initial values.", examples=[True, {"gain": 0.5}]),
]


class InputSpec(Model):
    """The clamped input."""

    name: Name = Field(default="x", description="Name by which edges refer to the input.")
    shape: ShapeField


class OutputSpec(Model):
    """The output state, which nudging pulls towards the label."""

    name: Name = Field(default="y", description="Name by which edges refer to the output.")
    classes: Size | None = Field(
        default=None, description="Number of classes, which is the number of output units.", examples=[10]
    )
    shape: ShapeField | None = Field(
        default=None, description="Shape of targets that are no labels: [channels, height, width] or [units]."
    )
    cost: CostField = Field(
        default="squared_error",
        description="Cost C: ½‖s − y‖², cross-entropy of softmax(s), or of a softmax readout outside the dynamics.",
    )
    activation: ActivationField = Field(
        default_factory=lambda: parse_activation("identity"),
        description="Activation; the published one is identity.",
    )
    bias: BiasField = True
    learning_rate: NonNegativeFloat | None = Field(default=None, description="Learning rate of the bias.")

    @property
    def units(self) -> tuple[int, ...]:
        """Shape of the output state: of one unit a class, or as given."""
        return self.shape or (cast(int, self.classes),)

    @model_validator(mode="after")
    def _one_of_classes_and_shape(self) -> OutputSpec:
        if (self.classes is None) == (self.shape is None):
            both = "both 'classes' and 'shape' are given" if self.classes else "missing key 'classes'"
            hint = "classes: 10 for labels, or shape: [3, 32, 32] for targets of that shape"
            raise PydanticCustomError("classes_and_shape", "{both}", {"both": both, "hint": hint})
        return self


class StateSpec(Model):
    """A hidden state. Give its shape, or its channels and let the edges say how large it is."""

    channels: Size | None = Field(default=None, description="Channels; height and width follow from the edges.")
    shape: ShapeField | None = None
    activation: ActivationField | None = Field(default=None, description="Activation; left out, that of 'defaults'.")
    bias: BiasField | None = Field(default=None, description="Bias; left out, that of 'defaults'.")
    learning_rate: NonNegativeFloat | None = Field(
        default=None, description="Learning rate of the bias; left out, that of 'training'."
    )

    @model_validator(mode="after")
    def _one_of_shape_and_channels(self) -> StateSpec:
        if self.shape is not None and self.channels is not None:
            raise PydanticCustomError(
                "shape_and_channels",
                "both 'shape' and 'channels' are given",
                {"hint": "keep 'shape', or keep 'channels' and let the edges give height and width"},
            )
        return self


class EdgeBase(Model):
    """A weighted edge; besides the keys below it holds exactly one edge kind with its options."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)

    source: Name = Field(alias="from", description="State that A_e is applied to.")
    target: Name = Field(alias="to", description="State that A_e reaches; the interaction is symmetric.")
    name: Name | None = Field(default=None, description="Name of the edge; left out, '<from>_<to>'.")
    gain: NonNegativeFloat | None = Field(
        default=None,
        description="Initial weights are uniform in ±gain/√fan_in; left out, that of 'defaults'.",
    )
    learning_rate: NonNegativeFloat | None = Field(
        default=None, description="Learning rate of the weight; left out, that of 'training'."
    )

    @model_validator(mode="before")
    @classmethod
    def _empty_options(cls, data: Any) -> Any:
        # `dense:` with nothing after it is `dense: {}`.
        if isinstance(data, dict):
            return {key: {} if value is None and key in KINDS else value for key, value in data.items()}
        return data

    @model_validator(mode="after")
    def _exactly_one_kind(self) -> EdgeBase:
        given = [name for name in KINDS if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(f"'{name}'" for name in given) or "none"
            raise PydanticCustomError(
                "edge_kind",
                "an edge holds exactly one kind, found {found}",
                {"found": found, "hint": f"one of: {', '.join(KINDS)}; e.g. conv: {{kernel: 3, padding: 1}}"},
            )
        return self

    @property
    def kind(self) -> EdgeKind:
        """The edge's kind with its options."""
        return cast(EdgeKind, next(k for k in (getattr(self, name) for name in KINDS) if k is not None))


EdgeSpec = create_model(
    "EdgeSpec",
    __base__=EdgeBase,
    __doc__=EdgeBase.__doc__,
    **{
        name: (kind | None, Field(default=None, description=(kind.__doc__ or "").splitlines()[0]))
        for name, kind in KINDS.items()
    },  # type: ignore[call-overload]
)


class DefaultsSpec(Model):
    """What states and edges use where they say nothing themselves."""

    activation: ActivationField = Field(
        default_factory=lambda: parse_activation("relu6"), description="Activation of hidden states."
    )
    gain: NonNegativeFloat = Field(default=0.5, description="Gain of the initial weights.")
    bias: BiasField = True


ScheduleName = Literal["synchronous", "even_odd", "coloring", "sequential", "forward_backward"]
EstimatorName = Literal[
    "centered",
    "positive",
    "negative",
    "random_sign",
    "continual",
    "holomorphic",
    "contrastive",
    "coupled_positive",
    "coupled_negative",
    "coupled_centered",
    "unrolled",
    "truncated",
    "implicit",
]


class InitSpec(Model):
    """How parameters are drawn before training."""

    rule: Literal["published", "graph_aware"] = Field(
        default="published",
        description="published: uniform, scaled by the gains; graph_aware: so that the network settles and the signal "
        "reaches every state, whatever the graph.",
    )
    norm: Annotated[float, Field(gt=0, le=4)] = Field(
        default=0.95, description="Norm of the coupling over all units that graph_aware aims at."
    )


class DynamicsSpec(Model):
    """How the network relaxes to its equilibrium."""

    schedule: ScheduleName = Field(
        default="even_odd",
        description="Which states move together: all; the odd positions, then the even (the paper's); the "
        "classes of a proper colouring; one after the other; forth and back.",
    )
    free_steps: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=120, description="Most sweeps of the free phase."
    )
    nudged_steps: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=50, description="Most sweeps of each nudged phase."
    )
    tolerance: NonNegativeFloat = Field(
        default=0.0, description="Stop when the relative residual is at most this; 0 runs all steps."
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
        description="How nudging moves a linear output under the squared error: the published explicit step, or its "
        "fixed point (p + βy)/(1 + β).",
    )
    flow: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0,
        description="Step ε of the gradient flow on F: u + ε(sum − u) with u = σ⁻¹(s), clipped for ReLUα; 0 takes the "
        "new value at once.",
        examples=[0.1],
    )
    noise: NonNegativeFloat = Field(
        default=0.0, description="Standard deviation of Gaussian noise on every pre-activation, in every sweep."
    )
    state_bits: Annotated[int, Field(ge=0, le=24)] = Field(
        default=0,
        description="Bits to which a state is rounded on the range of σ after every update; 0 does not.",
        examples=[8],
    )
    weight_bits: Annotated[int, Field(ge=0, le=24)] = Field(
        default=0,
        description="Bits to which the weights that relax are rounded, symmetrically, one scale a weight; 0 does not.",
        examples=[8],
    )

    @property
    def stepped(self) -> bool:
        """Whether updates go part of the way, or beyond."""
        return bool(self.flow) or self.over_relaxation != 1

    @property
    def step(self) -> float:
        """Part of the way that an update goes: ε of the flow, else ω."""
        return self.flow or self.over_relaxation


class LearningSpec(Model):
    """How the gradient is estimated."""

    estimator: EstimatorName = Field(
        default="centered",
        description="EP with ±β (Eq. 5), with +β, with −β (Eq. 4) or with a sign drawn for each batch; continual, with "
        "parameters that move during the nudged phase; holomorphic, with complex β; contrastive and coupled learning, "
        "with the output clamped; backpropagation through the whole free phase or through its last sweeps; implicit "
        "differentiation at the free equilibrium.",
    )
    beta: PositiveFloat = Field(
        default=0.1, description="Nudging strength β; of holomorphic EP its modulus |β|.", examples=[0.1]
    )
    points: Annotated[int, Field(ge=2, le=1024)] = Field(
        default=4, description="Points N on the circle of β that holomorphic EP takes.", examples=[4]
    )
    continual_rate: NonNegativeFloat = Field(
        default=1e-4,
        description="Step of the parameters after every nudged sweep of continual EP, which departs from 'positive' as "
        "this grows against β.",
    )
    feedback: Literal["tied", "untied"] = Field(
        default="tied",
        description="Whether an edge between two states that move acts back through its own weight, or through a "
        "second one (then there is no energy).",
    )
    truncation: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None, description="Sweeps that 'truncated' goes back through; left out, as many as nudged_steps."
    )
    solver_tolerance: PositiveFloat = Field(
        default=1e-6, description="Relative residual at which the linear system of 'implicit' counts as solved."
    )
    solver_steps: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=200, description="Most products with the Hessian that 'implicit' takes, each about one sweep."
    )


class TrainingSpec(Model):
    """How the parameters follow the gradient; the defaults are the paper's recipe for CIFAR-10."""

    epochs: Annotated[int, Field(ge=1, le=1_000_000)] = Field(default=300, description="Passes over the data.")
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = Field(default=128, description="Examples in a batch.")
    learning_rate: NonNegativeFloat = Field(default=0.03, description="Learning rate of weights and biases.")
    min_learning_rate: NonNegativeFloat = Field(
        default=2e-6, description="Learning rate at the end of the cosine schedule."
    )
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(default=0.9, description="Momentum of SGD.")
    nesterov: bool = Field(default=True, description="Whether the momentum is Nesterov's.")
    weight_decay: NonNegativeFloat = Field(default=2.5e-4, description="Weight decay, on biases too.")
    clip_norm: PositiveFloat | None = Field(
        default=1.0, description="Largest norm of the whole gradient; null does not clip."
    )
    warm_start: bool = Field(
        default=True,
        description="Start from the states that the previous batch's +β phase left, not from zeros.",
    )
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = Field(
        default=0, description="Seed of initial weights, batches and augmentation."
    )

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> TrainingSpec:
        if self.nesterov and self.momentum == 0:
            raise PydanticCustomError(
                "nesterov",
                "Nesterov's momentum needs a momentum above 0",
                {"hint": "set nesterov: false, or momentum: 0.9"},
            )
        return self


class Architecture(Model):
    """A whole network as declared: states, edges, dynamics, learning."""

    epgraph: Literal[1] = Field(description="Version of the language.", examples=[1])
    name: Annotated[str, Field(min_length=1, max_length=200)] = Field(
        default="network", description="What to call the network."
    )
    input: InputSpec
    output: OutputSpec
    defaults: DefaultsSpec = Field(default_factory=DefaultsSpec)
    states: dict[str, StateSpec] = Field(default_factory=dict, description="Hidden states by name, in order.")
    edges: list[EdgeSpec] = Field(min_length=1, description="Weighted edges, in order.")
    init: InitSpec = Field(default_factory=InitSpec)
    dynamics: DynamicsSpec = Field(default_factory=DynamicsSpec)
    learning: LearningSpec = Field(default_factory=LearningSpec)
    training: TrainingSpec = Field(default_factory=TrainingSpec)

    _document: Document | None = PrivateAttr(default=None)
    _dropped_edges: set[int] = PrivateAttr(default_factory=set)
    _partial: bool = PrivateAttr(default=False)

    @property
    def partial(self) -> bool:
        """Whether parts at fault were left out, so that nothing follows from what is missing."""
        return self._partial

    def edge_location(self, index: int) -> Location:
        """Location in the file of the edge at ``index``, counting the edges that were left out."""
        kept = (i for i in range(len(self.edges) + len(self._dropped_edges)) if i not in self._dropped_edges)
        return ("edges", next(i for n, i in enumerate(kept) if n == index) if self._dropped_edges else index)

    def __eq__(self, other: object) -> bool:
        # Where it was read from, and in which version, does not make a network another one.
        same = {"epgraph": None}
        return isinstance(other, Architecture) and self.to_dict() | same == other.to_dict() | same

    __hash__ = None  # type: ignore[assignment]

    def locate(self, diagnostic: Diagnostic) -> Diagnostic:
        """Give a diagnostic its position in the file that this came from, if it came from one."""
        return self._document.locate(diagnostic) if self._document else diagnostic

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that ``Architecture.model_validate`` (and YAML) read back."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def known_keys(at: Location) -> list[str]:
    """Keys that the language knows at a location, for 'did you mean'."""
    model: Any = Architecture
    for part in at:
        if model is None or isinstance(part, int):
            continue
        if part == "bias":
            model = BiasSpec
        elif part == "edges":
            model = EdgeSpec
        elif part in KINDS:
            model = KINDS[str(part)]
        elif model is Architecture and part == "states":
            model = dict
        elif model is dict:
            model = StateSpec
        else:
            model = getattr(model, "model_fields", {})[part].annotation if part in model.model_fields else None
    fields = getattr(model, "model_fields", {})
    return [f.alias or name for name, f in fields.items()]

"""What the user writes, as pydantic models: ``Architecture`` and its parts.

Numbers are strict (``"3"`` and ``true`` are not integers), unknown keys are refused, and every field has a
description, from which the JSON Schema in ``schemas/`` is generated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
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
    SerializerFunctionWrapHandler,
    Tag,
    create_model,
    model_serializer,
    model_validator,
)
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError, core_schema

from epgraph.activations import Activation, activation_schema, activation_to_yaml, parse_activation
from epgraph.augmentation import Augmentation
from epgraph.costs import COSTS
from epgraph.errors import Diagnostic, Location
from epgraph.init_rules import INITIAL
from epgraph.kinds import KINDS, EdgeKind
from epgraph.language.document import Document
from epgraph.learning_rules import ESTIMATORS
from epgraph.optimizers import OPTIMIZERS

LANGUAGE = 2
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


def _one_of(what: str, registered: Mapping[str, object]) -> Callable[[object], object]:
    """Return a validator of names that are registered by then."""

    def check(value: object) -> object:
        if isinstance(value, str) and value in registered:
            return value
        *names, last = (f"'{name}'" for name in registered)
        expected = f"{', '.join(names)} or {last}" if names else last
        raise PydanticCustomError("literal_error", f"unknown {what}, expected {{expected}}", {"expected": expected})

    return check


NAME_PATTERN = r"^[A-Za-z][A-Za-z0-9_]{0,63}$"
"""What a name looks like."""

Name = Annotated[
    str,
    Field(
        pattern=NAME_PATTERN,
        description="A letter, then letters, digits or '_'; it names parameters and lines of generated code.",
    ),
]
Size = Annotated[int, Field(ge=1, le=2**24)]


class _Described:
    """Describes a field in JSON Schema when that is made: what is registered by then is part of it."""

    def __init__(self, describe: Callable[[], dict[str, Any]]) -> None:
        self.describe = describe

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: Any) -> dict[str, Any]:
        return self.describe()


ActivationField = Annotated[
    Activation,
    PlainValidator(_activation),
    PlainSerializer(activation_to_yaml),
    _Described(activation_schema),
]
ShapeField = Annotated[
    tuple[Size, ...],
    Field(min_length=1, max_length=3),
    BeforeValidator(_to_tuple),
    Field(description="[channels, height, width] or [units].", examples=[[3, 32, 32]]),
]
CostField = Annotated[
    str, BeforeValidator(_one_of("cost", COSTS)), _Described(lambda: {"type": "string", "enum": list(COSTS)})
]
OptimizerField = Annotated[
    str,
    BeforeValidator(_one_of("optimizer", OPTIMIZERS)),
    _Described(lambda: {"type": "string", "enum": list(OPTIMIZERS)}),
]
InitRuleField = Annotated[
    str,
    BeforeValidator(_one_of("rule", INITIAL)),
    _Described(lambda: {"type": "string", "enum": list(INITIAL)}),
]
EstimatorField = Annotated[
    str,
    BeforeValidator(_one_of("estimator", ESTIMATORS)),
    _Described(lambda: {"type": "string", "enum": list(ESTIMATORS)}),
]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]


class Model(BaseModel):
    """Strict, closed and frozen base of everything in the language."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class BiasSpec(Model):
    """Initial bias: uniform in ±gain/√fan_in, one value a channel."""

    gain: NonNegativeFloat = Field(default=0.5, description="Scale of the initial bias.", examples=[0.5])
    fan_in: Size | None = Field(
        default=None,
        description="Fan-in of the scale; left out, that of the widest edge into the state.",
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
        description="Shape of targets that are no labels: [channels, height, width] or [units].",
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
        default=None, description="Learning rate of the bias; left out, that of 'training'.", examples=[0.03]
    )

    @property
    def units(self) -> tuple[int, ...]:
        """Shape of the output state: of one unit a class, or as given."""
        return self.shape or (cast(int, self.classes),)

    @model_validator(mode="after")
    def _one_of_classes_and_shape(self) -> OutputSpec:
        if (self.classes is None) == (self.shape is None):
            both = "both 'classes' and 'shape' are given" if self.classes else "missing key 'classes'"
            hint = "classes: 10 for labels, or shape: [3, 32, 32] for targets of that shape"
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
        default=None, description="Activation; left out, that of 'defaults'.", examples=["relu6", "tanh"]
    )
    bias: BiasField | None = Field(
        default=None,
        description="Bias: true, false or {gain, fan_in}; left out, that of 'defaults'.",
        examples=[False, {"gain": 0.5}],
    )
    learning_rate: NonNegativeFloat | None = Field(
        default=None, description="Learning rate of the bias; left out, that of 'training'.", examples=[0.03]
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


_ENDS = ("from", "to", "source", "target")
"""Keys of the two ends of an edge, as written and as named in Python."""


def one_end(ends: Sequence[str]) -> str:
    """Hint for a kind that acts on one state, where an edge names several."""
    names = " or ".join(f"at: {end}" for end in dict.fromkeys(ends))
    return f"write {names} in place of from and to"


def _one_spelling(schema: dict[str, Any]) -> None:
    """In JSON Schema: 'from' and 'to', or 'at' and neither of them."""
    schema["required"] = [key for key in schema.get("required", []) if key not in _ENDS]
    if not schema["required"]:
        del schema["required"]
    neither = {"not": {"anyOf": [{"required": ["from"]}, {"required": ["to"]}]}}
    both = {"required": ["from", "to"], "properties": {"at": {"type": "null"}}}
    schema["oneOf"] = [both, {"required": ["at"], **neither}]


class EdgeBase(Model):
    """A weighted edge; besides the keys below it holds exactly one edge kind with its options."""

    model_config = ConfigDict(json_schema_extra=_one_spelling)

    source: Name = Field(alias="from", description="State that A_e is applied to.", examples=["x"])
    target: Name = Field(
        alias="to", description="State that A_e reaches; the interaction is symmetric.", examples=["h1"]
    )
    at: Name | None = Field(
        default=None,
        description="The one state of a kind that acts on one alone, in place of 'from' and 'to'.",
        examples=["h1"],
    )
    name: Name | None = Field(
        default=None, description="Name of the edge; left out, '<from>_<to>' or '<at>_<kind>'.", examples=["head"]
    )
    gain: NonNegativeFloat | None = Field(
        default=None,
        description="Initial weights are uniform in ±gain/√fan_in; left out, that of 'defaults'.",
        examples=[0.6],
    )
    learning_rate: NonNegativeFloat | None = Field(
        default=None, description="Learning rate of the weight; left out, that of 'training'.", examples=[0.03, 0]
    )
    tie: Name | None = Field(
        default=None,
        description="Name of another edge of the same kind, whose weight this one shares.",
        examples=["h1_h2"],
    )
    frozen: bool = Field(
        default=False, description="Whether the weight stays as it is: nothing is learnt of it.", examples=[True]
    )

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        # `dense:` with nothing after it is `dense: {}`.
        data = {key: {} if value is None and key in KINDS else value for key, value in data.items()}
        if data.get("at") is None:
            unary = next((name for name, kind in KINDS.items() if kind.unary and data.get(name) is not None), None)
            ends = [key for key in _ENDS if data.get(key) is not None]
            if unary and len(ends) < 2:
                hint = f"write at in place of {ends[0]}" if ends else f"e.g. {{at: h1, {unary}: …}}"
                raise PydanticCustomError(
                    "missing_key", "missing key 'at'", {"hint": f"'{unary}' acts on one state: {hint}"}
                )
            return data
        for key in _ENDS:
            if data.get(key) is not None:
                raise PydanticCustomError(
                    "edge_ends",
                    "an edge has 'at', or 'from' and 'to', found 'at' and '{key}'",
                    {"key": key, "hint": "'at' for kinds that act on one state, 'from' and 'to' for all others"},
                )
        return {**data, "from": data["at"], "to": data["at"]}

    @model_serializer(mode="wrap")
    def _as_written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = handler(self)
        if self.at is not None:
            for key in _ENDS:
                found.pop(key, None)
        return found

    @model_validator(mode="after")
    def _kind_fits_ends(self) -> EdgeBase:
        given = [name for name in KINDS if getattr(self, name) is not None]
        if len(given) != 1:
            return self
        kind = KINDS[given[0]]
        if kind.unary and self.at is None:
            raise PydanticCustomError(
                "edge_ends",
                "'{kind}' acts on one state, found 'from' and 'to'",
                {"kind": kind.name, "hint": one_end([self.source, self.target]), "ends": (self.source, self.target)},
            )
        if not kind.unary and self.at is not None:
            unary = " or ".join(f"'{name}'" for name, one in KINDS.items() if one.unary)
            raise PydanticCustomError(
                "edge_ends",
                "'{kind}' joins two states, found 'at'",
                {"kind": kind.name, "hint": f"write from and to in its place, or use {unary}"},
            )
        return self

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

    def __reduce__(self) -> tuple[Any, ...]:
        # Made when it was needed, the class has no name that pickle could find it by.
        return _again, (self.model_dump(by_alias=True, exclude_unset=True),)

    @property
    def kind(self) -> EdgeKind:
        """The edge's kind with its options."""
        # Of the keys that were written, and not of all kinds: this is asked for many times.
        given = (getattr(self, name) for name in self.model_fields_set if name in KINDS)
        return cast(EdgeKind, next(kind for kind in given if kind is not None))


def _again(data: dict[str, Any]) -> EdgeBase:
    """Make the edge anew that was pickled as ``data``."""
    return edge_spec().model_validate(data)


def edge_spec() -> type[EdgeBase]:
    """Return the model of an edge with a field for each kind that there is now, those of the user included."""
    return _edge_spec(tuple(KINDS.items()))


@lru_cache(maxsize=8)
def _edge_spec(kinds: tuple[tuple[str, type[EdgeKind]], ...]) -> type[EdgeBase]:
    fields: dict[str, Any] = {
        name: (
            kind | None,
            Field(default=None, description=(kind.__doc__ or name).strip().splitlines()[0], examples=[_options(kind)]),
        )
        for name, kind in kinds
    }
    return create_model("EdgeSpec", __base__=EdgeBase, __doc__=EdgeBase.__doc__, **fields)


def _options(kind: type[EdgeKind]) -> dict[str, Any]:
    """Options that a kind cannot do without, by the first example of each."""
    required = {name: field for name, field in kind.model_fields.items() if field.is_required()}
    return {name: (field.examples or [None])[0] for name, field in required.items()}


class _Current:
    """Validates, dumps and describes an edge by ``edge_spec()`` as it is when that happens.

    Kinds may be registered at any time, and models that hold edges are built once, at import.
    """

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._read,
            serialization=core_schema.plain_serializer_function_ser_schema(cls._dump, info_arg=True),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: core_schema.CoreSchema, handler: Any) -> Any:
        made = handler.resolve_ref_schema(handler(edge_spec().__pydantic_core_schema__))
        ends = {True: ["at"], False: ["from", "to"]}
        return {**made, "allOf": [{"oneOf": [{"required": [name, *ends[kind.unary]]} for name, kind in KINDS.items()]}]}

    @staticmethod
    def _read(value: Any) -> EdgeBase:
        # pydantic puts the place of the edge before the places in the errors of this.
        return edge_spec().model_validate(value)

    @staticmethod
    def _dump(edge: EdgeBase, info: core_schema.SerializationInfo) -> dict[str, Any]:
        return edge.model_dump(
            mode=info.mode,
            by_alias=bool(info.by_alias),
            exclude_defaults=info.exclude_defaults,
            exclude_unset=info.exclude_unset,
            exclude_none=info.exclude_none,
        )


EdgeField = Annotated[EdgeBase, _Current]


class DefaultsSpec(Model):
    """What states and edges use where they say nothing themselves."""

    activation: ActivationField = Field(
        default_factory=lambda: parse_activation("relu6"), description="Activation of hidden states."
    )
    gain: NonNegativeFloat = Field(default=0.5, description="Gain of the initial weights.", examples=[0.6])
    bias: BiasField = True


ScheduleName = Literal["synchronous", "even_odd", "coloring", "sequential", "forward_backward"]


class InitSpec(Model):
    """How parameters are drawn before training."""

    rule: InitRuleField = Field(
        default="published",
        description="published: uniform, scaled by the gains; graph_aware: from the graph, so that the network settles "
        "and the signal reaches every state.",
        examples=["graph_aware"],
    )
    norm: Annotated[float, Field(gt=0, le=4)] = Field(
        default=0.95, description="Norm of the coupling over all units that graph_aware aims at.", examples=[0.95]
    )


def _init(value: object) -> object:
    # `init: graph_aware` is the rule alone.
    return {"rule": value} if isinstance(value, str) else value


InitField = Annotated[
    InitSpec,
    BeforeValidator(
        _init,
        json_schema_input_type=InitSpec | Annotated[str, _Described(lambda: {"type": "string", "enum": list(INITIAL)})],
    ),
    Field(description="The rule by name, or {rule, norm}.", examples=["graph_aware"]),
]


class DynamicsSpec(Model):
    """How the network relaxes to its equilibrium."""

    schedule: ScheduleName = Field(
        default="even_odd",
        description="Which states move together: all; the odd positions, then the even (the paper's); the "
        "classes of a proper colouring; one after the other; forth and back.",
        examples=["coloring", "even_odd"],
    )
    free_steps: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=120, description="Most sweeps of the free phase.", examples=[120]
    )
    nudged_steps: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=50, description="Most sweeps of each nudged phase.", examples=[50]
    )
    tolerance: NonNegativeFloat = Field(
        default=0.0, description="Stop when the relative residual is at most this; 0 runs all steps.", examples=[1e-4]
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
        examples=["closed_form"],
    )
    damping: Annotated[float, Field(gt=0, lt=2)] | None = Field(
        default=1.5,
        description="Factor c of the updates of states that act on themselves by 'self', which go "
        "min(1, c/(1 + mκ)) of the way, with m the largest slope of σ and κ a bound on ‖W‖: below 2 they never raise "
        "F. null goes all the way.",
        examples=[1.5],
    )
    flow: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0,
        description="Step ε of the gradient flow on F: u + ε(sum − u) with u = σ⁻¹(s), clipped for ReLUα; 0 takes the "
        "new value at once.",
        examples=[0.1],
    )
    noise: NonNegativeFloat = Field(
        default=0.0,
        description="Standard deviation of Gaussian noise on every pre-activation, in every sweep.",
        examples=[0.05],
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

    estimator: EstimatorField = Field(
        default="centered",
        description="EP with ±β (Eq. 5), with +β, with −β (Eq. 4) or with a sign drawn for each batch; continual, with "
        "parameters that move during the nudged phase; holomorphic, with complex β; contrastive and coupled learning, "
        "with the output clamped; backpropagation through the whole free phase or through its last sweeps; implicit "
        "differentiation at the free equilibrium.",
        examples=["centered", "implicit"],
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
        description="Sweeps that 'truncated' goes back through; left out, as many as nudged_steps.",
        examples=[50],
    )
    solver_tolerance: PositiveFloat = Field(
        default=1e-6,
        description="Relative residual at which the linear system of 'implicit' counts as solved.",
        examples=[1e-6],
    )
    solver_steps: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=200,
        description="Most products with the Hessian that 'implicit' takes, each about one sweep.",
        examples=[200],
    )


def _augment(value: object) -> object:
    # `augment: false` and `augment: null` switch it off, as they do elsewhere.
    if value is None or value is False:
        return "none"
    if value in ("published", "none") or isinstance(value, dict | Augmentation):
        return value
    raise PydanticCustomError("literal_error", "{expected}", {"expected": "'published', 'none' or a mapping"})


AugmentField = Annotated[
    Annotated[Literal["published", "none"], Tag("<word>")] | Annotated[Augmentation, Tag("<options>")],
    Discriminator(lambda value: "<word>" if isinstance(value, str) else "<options>"),
    BeforeValidator(_augment, json_schema_input_type=Literal["published", "none", False] | Augmentation | None),
]


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
        default=2e-6, description="Learning rate at the end of the cosine schedule.", examples=[2e-6]
    )
    optimizer: OptimizerField = Field(default="sgd", description="Optimizer, by name.", examples=["sgd"])
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(default=0.9, description="Momentum of SGD.", examples=[0.9])
    nesterov: bool = Field(default=True, description="Whether the momentum is Nesterov's.", examples=[True])
    weight_decay: NonNegativeFloat = Field(
        default=2.5e-4, description="Weight decay, on biases too.", examples=[2.5e-4]
    )
    clip_norm: PositiveFloat | None = Field(
        default=1.0, description="Largest norm of the whole gradient; null does not clip.", examples=[1.0, None]
    )
    warm_start: bool = Field(
        default=True,
        description="Start from the states that the previous batch's +β phase left, not from zeros.",
        examples=[False],
    )
    augment: AugmentField = Field(
        default="published",
        description="Random changes of the training images: those published for the data set (for a folder, none); "
        "none; or a mapping of flip, randaugment, magnitude and crop, which are done in this order.",
        examples=["none", {"flip": 0.5, "crop": 4}],
    )
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = Field(
        default=0, description="Seed of initial weights, batches and augmentation.", examples=[0]
    )
    checkpoint_minutes: PositiveFloat = Field(
        default=5.0,
        description="Minutes between checkpoints within an epoch; the end of every epoch has one as well.",
        examples=[5.0],
    )

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> TrainingSpec:
        if self.nesterov and self.momentum == 0:
            raise PydanticCustomError(
                "conflicting_keys",
                "Nesterov's momentum needs a momentum above 0",
                {"hint": "set nesterov: false, or momentum: 0.9"},
            )
        return self


class Architecture(Model):
    """A whole network as declared: states, edges, dynamics, learning."""

    epgraph: Literal[2] = Field(description="Version of the language.", examples=[2])
    name: Annotated[str, Field(min_length=1, max_length=200)] = Field(
        default="network", description="What to call the network.", examples=["Hopfield-ResNet13"]
    )
    input: InputSpec = Field(
        description="The input, clamped to the data.", examples=[{"name": "x", "shape": [3, 32, 32]}]
    )
    output: OutputSpec = Field(
        description="The output, nudged towards the label.", examples=[{"name": "y", "classes": 10}]
    )
    defaults: DefaultsSpec = Field(
        default_factory=DefaultsSpec,
        description="Activation, gain and bias of states and edges that say nothing themselves.",
        examples=[{"activation": "relu6", "gain": 0.6}],
    )
    states: dict[str, StateSpec] = Field(
        default_factory=dict,
        description="Hidden states by name, in order.",
        json_schema_extra={"propertyNames": {"pattern": NAME_PATTERN}},
        examples=[{"h1": {"channels": 64}}],
    )
    edges: list[EdgeField] = Field(
        min_length=1, description="Weighted edges, in order.", examples=[[{"from": "x", "to": "y", "dense": {}}]]
    )
    init: InitField = Field(
        default_factory=InitSpec,
        description="Rule by which parameters are drawn before training, by name, or {rule, norm}.",
        examples=["graph_aware", {"rule": "graph_aware", "norm": 0.9}],
    )
    dynamics: DynamicsSpec = Field(
        default_factory=DynamicsSpec,
        description="Schedule, sweeps and solver by which the network relaxes to its equilibrium.",
        examples=[{"schedule": "coloring", "free_steps": 120, "nudged_steps": 50}],
    )
    learning: LearningSpec = Field(
        default_factory=LearningSpec,
        description="Estimator of the gradient, and the strength of the nudge.",
        examples=[{"estimator": "centered", "beta": 0.1}],
    )
    training: TrainingSpec = Field(
        default_factory=TrainingSpec,
        description="Epochs, batches and optimiser.",
        examples=[{"epochs": 300, "batch_size": 128, "learning_rate": 0.03}],
    )

    _document: Document | None = PrivateAttr(default=None)
    _dropped_edges: set[int] = PrivateAttr(default_factory=set)
    _partial: bool = PrivateAttr(default=False)

    @property
    def partial(self) -> bool:
        """Whether parts at fault were left out, so that nothing follows from what is missing."""
        return self._partial

    def edge_location(self, index: int) -> Location:
        """Location in the file of the edge at ``index``, counting the edges that were left out."""
        if not self._dropped_edges:
            return ("edges", index)
        return ("edges", self._kept_edges[index])

    @cached_property
    def _kept_edges(self) -> list[int]:
        return [i for i in range(len(self.edges) + len(self._dropped_edges)) if i not in self._dropped_edges]

    def by_default(self, at: Location) -> bool:
        """Whether what stands at a location was said by the ``defaults`` of a block or a file, and not there."""
        origins = self._document.origins if self._document else {}
        # What stands in a value has the origin of the value.
        origin = next((found for n in range(len(at), 1, -1) if (found := origins.get(at[:n])) is not None), None)
        return origin is not None and "defaults" in (origin.at[:1] + origin.at[2:3])

    def place(self, at: Location) -> tuple[str, Location]:
        """Return the file and the location there of what stands at a location: one for all instances of a block."""
        return self._document.place(at) if self._document else ("", at)

    def written(self, at: Location, otherwise: str) -> str:
        """Return the text at a location as the user wrote it: in a block, a name of the block's."""
        found = written(self._document, at) if self._document else None
        return found if isinstance(found, str) else otherwise

    def __eq__(self, other: object) -> bool:
        # Where it was read from does not make a network another one.
        return isinstance(other, Architecture) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def locate(self, diagnostic: Diagnostic) -> Diagnostic:
        """Give a diagnostic its position in the file that this came from, if it came from one."""
        return self._document.locate(diagnostic) if self._document else diagnostic

    def to_dict(self, *, complete: bool = False) -> dict[str, Any]:
        """Return plain values that ``Architecture.model_validate`` (and YAML) read back.

        Defaults are left out. ``complete`` writes them as well: a later version with other defaults reads the same
        network. Only what has no value, and by default has none, is left out then.
        """
        given: dict[str, Any] = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        if not complete:
            return given
        found: dict[str, Any] = _without_nulls(self.model_dump(mode="json", by_alias=True), given)
        return found


def _without_nulls(value: Any, given: Any) -> Any:
    """Drop the nulls of nested values, save those that are given."""
    if isinstance(value, dict):
        given = given if isinstance(given, dict) else {}
        return {k: _without_nulls(v, given.get(k)) for k, v in value.items() if v is not None or k in given}
    if isinstance(value, list):
        beside = given if isinstance(given, list) and len(given) == len(value) else [None] * len(value)
        return [_without_nulls(v, g) for v, g in zip(value, beside, strict=True)]
    return value


def written(document: Document, at: Location) -> Any:
    """Return the value at a location of a document as it stands where it comes from; None where nothing does."""
    for depth in range(len(at), -1, -1):
        origin = document.origins.get(at[:depth])
        if origin is not None:
            return written(origin.document, (*origin.at, *at[depth:]))
    value = document.data
    for part in at:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def known_keys(at: Location) -> list[str]:
    """Keys that the language knows at a location, for 'did you mean'."""
    fields = getattr(_model_at(at), "model_fields", {})
    return [f.alias or name for name, f in fields.items()]


def field_at(at: Location) -> FieldInfo | None:
    """Field of the language at a location; None where there is none, or a name of the user's."""
    fields: dict[str, FieldInfo] = getattr(_model_at(at[:-1]), "model_fields", {})
    return next((f for name, f in fields.items() if (f.alias or name) == at[-1]), None)


def _model_at(at: Location) -> Any:
    model: Any = Architecture
    for part in at:
        if model is None or isinstance(part, int):
            continue
        if part == "bias":
            model = BiasSpec
        elif part == "augment":
            model = Augmentation
        elif part == "edges":
            model = edge_spec()
        elif part in KINDS:
            model = KINDS[str(part)]
        elif model is Architecture and part == "states":
            model = dict
        elif model is dict:
            model = StateSpec
        else:
            fields = getattr(model, "model_fields", {})
            model = fields[part].annotation if part in fields else None
    return model

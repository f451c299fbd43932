"""A whole network as the user declares it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cached_property
from typing import Annotated, Any, Literal, Self, TypeVar, cast

from pydantic import Field, PrivateAttr, model_validator

from epgraph.display import Shown
from epgraph.energies import ENERGIES
from epgraph.errors import Diagnostic, Location
from epgraph.language.document import Document
from epgraph.language.model.data import DataSpec
from epgraph.language.model.dynamics import DynamicsSpec
from epgraph.language.model.edge import EdgeField
from epgraph.language.model.fields import NAME_PATTERN, EnergyField, Model
from epgraph.language.model.initialization import InitField, InitSpec
from epgraph.language.model.learning import LearningSpec
from epgraph.language.model.network import DefaultsSpec, InputSpec, OutputSpec, StateSpec
from epgraph.language.model.published import PublishedSpec
from epgraph.language.model.training import TrainingSpec

LANGUAGE = 2
"""Version of the language that this package reads."""


T = TypeVar("T")


class _Derived:
    """What was derived from an architecture, and from which states and edges: those can be changed in place.

    A deep copy or a pickle of it is empty. A shallow copy of the architecture shares it until it asks, and has
    another owner.
    """

    def __init__(self, owner: Architecture | None = None, parts: tuple[object, ...] = ()) -> None:
        self.owner = owner
        self.parts = parts
        self.values: dict[Callable[..., object], object] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return _Derived, ()


class Architecture(Shown, Model):
    """A whole network as declared: states, edges, dynamics, learning."""

    epgraph: Literal[2] = Field(description="Version of the language.", examples=[2])
    name: Annotated[str, Field(min_length=1, max_length=200)] = Field(
        default="network", description="Name of the network.", examples=["Hopfield-ResNet13"]
    )
    input: InputSpec = Field(
        description="The input, clamped to the data.", examples=[{"name": "x", "shape": [3, 32, 32]}]
    )
    output: OutputSpec = Field(
        description="The output, nudged towards the label.", examples=[{"name": "y", "classes": 10}]
    )
    defaults: DefaultsSpec = Field(
        default_factory=DefaultsSpec,
        description="Default activation, gain and bias of states and edges.",
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
        description="Rule of the initial parameters, by name, or {rule, norm}.",
        examples=["graph_aware", {"rule": "graph_aware", "norm": 0.9}],
    )
    energy: EnergyField = Field(
        default="hopfield",
        description="Energy that states relax on and weights learn from: hopfield is Σ G(s) − Φ; predictive is "
        "½ Σ ‖s − σ(a)‖² with the sums a of the edges into s, which are read in their direction.",
        examples=["hopfield", "predictive"],
    )
    dynamics: DynamicsSpec = Field(
        default_factory=DynamicsSpec,
        description="Schedule, sweeps and solver with which the network relaxes to its equilibrium.",
        examples=[{"schedule": "coloring", "free_steps": 120, "nudged_steps": 50}],
    )
    learning: LearningSpec = Field(
        default_factory=LearningSpec,
        description="Estimator of the gradient, and the strength of the nudge.",
        examples=[{"estimator": "centered", "beta": 0.1}],
    )
    data: DataSpec = Field(
        default_factory=DataSpec,
        description="Data set, its preparation, and its validation examples.",
        examples=[{"name": "cifar10", "augment": {"flip": 0.5, "crop": 4}, "validation": 0.1}],
    )
    training: TrainingSpec = Field(
        default_factory=TrainingSpec,
        description="Epochs, batches and optimizer.",
        examples=[{"epochs": 300, "batch_size": 128, "learning_rate": 0.03}],
    )
    published: PublishedSpec | None = Field(
        default=None,
        description="Published result of this experiment, which 'train' prints beside its own; it has no effect.",
        examples=[{"accuracy": 93.92, "source": "Table I"}],
    )

    _document: Document | None = PrivateAttr(default=None)
    _dropped_edges: set[int] = PrivateAttr(default_factory=set)
    _partial: bool = PrivateAttr(default=False)
    _shapeless: frozenset[str] = PrivateAttr(default=frozenset())
    _derived: _Derived = PrivateAttr(default_factory=_Derived)

    @model_validator(mode="after")
    def _defaults(self) -> Self:
        if self.dynamics_defaults:
            object.__setattr__(self, "dynamics", self.dynamics.with_defaults(self.dynamics_defaults))
        return self

    @property
    def dynamics_defaults(self) -> dict[str, Any]:
        """Defaults of keys of ``dynamics`` that the energy and the solver set, in place of the language's."""
        return {**ENERGIES[self.energy].defaults, **self.dynamics.chosen_solver.defaults}

    @property
    def partial(self) -> bool:
        """Whether parts at fault were left out, so that nothing follows from what is missing."""
        return self._partial

    @property
    def shapeless(self) -> frozenset[str]:
        """Names of states of which nothing about shapes follows: what the file says of theirs is at fault."""
        return self._shapeless

    def derive(self, function: Callable[[Architecture], T]) -> T:
        """Return ``function`` of this architecture, computed once; anew where states or edges were changed since."""
        parts = (*self.edges, *self.states.items())
        if self._derived.owner is not self or self._derived.parts != parts:
            self._derived = _Derived(self, parts)
        values = self._derived.values
        if function not in values:
            values[function] = function(self)
        return cast(T, values[function])

    def without_edges(self, dropped: Collection[int]) -> Architecture:
        """Return the network without the edges at some indices; the others keep their places in the file."""
        gone = {self.edge_location(index)[1] for index in dropped}
        rest = self.model_copy(update={"edges": [edge for i, edge in enumerate(self.edges) if i not in dropped]})
        rest._dropped_edges = self._dropped_edges | {int(place) for place in gone}
        rest.__dict__.pop("_kept_edges", None)
        return rest

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
        origin = next((origins[at[:n]] for n in range(len(at), 1, -1) if at[:n] in origins), None)
        return origin is not None and "defaults" in (origin.at[:1] + origin.at[2:3])

    def place(self, at: Location) -> tuple[str, Location]:
        """Return the file and the location there of what stands at a location: one for all instances of a block."""
        return self._document.place(at) if self._document else ("", at)

    def instance(self, state: str) -> tuple[str, str]:
        """Return the dotted name of the instance of a block to which a state belongs, and the state's name there.

        The first is empty for a state of the file itself, or where the network was not read from a file with blocks.
        """
        origin = self._document.origins.get(("states", state)) if self._document else None
        return (origin.instance, str(origin.at[-1])) if origin and origin.instance else ("", state)

    def written(self, at: Location, otherwise: str) -> str:
        """Return the text at a location as the user wrote it: in a block, a name of the block's."""
        text = self._document.written(at) if self._document else None
        return text if isinstance(text, str) else otherwise

    def __repr__(self) -> str:
        inside = "×".join(map(str, self.input.shape))
        outside = "×".join(map(str, self.output.shape or ())) or f"{self.output.classes} classes"
        parts = f"{len(self.states)} hidden states, {len(self.edges)} edges, energy {self.energy}"
        return f"Architecture({self.name!r}: {inside} → {outside}, {parts})"

    __str__ = __repr__

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
        values: dict[str, Any] = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        defaults = self.dynamics_defaults
        if defaults:
            # Pydantic knows the defaults of the language only.
            said = {**values.pop("dynamics", {}), **{key: getattr(self.dynamics, key) for key in defaults}}
            said = {key: value for key, value in said.items() if key not in defaults or value != defaults[key]}
            parts = {**values, "dynamics": _in_order(said, DynamicsSpec)} if said else values
            values = _in_order(parts, Architecture)
        if complete:
            values = _without_nulls(self.model_dump(mode="json", by_alias=True), values)
        return values


def _in_order(values: dict[str, Any], model: type[Model]) -> dict[str, Any]:
    """Sort values by the fields of a model."""
    return {key: values[key] for key in model.model_fields if key in values}


def _without_nulls(value: Any, other: Any) -> Any:
    """Drop the nulls of nested values, save those that stand in another value of the same form."""
    if isinstance(value, dict):
        other = other if isinstance(other, dict) else {}
        return {k: _without_nulls(v, other.get(k)) for k, v in value.items() if v is not None or k in other}
    if isinstance(value, list):
        others = other if isinstance(other, list) and len(other) == len(value) else [None] * len(value)
        return [_without_nulls(v, o) for v, o in zip(value, others, strict=True)]
    return value

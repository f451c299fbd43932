"""``Network``: states and edges declared by calls, and ``build()`` → ``Architecture``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from epgraph.arguments import instance, shown, unboxed
from epgraph.errors import Diagnostic, EpgraphError, Location, nearest
from epgraph.graph import check
from epgraph.graph.assemble import examine
from epgraph.kinds import KINDS, EdgeKind
from epgraph.language import Architecture
from epgraph.language.model import LANGUAGE, known_keys
from epgraph.language.validate import describe, errors_of, explain, raise_for


@dataclass(frozen=True)
class StateReference:
    """A state of a network, to name as an end of edges."""

    name: str
    network: Network = field(repr=False, compare=False)

    def __str__(self) -> str:
        return self.name


End = StateReference | str
"""An end of an edge: what ``Network.state`` returned, or the name of a state."""


class Network:
    """Builder of a network. Each call checks its arguments; ``build`` checks the whole network.

    Every edge kind is a method, named as in YAML: ``net.conv(a, b, kernel=3, gain=0.8)`` is
    ``{from: a, to: b, conv: {kernel: 3}, gain: 0.8}``. A unary kind takes one state. A user's own kind becomes a
    method when it is registered.

    Parameters
    ----------
    name
        Name of the network.
    input
        Shape of the input, (channels, height, width) or (units,); or the settings of ``input`` in YAML.
    classes
        Number of classes; ``output`` may say it instead.
    output
        The settings of ``output`` in YAML.
    activation, gain, bias
        Defaults of states and edges.
    sections
        Further sections as in YAML: ``dynamics={"schedule": "coloring"}``, ``learning``, ``training``, …

    Raises
    ------
    EpgraphError
        If a setting is not part of the language; the message begins with the path of keys to it.
    """

    def __init__(
        self,
        name: str = "network",
        *,
        input: Sequence[int] | Mapping[str, Any],
        classes: int | None = None,
        output: Mapping[str, Any] | None = None,
        activation: object = None,
        gain: float | None = None,
        bias: object = None,
        **sections: Any,
    ) -> None:
        for key, adds in (("states", "state(…)"), ("edges", "edge(…), conv(…), …")):
            if key in sections:
                raise EpgraphError(f"'{key}' is no section of a Network", f"add them one by one: {adds}", "unknown-key")
        defaults = {"activation": activation, "gain": gain, "bias": bias}
        data = {
            "epgraph": LANGUAGE,
            "name": name,
            "input": input if isinstance(input, Mapping) else {"shape": input},
            "output": {} if output is None else instance("output", output, Mapping, "e.g. {'classes': 10}"),
            "defaults": {
                **instance("defaults", sections.pop("defaults", {}), Mapping, "e.g. {'gain': 0.6}"),
                **{key: value for key, value in defaults.items() if value is not None},
            },
            **sections,
        }
        self._data: dict[str, Any] = {key: plain(value) for key, value in data.items()}
        if classes is not None:
            self._data["output"]["classes"] = plain(classes)
        keys = known_keys(())
        problems = [
            Diagnostic(f"unknown section '{key}'", nearest(key, keys), (key,), rule="unknown-key")
            for key in sections
            if key not in keys
        ]
        for key in self._data:
            problems += [] if key not in keys else _mistakes(key, self._data[key])
        raise_for(problems)
        self._states: dict[str, dict[str, Any]] = {}
        self._edges: list[dict[str, Any]] = []
        self._labels: list[str] = []
        self.input = StateReference(self._data["input"].get("name", "x"), self)
        self.output = StateReference(self._data["output"].get("name", "y"), self)

    def state(self, /, name: str | None = None, **settings: Any) -> StateReference:
        """Add a hidden state; the settings are those of YAML, e.g. ``channels=16`` or ``shape=(64,)``.

        Without a name, the state gets the first unused one of h1, h2, ….

        Raises
        ------
        EpgraphError
            If the name is used already or illegal, or a setting is not part of the language.
        """
        argument: object = name
        if not isinstance(argument, str | None):
            hint = "pass a name, and settings by name: e.g. state('h1', channels=16)"
            raise EpgraphError(f"a state's name is text, found {describe(argument)}", hint, "wrong-type")
        owners = {self.input.name: "the input", self.output.name: "the output"}
        owners |= dict.fromkeys(self._states, "a state")
        if name is None:
            name = next(unused for i in range(1, len(owners) + 2) if (unused := f"h{i}") not in owners)
        if name in owners:
            raise EpgraphError(
                Diagnostic(
                    f"duplicate name '{name}': {owners[name]} has it",
                    "choose another name",
                    ("states", name),
                    rule="duplicate-name",
                )
            )
        values = plain(settings)
        raise_for(_mistakes("states", {name: values}))
        self._states[name] = values
        return StateReference(name, self)

    # A kind may be called 'self', and an option of one 'kind'.
    def edge(
        self,
        /,
        *ends: End | EdgeKind | Mapping[str, Any],
        kind: EdgeKind | Mapping[str, Any] | str | None = None,
        **settings: Any,
    ) -> None:
        """Add an edge: ``edge(a, b, kind=Conv(kernel=3))``, ``edge(a, b, Conv(kernel=3))`` or ``edge(a, b, conv={…})``.

        Parameters
        ----------
        ends
            The states ``from`` and ``to``, or the one state ``at``, and after them, if you like, the kind.
        kind
            An instance of an edge kind, or as in YAML ``{"conv": {"kernel": 3}}``, or its name.
        settings
            The other keys of an edge, as in YAML: ``gain``, ``name``, ``learning_rate``, …. Where ``kind`` is a name,
            its options too.

        Raises
        ------
        EpgraphError
            If an end is a state of another network, or a setting is not part of the language.
        """
        behind = next((end for end in ends if isinstance(end, EdgeKind | Mapping)), None)
        self._add(ends, behind if kind is None else kind, settings)

    def _of_kind(self, kind: str, /, *ends: End, **settings: Any) -> None:
        """Add an edge of a kind; settings that are no keys of edges are options of the kind."""
        self._add(ends, kind, settings)

    def _add(self, ends: Sequence[object], kind: object, settings: Mapping[str, Any]) -> None:
        names = [self._name(end) for end in ends if not isinstance(end, EdgeKind | Mapping)]
        label = str(settings.get("name") or "→".join(names))
        if len(names) not in (1, 2):
            raise EpgraphError(
                Diagnostic(
                    f"an edge joins two states, or acts at one, found {len(names)}",
                    "name them first, and give options by name",
                    ("edges", label),
                    rule="edge-ends",
                )
            )
        edge: dict[str, Any] = dict(zip(("at",) if len(names) == 1 else ("from", "to"), names, strict=True))
        edge |= as_written(kind, settings, label)
        raise_for(_mistakes("edges", [edge], [label]))
        self._edges.append(edge)
        self._labels.append(label)

    def __getattr__(self, kind: str) -> Callable[..., None]:
        if kind not in KINDS:
            raise AttributeError(f"a network has no '{kind}'; {nearest(kind, list(KINDS))}")
        return partial(self._of_kind, kind)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *KINDS})

    def build(self) -> Architecture:
        """Check the whole network, as ``load`` checks a file, and return its architecture.

        Raises
        ------
        EpgraphError
            With all mistakes that ``load`` reports: ends of edges, shapes, reachability, and dynamics or an estimator
            that the network cannot use. Each names its state or edge.
        """
        data = {**self._data, "states": self._states, "edges": self._edges}
        try:
            architecture = Architecture.model_validate({key: value for key, value in data.items() if value != {}})
        except ValidationError as error:
            raise EpgraphError(_named(explain(detail), self._labels) for detail in errors_of(error)) from None
        graph, problems = examine(architecture)
        problems += [] if graph is None else check(graph)
        raise_for([_named(diagnostic, self._labels) for diagnostic in problems])
        return architecture

    def _name(self, end: object) -> str:
        if isinstance(end, str):
            return end
        if isinstance(end, type) and issubclass(end, EdgeKind):
            raise EpgraphError(
                f"a kind of edges is an instance, found {shown(end)}", f"write {end.__name__}(…)", "wrong-type"
            )
        if not isinstance(end, StateReference):
            raise EpgraphError(
                f"an end of an edge is a state or its name, found {describe(end)}",
                "pass what net.state(…) returned, net.input or net.output",
                "wrong-type",
            )
        if end.network is not self:
            other = end.network._data["name"]
            raise EpgraphError(
                f"state '{end.name}' belongs to another network, '{other}'",
                "pass a state of this one, or its name",
                "unknown-state",
            )
        return end.name


def as_written(kind: object, settings: Mapping[str, Any], label: str) -> dict[str, Any]:
    """Return an edge's kind and settings as keys of YAML.

    Where ``kind`` is a name, settings that are no keys of edges are its options. ``label`` names the edge in messages.
    """
    values = plain(settings)
    if kind is None:
        return dict(values)
    if isinstance(kind, EdgeKind):
        return {kind.name: plain(kind), **values}
    if isinstance(kind, Mapping):
        return {**plain(kind), **values}
    if not isinstance(kind, str) or kind not in KINDS:
        hint = nearest(str(kind), list(KINDS))
        if isinstance(kind, type) and issubclass(kind, EdgeKind):
            hint = f"write {kind.__name__}(…)"
        at = ("edges", label, "kind")
        raise EpgraphError(Diagnostic(f"unknown kind of edge, {describe(kind)}", hint, at, rule="edge-kind"))
    keys = set(known_keys(("edges", 0))) - set(KINDS)
    options = {key: value for key, value in values.items() if key not in keys}
    return {kind: options, **{key: value for key, value in values.items() if key in keys}}


def plain(value: Any) -> Any:
    """Convert a value to what YAML holds: models to mappings, tuples and arrays to lists, numbers to Python's."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | range):
        return [plain(entry) for entry in value]
    # NumPy's functions return shapes as arrays.
    return value.tolist() if getattr(value, "ndim", 0) and hasattr(value, "tolist") else unboxed(value)


@lru_cache(maxsize=64)
def _reader(section: str) -> TypeAdapter[Any]:
    field = Architecture.model_fields[section]
    # The field's metadata belongs to its type: e.g. a rule of ``init`` may be given by name.
    annotated: Any = Annotated[field.annotation, field, *field.metadata]
    return TypeAdapter(annotated)


def _mistakes(section: str, value: object, labels: Sequence[str] = ()) -> list[Diagnostic]:
    """Diagnostics of the language for one section of an architecture, or for part of it."""
    try:
        _reader(section).validate_python(value, strict=True)
    except ValidationError as error:
        details = errors_of(error)
        for detail in details:
            detail["loc"] = (section, *detail["loc"])
        return [_named(explain(detail), labels) for detail in details]
    return []


def _named(diagnostic: Diagnostic, labels: Sequence[str]) -> Diagnostic:
    """Replace an edge's index in a diagnostic by its name: without a file, an index means nothing."""
    at: Location = diagnostic.at
    if len(at) > 1 and at[0] == "edges" and isinstance(at[1], int):
        at = ("edges", labels[at[1]], *at[2:])
    return replace(diagnostic, at=at, related=tuple(_named(other, labels) for other in diagnostic.related))

"""``Template``: a function that builds a network, with parameters that are checked and described."""

from __future__ import annotations

import inspect
import shlex
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Annotated, Any, Generic, ParamSpec, cast, get_type_hints

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from epgraph.builder import Network
from epgraph.builder.network import plain
from epgraph.errors import Diagnostic, EpgraphError, Location, nearest
from epgraph.graph import build
from epgraph.kinds import Shape, shape_text
from epgraph.language import Architecture, to_yaml
from epgraph.language.model import ShapeField, Size
from epgraph.language.validate import errors_of, explain

P = ParamSpec("P")

InputShape = Annotated[ShapeField, Field(description="Shape of the input: [C, H, W] or [units].")]
Classes = Annotated[Size, Field(description="Number of classes.")]
Width = Annotated[Size, Field(description="Channels of a state, or its units where there are no pixels.")]
Widths = Annotated[
    tuple[Size, ...],
    BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value),
    Field(min_length=1, max_length=1000),
]
Count = Annotated[int, Field(ge=1, le=1000)]
Several = Annotated[int, Field(ge=3, le=1000)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1, description="Seed of the random wiring.")]
Share = Annotated[float, Field(ge=0, le=1)]

MIN_SIDE_PIXELS = 2
"""Smallest side of an image: states are not made smaller."""

# The common recipe: every template learns with it.
RECIPE: dict[str, Any] = {
    "init": {"rule": "graph_aware"},
    "dynamics": {"schedule": "coloring", "free_steps": 60, "nudged_steps": 30},
    "learning": {"beta": 0.2},
    "training": {"epochs": 10, "batch_size": 32, "learning_rate": 0.05, "weight_decay": 1e-3, "warm_start": False},
}


@dataclass(frozen=True)
class Parameter:
    """A parameter of a template: its default, its description, and the reader that checks values."""

    name: str
    default: Any
    description: str
    reader: TypeAdapter[Any]


class Template(Generic[P]):
    """A family of networks: called with its parameters, by keyword, it returns an ``Architecture``.

    Attributes
    ----------
    name
        Name in ``epgraph new --template``.
    parameters
        Parameters by name, in order.
    """

    def __init__(self, wire: Callable[P, Network]) -> None:
        self._wire = wire
        self.name = wire.__name__
        self.__doc__ = wire.__doc__
        self.__wrapped__ = wire
        self.parameters: dict[str, Parameter] = {}
        hints = get_type_hints(wire, include_extras=True)
        for name, parameter in inspect.signature(wire).parameters.items():
            reader: TypeAdapter[Any] = TypeAdapter(hints[name], config=ConfigDict(strict=True, allow_inf_nan=False))
            texts = [
                item.description
                for item in getattr(hints[name], "__metadata__", ())
                if isinstance(item, FieldInfo) and item.description
            ]
            self.parameters[name] = Parameter(name, parameter.default, texts[-1], reader)

    @property
    def summary(self) -> str:
        """First sentence of the description."""
        return (self.__doc__ or "").split("\n")[0]

    @property
    def description(self) -> str:
        """The whole docstring in one line."""
        return " ".join((self.__doc__ or "").split())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Architecture:
        """Build the network.

        Raises
        ------
        EpgraphError
            If a parameter is unknown, or its value gives no network.
        """
        if args:
            raise EpgraphError(f"{self.name} takes parameters by name, found {args[0]!r}", f"{self.name}(width=16)")
        return self._network(dict(kwargs)).build()

    def yaml(self, **parameters: Any) -> str:
        """Return the network as YAML to edit, with comments: the description, the command, and sizes of states."""
        architecture = self._network(parameters).build()
        graph = build(architecture)
        notes: dict[Location, str] = {
            ("states", name): shape_text(graph.states[name].shape[1:])
            for name, state in architecture.states.items()
            if state.channels is not None and len(graph.states[name].shape) > 1
        }
        return to_yaml(
            architecture, [*textwrap.wrap(self.description, 100), f"Made by: {self.command(**parameters)}"], notes
        )

    def command(self, **parameters: Any) -> str:
        """Return the command line that makes the network; it always names the seed."""
        self._checked(parameters)
        values = {k: value for k, value in plain(parameters).items() if value != plain(self.parameters[k].default)}
        if "seed" in self.parameters:
            values.setdefault("seed", parameters.get("seed", self.parameters["seed"].default))
        options = [part for key, value in values.items() for part in (f"--{key.replace('_', '-')}", _option(value))]
        return shlex.join(["epgraph", "new", "--template", self.name, *options])

    def _checked(self, parameters: dict[str, Any]) -> dict[str, Any]:
        problems = []
        checked: dict[str, Any] = {}
        for key, value in parameters.items():
            if key not in self.parameters:
                hint = nearest(key, list(self.parameters))
                at = (self.name, key)
                problems.append(Diagnostic(f"unknown parameter '{key}'", hint, at, rule="unknown-key"))
                continue
            try:
                checked[key] = self.parameters[key].reader.validate_python(plain(value))
            except ValidationError as error:
                for detail in errors_of(error)[:1]:
                    detail["loc"] = (self.name, key, *detail["loc"])
                    problems.append(explain(detail))
        if problems:
            raise EpgraphError(problems)
        return checked

    def _network(self, parameters: dict[str, Any]) -> Network:
        checked = self._checked(parameters)
        wire = cast(Callable[..., Network], self._wire)
        try:
            return wire(**checked)
        except ParameterError as error:
            at = (self.name, error.parameter)
            raise EpgraphError(Diagnostic(error.message, error.hint, at, rule="out-of-range")) from None


def _option(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ",".join(map(_option, value)) + "]"
    return (
        {True: "true", False: "false", None: "null"}[value] if value is None or isinstance(value, bool) else str(value)
    )


class ParameterError(Exception):
    """The value of a parameter gives no network; the template turns this into an ``EpgraphError``."""

    def __init__(self, parameter: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.parameter, self.message, self.hint = parameter, message, hint


def image(input: Shape, template: str) -> tuple[int, int]:
    """Return height and width of an input image.

    Raises
    ------
    ParameterError
        If the input is no image.
    """
    if len(input) != 3:
        raise ParameterError("input", f"'{template}' needs an image, found {list(input)}", "e.g. [1, 8, 8]")
    return input[1], input[2]


def halvings(input: Shape) -> int:
    """How often an image can be halved (rounding up) until its smaller side is below ``MIN_SIDE_PIXELS``."""
    count, side = 0, min(input[1:])
    while (side := ceil(side / 2)) >= MIN_SIDE_PIXELS:
        count += 1
        if side == MIN_SIDE_PIXELS:
            break
    return count


def spread(steps: int, places: int) -> set[int]:
    """Choose ``steps`` of ``places`` positions at even distances, starting with the first."""
    return {i * places // steps for i in range(min(steps, places))} if steps else set()

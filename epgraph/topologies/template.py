"""``Template``: a function that wires a network, with parameters that are checked and described."""

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

SMALLEST = 2
"""Pixels along a side below which states are not made smaller."""

# The common recipe: every template learns by it, whatever its wiring.
RECIPE: dict[str, Any] = {
    "init": {"rule": "graph_aware"},
    "dynamics": {"schedule": "coloring", "free_steps": 60, "nudged_steps": 30},
    "learning": {"beta": 0.2},
    "training": {"epochs": 10, "batch_size": 32, "learning_rate": 0.05, "weight_decay": 1e-3, "warm_start": False},
}


@dataclass(frozen=True)
class Parameter:
    """A parameter of a template: its default, what it takes, and what it is for."""

    name: str
    default: Any
    description: str
    reader: TypeAdapter[Any]


class Template(Generic[P]):
    """A family of networks: called with its parameters, by keyword, it returns an ``Architecture``.

    Attributes
    ----------
    name
        By which ``epgraph new --template`` knows it.
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
        """What it is, in a sentence."""
        return (self.__doc__ or "").split("\n")[0]

    @property
    def description(self) -> str:
        """What it is, what it is for, and what is particular."""
        return " ".join((self.__doc__ or "").split())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Architecture:
        """Make the network.

        Raises
        ------
        EpgraphError
            Where a parameter is none of the template's, or makes no network.
        """
        if args:
            raise EpgraphError(f"{self.name} takes parameters by name, found {args[0]!r}", f"{self.name}(width=16)")
        return self._made(dict(kwargs)).build()

    def yaml(self, **parameters: Any) -> str:
        """Return the network as YAML for a person to edit: with what it is, the command that made it, and sizes."""
        architecture = self._made(parameters).build()
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
        """Return the command line that makes the network; a seed is always said."""
        self._checked(parameters)
        given = {key: value for key, value in plain(parameters).items() if value != plain(self.parameters[key].default)}
        if "seed" in self.parameters:
            given.setdefault("seed", parameters.get("seed", self.parameters["seed"].default))
        options = [part for key, value in given.items() for part in (f"--{key.replace('_', '-')}", _option(value))]
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

    def _made(self, parameters: dict[str, Any]) -> Network:
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
    """A parameter makes no network; its template says whose parameter it is."""

    def __init__(self, parameter: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.parameter, self.message, self.hint = parameter, message, hint


def image(input: Shape, template: str) -> tuple[int, int]:
    """Return height and width of an input that has to be an image.

    Raises
    ------
    ParameterError
        Where it is none.
    """
    if len(input) != 3:
        raise ParameterError("input", f"'{template}' needs an image, found {list(input)}", "e.g. [1, 8, 8]")
    return input[1], input[2]


def halvings(input: Shape) -> int:
    """How many times the sides of an image can be halved (rounded up) before the smaller falls below ``SMALLEST``."""
    count, side = 0, min(input[1:])
    while (side := ceil(side / 2)) >= SMALLEST:
        count += 1
        if side == SMALLEST:
            break
    return count


def spread(steps: int, places: int) -> set[int]:
    """Choose ``steps`` of ``places`` positions, evenly, the first among them."""
    return {i * places // steps for i in range(min(steps, places))} if steps else set()

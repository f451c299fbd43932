"""What a caller hands to an engine, checked against the network: inputs, targets and states."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Tensor, nn

from epgraph.errors import EpgraphError
from epgraph.graph import NetworkGraph
from epgraph.kinds import shape_text
from epgraph.runtime.arguments import finite, floating, states, tensor
from epgraph.runtime.relaxation import States


class Inputs:
    """Brings what a caller gives to the device and the precision of ``like``, or says what was expected."""

    def __init__(self, graph: NetworkGraph, like: Tensor) -> None:
        self.graph = graph
        self.like = like

    def check_input(self, x: Tensor) -> Tensor:
        """Return the input, (batch, *input shape), all of whose values are finite."""
        name, shape = self.graph.input.name, self.graph.input.shape
        x = floating(f"input '{name}'", x)
        if x.ndim != len(shape) + 1 or tuple(x.shape[1:]) != shape or len(x) == 0:
            raise EpgraphError(
                f"input '{name}' expects a batch of {shape_text(shape)}, found {tuple(x.shape)}",
                "the first dimension is the batch, of one example or more",
            )
        return finite(f"input '{name}'", x, self.like)

    def targets(self, y: Tensor, batch: int) -> Tensor:
        """Integer labels (batch,) as one-hot rows, or targets (batch, *output shape) as they are."""
        classes, shape = self.graph.architecture.output.classes, (batch, *self.graph.output.shape)
        y = tensor("y", y)
        dtype = str(y.dtype).removeprefix("torch.")
        if y.dtype == torch.bool or y.is_complex():
            hint = "its imaginary part would be lost: pass y.real" if y.is_complex() else "pass y.long() or y.float()"
            raise EpgraphError(f"y expects labels or targets, found {dtype}", hint, "wrong-type")
        if classes is not None and y.ndim == 1 and not y.is_floating_point() and len(y) == batch:
            y = y.to(self.like.device, torch.int64)
            if bool(((y < 0) | (y >= classes)).any()):
                raise EpgraphError(
                    f"labels run from {int(y.min())} to {int(y.max())}, but the output has {classes} classes",
                    "set output.classes, or relabel the data from 0",
                )
            return nn.functional.one_hot(y, classes).to(self.like.dtype)
        if tuple(y.shape) != shape:
            labels = "integer labels or " if classes is not None else ""
            raise EpgraphError(
                f"expected {batch} {labels}targets of shape {shape}, found {tuple(y.shape)} of {dtype}",
                "" if classes is not None else "labels need output.classes in place of output.shape",
            )
        return finite("y", y, self.like)

    @staticmethod
    def refuse_gradients(**values: object) -> None:
        """Raise where one of the values, by the names of the arguments, requires a gradient."""
        for label, value in values.items():
            if isinstance(value, Tensor) and value.requires_grad:
                raise EpgraphError(
                    f"{label} requires a gradient, and backward gives one to parameters alone",
                    f"put the engine in an epgraph.Equilibrium, which gives one to its input, or pass {label}.detach()",
                )

    def output(self, states: Mapping[str, Tensor]) -> Tensor:
        """Return the output state, which is one of the states given."""
        name = self.graph.output.name
        output = states.get(name) if isinstance(states, Mapping) else None
        if output is None:
            raise EpgraphError(f"states: the output '{name}' is missing", "pass what relax returns: relaxation.states")
        batch = len(output) if isinstance(output, Tensor) and output.ndim else 1
        return self.states("states", {name: output}, batch)[name].to(self.like)

    def all_states(self, x: Tensor, states: Mapping[str, Tensor]) -> tuple[Tensor, States]:
        """Return the input and all states that move, none of which may be missing."""
        x = self.check_input(x)
        checked = self.states("states", states, len(x))
        missing = [name for name in self.graph.free if name not in checked]
        if missing:
            raise EpgraphError(f"states: '{missing[0]}' is missing", f"it takes all of: {', '.join(self.graph.free)}")
        return x, {name: s.to(x) for name, s in checked.items()}

    def check_start(self, start: Mapping[str, Tensor] | None, batch: int) -> States:
        """Return the states to start from, or say which of them is none, or has another shape than the network's."""
        return {} if start is None else self.states("start", start, batch)

    def check_start_values(self, start: States) -> None:
        """Raise where a phase diverged because it began with what is no number."""
        for name, state in start.items():
            finite(f"start: state '{name}'", state, self.like)

    def start(self, x: Tensor, start: Mapping[str, Tensor] | None) -> States:
        """Initial states, checked: copies of those given, zeros where left out."""
        checked = self.check_start(start, len(x))
        return {
            name: checked[name].to(x, copy=True) if name in checked else x.new_zeros((len(x), *shape))
            for name, shape in self._shapes.items()
        }

    def states(self, what: str, given: Mapping[str, Tensor], batch: int) -> States:
        """Return states by name, each (batch, *shape); there may be fewer than the network has."""
        return states(what, given, self._shapes, batch)

    @cached_property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the states that move, of one example."""
        return {name: self.graph.states[name].shape for name in self.graph.free}

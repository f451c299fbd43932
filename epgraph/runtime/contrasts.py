"""Contrasts: the derivatives of Φ at two oppositely nudged states, subtracted. They are what EP estimates from."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from epgraph.compiler import ProgramCache
from epgraph.compiler.sweep import Step, as_pair, computed, missing, run
from epgraph.compiler.trace import How
from epgraph.contract import is_own
from epgraph.errors import EpgraphError
from epgraph.graph import Edge, NetworkGraph
from epgraph.runtime.phases import Nudge, per_example
from epgraph.runtime.relaxation import Clamped, States, named


class Contrasts:
    """Contrasts of one network, by its parameters and by its input.

    ``once`` tells that pairs come from one doubled batch (see ``Tracer.gradient``).
    """

    def __init__(self, graph: NetworkGraph, *, once: bool) -> None:
        self.graph = graph
        self.once = once

    def by_parameters(
        self,
        clamped: Clamped,
        pairs: States,
        scale: float | Tensor,
        wanted: Collection[str] | None = None,
        carried: Mapping[str, Tensor] | None = None,
        *,
        single: bool = False,
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield ``scale`` · ½[∂Φ/∂θ(s⁺) − ∂Φ/∂θ(s⁻)], summed over the batch, of one parameter after the other.

        For a learnt level α, Σ (∂Φ/∂s − α)₊ stands in place of ∂Φ/∂θ.

        Parameters
        ----------
        clamped
            The clamped input, and the parameters.
        pairs
            Common and odd parts of the states, (2·batch, *shape).
        scale
            One number, or one for each example, (batch,).
        wanted
            Names of weights to take of those that are trained; where left out, all parameters that are. A feedback
            weight receives what its edge's weight does (Laborieux et al. 2021).
        carried
            ``Relaxation.carried`` of the pairs; left out, it is computed.
        single
            Whether ``pairs`` are the states of one phase, of an energy whose gradient is zero at the free equilibrium:
            then the result is −``scale`` · ∂F/∂θ.
        """
        parameters, trained = clamped.parameters.values, clamped.parameters.trained
        names = {_tied(name) for name in trained}
        names = names if wanted is None else names.intersection(wanted)
        if self.graph.energy.feedforward:
            how = self._how(clamped, carried, single=single, weighted=isinstance(scale, Tensor))
            values = self._summed(clamped, pairs, scale, carried, how)
            steps = clamped.machine.functions("gradient", trainable=frozenset(names), once=self.once, how=how)
            for name, value in computed(steps, values):
                self._refuse_shape(name, value, parameters[name])
                gradient = value.to(parameters[name].dtype)
                yield name, gradient if isinstance(scale, Tensor) else gradient.mul_(scale)
            return
        values = clamped.values | named(clamped.machine, {**pairs, self.graph.input.name: as_pair(clamped.x)})
        weigh = None
        if isinstance(scale, Tensor):
            weigh = partial(self._weighted, clamped.machine, weights=scale)
            entangled = {name: edges for name, edges in self._entangled.items() if name in names}
            names -= entangled.keys()
            for name, edges in entangled.items():
                # Each edge by itself, with examples weighted where its own contrast is linear.
                total = sum(self._weighted_contrast(edge, clamped.machine, values, scale) for edge in edges)
                yield from _for_both(name, total.to(parameters[name].dtype), trained)  # type: ignore[union-attr]
        steps = clamped.machine.functions("gradient", trainable=frozenset(names), once=self.once)
        for name, value in computed(steps, values, weigh):
            self._refuse_shape(name, value, parameters[name])
            gradient = value.to(parameters[name].dtype)
            if not isinstance(scale, Tensor):
                gradient.mul_(scale)
            yield from _for_both(name, gradient, trained)

    def _refuse_shape(self, name: str, gradient: Tensor, parameter: Tensor) -> None:
        """Refuse a gradient of another shape than its parameter's; the user's own energy or edge kind may give one."""
        if gradient.shape == parameter.shape:
            return
        part, place, what = name.split(".")
        energy, edge = self.graph.energy, self.graph.edges.get(place)
        if part == "edges" and edge is not None and not is_own(type(energy)):
            method = f"edge kind '{edge.kind.name}': weight_contrast"
        else:
            methods = {"weight": "edge_gradient", "bias": "bias_gradient", "alpha": "level_gradient"}
            method = f"energy '{self.graph.architecture.energy}': {methods.get(what, 'its gradient')}"
        found, expected = tuple(gradient.shape), tuple(parameter.shape)
        raise EpgraphError(
            f"{method} gives the shape {found} for the {what} of '{place}': expected {expected}",
            "fix the plugin",
            "plugin",
        )

    @staticmethod
    def _how(clamped: Clamped, carried: Mapping[str, Tensor] | None, *, single: bool, weighted: bool) -> How:
        tracer = clamped.machine.tracer
        errors = tracer.two_way and all(name in (carried or {}) for name in (*tracer.handed, *tracer.returned))
        return How("nudged" if single else "pair", weighted, errors)

    def _summed(
        self,
        clamped: Clamped,
        states: States,
        scale: float | Tensor,
        carried: Mapping[str, Tensor] | None,
        how: How,
    ) -> dict[str, Any]:
        """Values of gradient functions of a ``feedforward`` energy, with the bottom-up sums."""
        x = as_pair(clamped.x) if how.phase == "pair" else clamped.x
        values = clamped.values | named(clamped.machine, {**states, self.graph.input.name: x}) | dict(carried or {})
        run(missing(clamped.machine.functions("sums", phase=how.phase), values), values)
        return values | ({"weights": scale} if how.weighted else {})

    def by_input(
        self, clamped: Clamped, pairs: States, scale: Tensor, carried: Mapping[str, Tensor] | None, *, single: bool
    ) -> Tensor:
        """``scale`` · ½[∂Φ/∂x(s⁺) − ∂Φ/∂x(s⁻)] per example, (batch, *input shape): adjoints of the input's edges.

        The arguments are those of ``by_parameters``.
        """
        if self.graph.energy.feedforward:
            how = self._how(clamped, carried, single=single, weighted=True)
            values = self._summed(clamped, pairs, scale, carried, how)
            run(clamped.machine.functions("input_gradient", how=how), values)
            found: Tensor = values.get("input", torch.zeros_like(clamped.x))
            return found
        name, shape = self.graph.input.name, self.graph.input.shape
        x = as_pair(clamped.x)
        contrast = torch.zeros_like(clamped.x)
        for edge in (*self.graph.post(name), *self.graph.pre(name)):
            weight = clamped.values.get(clamped.machine.tracer.names("weight", edge.owner))
            weight = None if weight is None else weight.to(x.dtype)
            if edge.source == name:
                force = edge.kind.adjoint_pair(weight, pairs[edge.target], x, shape)
            else:
                force = edge.kind.forward_pair(weight, pairs[edge.source], shape)
            contrast.add_(force.chunk(2)[1])
        return contrast.mul_(per_example(scale, contrast))

    def local(self, clamped: Clamped, free: States, nudge: Nudge) -> Iterator[tuple[str, Tensor]]:
        """Yield the cost's own gradient at the free state, of one parameter of a readout after the other."""
        parameters = clamped.parameters
        values = clamped.values | named(clamped.machine, free) | {"y": nudge.target}
        for name, gradient in computed(clamped.machine.functions("local", trainable=parameters.trained), values):
            yield name, gradient.to(parameters.values[name].dtype).mul_(1.0 / nudge.examples)

    @cached_property
    def _entangled(self) -> dict[str, list[Edge]]:
        """Weights whose contrast is not linear in a state that stands nowhere else in it, with their edges.

        The state of a unary edge is both its ends, and of tied edges the target of one may be the source of another.
        """
        edges: dict[str, list[Edge]] = {}
        for edge in self.graph.edges.values():
            if edge.weight_shape is not None and not self.graph.reads_out(edge):
                edges.setdefault(f"edges.{edge.owner}.weight", []).append(edge)
        return {name: users for name, users in edges.items() if len(users) > 1 or users[0].unary}

    @cached_property
    def _weight_owners(self) -> dict[str, Edge]:
        """Edges that have a weight of their own, by its name."""
        edges = self.graph.edges.values()
        return {f"edges.{edge.name}.weight": edge for edge in edges if edge.weight_shape is not None and not edge.tied}

    def _weighted_contrast(
        self, edge: Edge, machine: ProgramCache, values: Mapping[str, Any], weights: Tensor
    ) -> Tensor:
        """Contrast of one edge with every example's multiplied by its weight; see ``_weighted``."""
        names = machine.tracer.names
        source, target = (values[names("state", name)] for name in (edge.source, edge.target))
        weight = values[names("weight", edge.owner)].to(source.dtype)
        target = target * per_example(weights.repeat(2), target)
        return edge.kind.weight_contrast(weight, source, target, self.graph.states[edge.source].shape)

    def _weighted(self, machine: ProgramCache, step: Step, values: dict[str, Any], weights: Tensor) -> dict[str, Any]:
        """Values of a gradient function with every example's contrast multiplied by its weight."""
        edge = self._weight_owners.get(step[2][0])
        # Φ is linear in the target of an edge, and so is its contrast; the source decides the arg-max of max pooling,
        # and has to stay what it is. A bias is contrasted with its state alone.
        scaled = self.graph.free if edge is None else [edge.target]
        weighted = dict(values)
        for key in named(machine, dict.fromkeys(scaled)):
            if key in step[1]:
                weighted[key] = weighted[key] * per_example(weights.repeat(2), weighted[key])
        return weighted


def _for_both(name: str, gradient: Tensor, trained: Collection[str]) -> Iterator[tuple[str, Tensor]]:
    """Yield a weight's contrast, which its feedback weight receives as well, for those of the two that are trained."""
    feedback = name.removesuffix("weight") + "feedback"
    if feedback in trained and name in trained:
        yield feedback, gradient.clone()
    yield name if name in trained else feedback, gradient


def _tied(name: str) -> str:
    """Name of the weight that a feedback weight belongs to; other parameters are their own."""
    return f"{name.removesuffix('.feedback')}.weight" if name.endswith(".feedback") else name

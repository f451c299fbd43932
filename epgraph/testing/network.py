"""What the oracles of all energies share: parameters, costs, and sweeps over the classes of a schedule, in float64."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from epgraph.costs import COSTS
from epgraph.graph import Edge, NetworkGraph

States = dict[str, Tensor]
"""States by name, each ``(batch, *shape)`` in float64."""

Classes = Sequence[Sequence[str]]
"""Names of states that move simultaneously, class after class: one pass is a sweep."""

Gradients = dict[str, Tensor]
"""Gradients by the name of the parameter, each of the parameter's shape."""

Estimator = Literal["centered", "positive", "negative"]


class Network(ABC):
    """A network in float64, whose energy a subclass writes down.

    Parameters
    ----------
    graph
        The network.
    parameters
        A state dict: ``edges.<edge>.weight`` (OIHW, or (out, in)), ``states.<state>.bias`` (one number a
        channel, or a unit) and, where α is drawn or learnt, ``states.<state>.alpha`` (one number). Copied to
        float64 on the CPU; other names are ignored.

    Raises
    ------
    ValueError
        Where a parameter is missing or has the wrong shape.
    """

    def __init__(self, graph: NetworkGraph, parameters: Mapping[str, Tensor]) -> None:
        self.graph = graph
        owners = (e for e in graph.edges.values() if e.tied is None)
        wanted = {f"edges.{e.name}.weight": e.weight_shape for e in owners if e.weight_shape}
        wanted |= {f"states.{s.name}.bias": s.bias_shape for s in graph.states.values() if s.bias_shape}
        self.parameters = {name: _read(parameters, name, shape) for name, shape in wanted.items()}
        self.alphas: dict[str, float] = {}
        for name in graph.free:
            activation = graph.states[name].activation
            if activation.stored:
                level = _read(parameters, f"states.{name}.alpha", ())
                self.alphas[name] = level.item()
                if activation.learnt:
                    self.parameters[f"states.{name}.alpha"] = level
            else:
                self.alphas[name] = activation.alpha_range[0]

    sign: ClassVar[int] = 1
    """Sign in F of that whose derivative ``parameter_gradient`` is: −1 for Φ of F = Σ G − Φ."""

    @abstractmethod
    def parameter_gradient(self, x: Tensor, states: Mapping[str, Tensor]) -> Gradients:
        """Return ``sign`` · ∂F/∂θ summed over the batch, at fixed states."""

    @abstractmethod
    def logits(self, x: Tensor, states: Mapping[str, Tensor], parameters: Mapping[str, Tensor] | None = None) -> Tensor:
        """Σ A_e s + b of a readout."""

    @abstractmethod
    def update(
        self,
        x: Tensor,
        states: Mapping[str, Tensor],
        names: Collection[str],
        y: Tensor | None = None,
        beta: float = 0.0,
    ) -> States:
        """Move the states in ``names`` simultaneously; returns all states, the others as they were."""

    def estimate(
        self,
        x: Tensor,
        y: Tensor,
        free: Mapping[str, Tensor],
        nudged: Mapping[int, Mapping[str, Tensor]],
        beta: float,
        estimator: Estimator = "centered",
    ) -> Gradients:
        """Estimate the gradient of the batch's mean loss from phases: the free one, and those nudged by ±β, by sign.

        ``centered``: (1/2β)[∂F/∂θ(s^β) − ∂F/∂θ(s^−β)]; ``positive`` and ``negative`` have the free states in place of
        one end, over β. Parameters of a readout have the cost's own gradient at the free states.
        """
        upper = free if estimator == "negative" else nudged[1]
        lower = free if estimator == "positive" else nudged[-1]
        scale = self.sign / ((2 if estimator == "centered" else 1) * beta * x.shape[0])
        ends = [self.parameter_gradient(x, states) for states in (upper, lower)]
        found = {n: scale * (ends[0][n] - ends[1][n]) for n in self.parameters}
        return added(found, self.local_gradient(x, y, free))

    def local_gradient(self, x: Tensor, y: Tensor, states: Mapping[str, Tensor]) -> Gradients:
        """∂/∂θ of the mean cost of a readout at fixed states, for its own parameters; empty without one."""
        if not self.graph.readout:
            return {}
        out = self.graph.output.name
        names = [*(weight_name(e) for e in self._outside), f"states.{out}.bias"]
        with torch.enable_grad():
            own = {n: self.parameters[n].detach().requires_grad_() for n in names if n in self.parameters}
            z = self.logits(x, states, {**self.parameters, **own})
            return gradients_of(self.cost({out: z}, y).mean(), own) if own else {}

    def cost(self, states: Mapping[str, Tensor], y: Tensor) -> Tensor:
        """C of each example, (batch,): ½‖s − y‖², or −Σ y ln softmax(s); ``y`` is (batch, *output shape).

        The softmax is over the units, or over the channels of every pixel. A user's own cost is called.
        """
        s, y = states[self.graph.output.name], y.to(torch.float64)
        name = self.graph.architecture.output.cost
        if name == "squared_error":
            return ((s - y) ** 2).flatten(1).sum(1) / 2
        if name in ("cross_entropy", "softmax_readout"):
            return (y.sum(1) * s.logsumexp(1) - (y * s).sum(1)).reshape(len(s), -1).sum(1)
        cost = COSTS[name]
        if type(cost).__module__.startswith("epgraph."):  # it would be compared with itself
            raise NotImplementedError(f"the oracle has no formula of the cost '{name}': write it in testing/network.py")
        return cost.value(s, y)

    def zeros(self, batch: int) -> States:
        """All free states at zero, for ``batch`` examples."""
        return {
            name: torch.zeros(batch, *self.graph.states[name].shape, dtype=torch.float64) for name in self.graph.free
        }

    def relax(
        self,
        x: Tensor,
        classes: Classes,
        sweeps: int,
        states: Mapping[str, Tensor] | None = None,
        y: Tensor | None = None,
        beta: float = 0.0,
    ) -> States:
        """Run ``sweeps`` sweeps from ``states``, or from zeros; a sweep updates each class once, in order."""
        now = self.zeros(x.shape[0]) if states is None else dict(states)
        for _ in range(sweeps):
            for names in classes:
                now = self.update(x, now, names, y, beta)
        return now

    def residual(self, x: Tensor, states: Mapping[str, Tensor]) -> float:
        """Return the largest ‖s′ − s‖/‖s‖ of the examples, with s′ all states moved at once."""
        moved = self._flat(self.update(x, states, self.graph.free))
        now = self._flat(states)
        tiny = torch.finfo(torch.float64).tiny
        return float(((moved - now).norm(dim=1) / now.norm(dim=1).clamp(min=tiny)).max())

    def loss(self, x: Tensor, y: Tensor, classes: Classes, sweeps: int) -> float:
        """Mean cost after ``sweeps`` free sweeps from zeros."""
        return float(self.cost(self.relax(x, classes, sweeps), y).mean())

    @property
    def _outside(self) -> list[Edge]:
        """Edges of a readout."""
        return [edge for edge in self.graph.edges.values() if self.graph.reads_out(edge)]

    def _with_input(self, x: Tensor, states: Mapping[str, Tensor]) -> States:
        return {self.graph.input.name: x.to(torch.float64), **states}

    def _flat(self, states: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([states[name].flatten(1) for name in self.graph.dynamic], dim=1)


def gradients_of(scalar: Tensor, leaves: Mapping[str, Tensor]) -> Gradients:
    """∂ scalar/∂ leaf by name; zero for those on which it does not depend. The graph stays."""
    if not scalar.requires_grad:
        return {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    found = torch.autograd.grad(scalar, list(leaves.values()), materialize_grads=True, retain_graph=True)
    return dict(zip(leaves, found, strict=True))


def added(one: Gradients, other: Gradients) -> Gradients:
    """Add gradients by name: a weight that edges inside and outside of the dynamics share has both."""
    return one | {name: one[name] + g if name in one else g for name, g in other.items()}


def weight_name(edge: Edge) -> str:
    """Return the name of the parameter that is an edge's weight, its own or that of the edge it is tied to."""
    return f"edges.{edge.name if edge.tied is None else edge.tied}.weight"


def _read(parameters: Mapping[str, Tensor], name: str, shape: tuple[int, ...]) -> Tensor:
    if name not in parameters:
        raise ValueError(f"the parameter '{name}' is missing")
    value = parameters[name].detach().to("cpu", torch.float64, copy=True)
    if tuple(value.shape) != shape:
        raise ValueError(f"the parameter '{name}' has shape {tuple(value.shape)}, expected {shape}")
    return value

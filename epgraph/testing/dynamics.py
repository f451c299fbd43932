"""Φ, F and the dynamics of a network, written down in float64; ``oracle`` says what for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor

from epgraph.graph import Edge, NetworkGraph
from epgraph.kinds import Conv, Memory, Pool, Self
from epgraph.testing.couplings import MOST_UNITS, Couplings
from epgraph.testing.maps import concavity, interaction, mapped
from epgraph.testing.network import Network, States, weight_name
from epgraph.testing.units import self_energy, sigma, steepest


class Dynamics(Network):
    """The definition of the mathematics of a Hopfield energy, runnable; the parameters are those of ``Network``."""

    def __init__(self, graph: NetworkGraph, parameters: Mapping[str, Tensor]) -> None:
        super().__init__(graph, parameters)
        self._coupled: tuple[list[tuple[int, int]], list[Tensor], tuple[Couplings, list[Edge]]] | None = None
        self.steps = {name: self._step(name) for name in graph.free}

    def phi(self, x: Tensor, states: Mapping[str, Tensor]) -> Tensor:
        """Φ(x, s, θ) of each example, (batch,)."""
        return self.interactions(self._with_input(x, states), self.graph.dynamic, self.parameters)

    def energy(self, x: Tensor, states: Mapping[str, Tensor]) -> Tensor:
        """F = Σ_n G_n(s^n) − Φ of each example, (batch,); without the nudging term βC."""
        own = sum(
            self_energy(self.graph.states[name].activation, states[name], self.alphas[name]).flatten(1).sum(1)
            for name in self.graph.dynamic
        )
        return own - self.phi(x, states)

    def logits(self, x: Tensor, states: Mapping[str, Tensor], parameters: Mapping[str, Tensor] | None = None) -> Tensor:
        """Σ A_e s + b of a readout: what ⟨z, A_e s⟩ and ⟨z, b⟩ summed are linear in, differentiated by z."""
        out = self.graph.output
        now = self._with_input(x, states)
        with torch.enable_grad():
            z = torch.zeros(x.shape[0], *out.shape, dtype=torch.float64, requires_grad=True)
            read = self.interactions({**now, out.name: z}, [out.name], parameters or self.parameters, self._outside)
            (found,) = torch.autograd.grad(read.sum(), z, create_graph=True)
        return found

    def update(
        self,
        x: Tensor,
        states: Mapping[str, Tensor],
        names: Collection[str],
        y: Tensor | None = None,
        beta: float = 0.0,
    ) -> States:
        """Move the states in ``names`` simultaneously (Eq. 10, 11): s ← σ(∂Φ/∂s − β ∂C/∂s).

        Both derivatives are taken at the states given, ∂C/∂s too (an explicit step). A state that acts on itself by a
        matrix W goes min(1, c/(1 + mκ)) of the way, with the ``concavity`` κ of W, m = max σ′ and c ``damping``.

        Returns
        -------
        dict
            All states: the moved ones new, the others as they were.
        """
        forces = self.forces(x, states, names, y, beta)
        moved = {name: self.activate(name, a) for name, a in forces.items()}
        for name, s in moved.items():
            part = self.steps[name]
            moved[name] = states[name] + part * (s - states[name]) if part < 1 else s
        out = self.graph.output.name
        if self.graph.readout and out in names:
            moved[out] = self.logits(x, states).detach()
        return {**states, **moved}

    def forces(
        self,
        x: Tensor,
        states: Mapping[str, Tensor],
        names: Collection[str],
        y: Tensor | None = None,
        beta: float = 0.0,
    ) -> States:
        """Pre-activations ∂Φ/∂s − β ∂C/∂s of the states in ``names``, apart from a readout, which has none.

        A readout z pulls at the states that it is read off by −β ∂C(z)/∂z through A, taken at the z given: that of the
        states after the last sweep.
        """
        names = [name for name in names if name in self.graph.dynamic]
        if not names:
            return {}
        if beta and y is None:
            raise ValueError("nudging (beta ≠ 0) needs the target y")
        couplings, others = self._split()
        forces = couplings.forces(self._with_input(x, states), names)
        for name in names:
            bias = self.parameters.get(f"states.{name}.bias")
            if bias is not None:
                forces[name] += bias.detach().view(-1, *(1,) * (forces[name].ndim - 2))
        others = [edge for edge in others if edge.ends & set(names)]
        pulled = bool(beta) and (self.graph.readout or self.graph.output.name in names)
        if not others and not pulled:
            return forces
        with torch.enable_grad():
            moving = {name: states[name].detach().requires_grad_() for name in names}
            now = self._with_input(x, {**states, **moving})
            drive = self._summed(others, now)
            if pulled and y is not None and self.graph.readout:
                z = states[self.graph.output.name].detach().requires_grad_()
                (pull,) = torch.autograd.grad(self.cost({self.graph.output.name: z}, y).sum(), z)
                drive = drive - beta * (pull * self.logits(x, {**states, **moving})).sum()
            elif pulled and y is not None:
                drive = drive - beta * self.cost(now, y).sum()
            if not drive.requires_grad:
                return forces  # a readout is read off other states
            rest = torch.autograd.grad(drive, list(moving.values()), materialize_grads=True)
        return {name: forces[name] + force for name, force in zip(moving, rest, strict=True)}

    def activate(self, name: str, a: Tensor) -> Tensor:
        """σ of a state at its pre-activation."""
        return sigma(self.graph.states[name].activation, a, self.alphas[name])

    def interactions(
        self,
        states: Mapping[str, Tensor],
        touching: Iterable[str],
        parameters: Mapping[str, Tensor],
        edges: Iterable[Edge] | None = None,
    ) -> Tensor:
        """Sum the terms of Φ in which a state of ``touching`` stands, per example; ``edges`` in place of those in Φ."""
        moving = frozenset(touching)
        terms = [
            self._interaction(edge, states, parameters)
            for edge in (self._inside if edges is None else edges)
            if edge.ends & moving
        ]
        for name in self.graph.free:
            bias = parameters.get(f"states.{name}.bias")
            if name in moving and bias is not None:
                s = states[name]
                terms.append(s.reshape(s.shape[0], len(bias), -1).sum(2) @ bias)
        return torch.stack(terms).sum(0)

    @property
    def _inside(self) -> list[Edge]:
        """Edges with a term in Φ."""
        return [edge for edge in self.graph.edges.values() if not self.graph.reads_out(edge)]

    def _step(self, name: str) -> float:
        """Part of the way that updates of a state go: 1, but for a state that acts on itself."""
        state, c = self.graph.states[name], self.graph.architecture.dynamics.damping
        own = [e for e in self.graph.edges.values() if e.source == e.target == name]
        bounds = [
            concavity(e.kind, self.parameters[weight_name(e)], state.shape) for e in own if isinstance(e.kind, Self)
        ]
        return 1.0 if c is None or not bounds else min(1.0, c / (1 + steepest(state.activation) * sum(bounds)))

    def _interaction(self, edge: Edge, states: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> Tensor:
        return interaction(edge, parameters.get(weight_name(edge)), states[edge.source], states[edge.target])

    def _summed(self, edges: Iterable[Edge], states: Mapping[str, Tensor]) -> Tensor:
        """What edges add to Φ of the whole batch."""
        terms = (self._interaction(edge, states, self.parameters).sum() for edge in edges)
        return sum(terms, torch.zeros((), dtype=torch.float64))

    def _split(self) -> tuple[Couplings, list[Edge]]:
        """Return the couplings by linear edges of Φ at the parameters of now, and the edges that are not among them."""
        stamp = [(id(p), p._version) for p in self.parameters.values()]
        if self._coupled is None or stamp != self._coupled[0]:
            linear = [edge for edge in self._inside if self._is_tabulated(edge)]
            others = [edge for edge in self._inside if edge not in linear]
            # With the tensors themselves: the id of one that is gone may come again.
            self._coupled = stamp, list(self.parameters.values()), (Couplings(self.graph, linear, self._image), others)
        return self._coupled[2]

    def _is_tabulated(self, edge: Edge) -> bool:
        kind = edge.kind
        pooled = kind.pool if isinstance(kind, Conv) else kind.kind if isinstance(kind, Pool) else None
        few = self.graph.states[edge.source].units <= MOST_UNITS
        return few and pooled != "max" and not isinstance(kind, Self | Memory)

    def _image(self, edge: Edge, s: Tensor) -> Tensor:
        weight = self.parameters.get(weight_name(edge))
        bare = None if weight is None else weight.detach()
        return mapped(edge.kind, bare, s, self.graph.states[edge.target].shape)

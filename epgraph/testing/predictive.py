"""The oracle of the predictive-coding energy: E written down in float64 and differentiated by autograd.

Nothing here is fast and nothing here is shared with the engine; ``oracle`` says more. For a network with clamped input
x, whose edges e = (i → j, w_e) form no cycle::

    a_n = Σ_{e=(i→n)} A_e s^i + b_n,      ε_n = s^n − σ_n(a_n)
    E(x, s, θ) = ½ Σ_n ‖ε_n‖²,            F_β = E + β C
    B_n = −∂/∂s^n [Σ_{j≠n} ½ ‖s^j − σ_j(a_j)‖² + β C]
    s^n ← σ_n(a_n + B_n), or σ_n(σ_n(a_n) + B_n) with 'pgd'      where σ_n is a projection (ReLUα, the identity)
    s^n ← σ_n(a_n) + B_n                                         else
    ∂L/∂θ ≈ (1/2β) [∂E/∂θ(s^β) − ∂E/∂θ(s^−β)]

The updates of a projection are Eq. 20 and 19 of Kerjan et al. (2026). σ′ is zero at the kinks of ReLUα. The sum over
j ≠ n is the part of E in which s^n stands by way of its edges.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor

from epgraph.activations.relu import ReLU
from epgraph.graph import Edge, NetworkGraph
from epgraph.testing.maps import mapped
from epgraph.testing.network import Classes, Estimator, Gradients, Network, States, added, gradients_of, weight_name
from epgraph.testing.units import sigma

Rule = Literal["mod_pgd", "pgd"]
"""Which update a state has whose σ is a projection."""


class PredictiveReference(Network):
    """The definition of the mathematics of the predictive-coding energy, runnable.

    Parameters
    ----------
    graph, parameters
        As of ``Network``.
    rule
        Update of states whose σ is a projection; left out, ``dynamics.update`` of the architecture.

    Where a method takes ``pulls``, they stand in place of C for Σ ⟨pull, s⟩, a linear cost of any states, by name.
    """

    def __init__(self, graph: NetworkGraph, parameters: Mapping[str, Tensor], rule: Rule | None = None) -> None:
        super().__init__(graph, parameters)
        dynamics = graph.architecture.dynamics
        self.rule: Rule = dynamics.update if rule is None else rule
        self.closed_form = dynamics.output_step == "closed_form"
        self.order = tuple(name for name in graph.forward_order if name in graph.dynamic)

    def sums(
        self,
        x: Tensor,
        states: Mapping[str, Tensor],
        names: Iterable[str],
        parameters: Mapping[str, Tensor] | None = None,
    ) -> States:
        """a = Σ A_e s + b of some states, by name; autograd sees states and parameters."""
        now = self._with_input(x, states)
        return {name: self._sum(now, name, parameters or self.parameters) for name in names}

    def predicted(self, name: str, a: Tensor, parameters: Mapping[str, Tensor] | None = None) -> Tensor:
        """σ(a) of a state, with a derivative by autograd that is zero at kinks; by a learnt α it is 1 where a > α."""
        activation = self.graph.states[name].activation
        if not isinstance(activation, ReLU):
            return sigma(activation, a, self.alphas[name])
        level = (parameters or self.parameters).get(f"states.{name}.alpha", a.new_tensor(self.alphas[name]))
        held = torch.where(a > level, level, level.detach())
        return torch.where((a > 0) & (a < level), a, torch.where(a > 0, held, torch.zeros_like(a)))

    def forward(self, x: Tensor, parameters: Mapping[str, Tensor] | None = None) -> States:
        """Return the free equilibrium s = σ(a), a readout too: one pass in topological order, seen by autograd."""
        now: States = {}
        for name in self.order:
            now[name] = self.predicted(name, self.sums(x, now, [name], parameters)[name], parameters)
        if self.graph.readout:
            now[self.graph.output.name] = self.logits(x, now, parameters)
        return now

    def logits(self, x: Tensor, states: Mapping[str, Tensor], parameters: Mapping[str, Tensor] | None = None) -> Tensor:
        """Σ A_e s + b of a readout."""
        out = self.graph.output.name
        return self.sums(x, states, [out], parameters)[out]

    def energy(self, x: Tensor, states: Mapping[str, Tensor], parameters: Mapping[str, Tensor] | None = None) -> Tensor:
        """E = ½ Σ ‖s − σ(a)‖² of each example, (batch,); without the nudging term βC."""
        return self._errors(x, states, states, self.graph.dynamic, parameters)

    def feedback(
        self,
        x: Tensor,
        states: Mapping[str, Tensor],
        names: Collection[str],
        y: Tensor | None = None,
        beta: float = 0.0,
        pulls: Mapping[str, Tensor] | None = None,
    ) -> States:
        """B of the states in ``names``, at the states given. A readout pulls by ∂C/∂z at the z given.

        With ``output_step: closed_form`` it is without the pull of C at the output, which ``moved`` solves for.
        """
        with torch.enable_grad():
            leaf = {name: states[name].detach().requires_grad_() for name in names}
            now = {**states, **leaf}
            # B_n is Σ over the children of n: the errors of other states do not depend on it.
            children = {edge.target for edge in self.graph.edges.values() if edge.source in leaf}
            felt = [name for name in self.graph.dynamic if name in children]
            total = self._errors(x, now, states, felt).sum() + self._nudge(x, now, states, y, beta, pulls)
            return {name: -g for name, g in gradients_of(total, leaf).items()}

    def moved(self, name: str, a: Tensor, back: Tensor, y: Tensor | None = None, beta: float = 0.0) -> Tensor:
        """φ(a, B): the new value of a state. In closed form, the output is the fixed point (a + βy)/(1 + β)."""
        if self.closed_form and beta and y is not None and name == self.graph.output.name:
            return (a + back + beta * y) / (1 + beta)
        predicted = self.predicted(name, a)
        if not self.graph.states[name].activation.projects:
            return predicted + back
        return self.predicted(name, (a if self.rule == "mod_pgd" else predicted) + back)

    def update(
        self,
        x: Tensor,
        states: Mapping[str, Tensor],
        names: Collection[str],
        y: Tensor | None = None,
        beta: float = 0.0,
        pulls: Mapping[str, Tensor] | None = None,
    ) -> States:
        """Move the states in ``names`` simultaneously, all from the values before.

        Returns
        -------
        dict
            All states: the moved ones new, the others as they were.
        """
        moving = [name for name in names if name in self.graph.dynamic]
        back = self.feedback(x, states, moving, y, beta, pulls)
        new = {n: self.moved(n, a, back[n], y, beta).detach() for n, a in self.sums(x, states, moving).items()}
        out = self.graph.output.name
        if self.graph.readout and out in names:
            new[out] = self.logits(x, states).detach()
        return {**states, **new}

    def error_sweeps(
        self,
        x: Tensor,
        rounds: int,
        states: Mapping[str, Tensor],
        y: Tensor | None = None,
        beta: float = 0.0,
        pulls: Mapping[str, Tensor] | None = None,
    ) -> States:
        """Run rounds of error sweeps: errors backwards, at the present states; then s = σ(a) + ε forwards.

        Backwards, ε_n = −∂/∂s^n [Σ_j ⟨−ε_j, σ_j(a_j)⟩ + βC]. All ε are those of the present states, and so
        is that of an output in closed form, β(y − a)/(1 + β).
        """
        now: States = dict(states)
        for _ in range(rounds):
            back = self._backwards(x, now, y, beta, pulls)
            new: States = {}
            for name in self.order:
                new[name] = (self.predicted(name, self.sums(x, new, [name])[name]) + back[name]).detach()
            if self.graph.readout:
                new[self.graph.output.name] = self.logits(x, new).detach()
            now = new
        return now

    def _backwards(
        self,
        x: Tensor,
        states: Mapping[str, Tensor],
        y: Tensor | None,
        beta: float,
        pulls: Mapping[str, Tensor] | None,
    ) -> States:
        back: States = {}
        with torch.enable_grad():
            leaf = {name: s.detach().requires_grad_() for name, s in states.items()}
            sums = self.sums(x, leaf, self.order)
            predicted = {name: self.predicted(name, a) for name, a in sums.items()}
            nudge = self._nudge(x, leaf, states, y, beta, pulls)
            for name in reversed(self.order):
                expected = sum(((e * predicted[child]).sum() for child, e in back.items()), -nudge)
                back |= gradients_of(expected, {name: leaf[name]})
                if self.closed_form and beta and y is not None and name == self.graph.output.name:
                    # What the closed form adds to the present sum of a linear output.
                    back[name] = (self.moved(name, sums[name], back[name], y, beta) - sums[name]).detach()
        return back

    def parameter_gradient(
        self, x: Tensor, states: Mapping[str, Tensor], errors: Mapping[str, Tensor] | None = None
    ) -> Gradients:
        """∂E/∂θ summed over the batch, at fixed states; of other errors than s − σ(a) where they are given."""
        ends = dict(states)
        if errors is not None:
            sums = self.sums(x, states, self.graph.dynamic)
            ends |= {name: self.predicted(name, a) + errors[name] for name, a in sums.items()}
        with torch.enable_grad():
            parameters = {name: p.detach().requires_grad_() for name, p in self.parameters.items()}
            return gradients_of(self._errors(x, states, ends, self.graph.dynamic, parameters).sum(), parameters)

    def estimate_by_rounds(
        self,
        x: Tensor,
        y: Tensor,
        free: Mapping[str, Tensor],
        rounds: int,
        beta: float,
        estimator: Estimator = "centered",
    ) -> Gradients:
        """As ``estimate``, after rounds of error sweeps: from the last errors and the states they were computed at."""

        def ends(strength: float) -> tuple[States, States]:
            states = self.error_sweeps(x, rounds - 1, free, y, strength)
            return states, self._backwards(x, states, y, strength, None)

        return self._contrasted(x, y, free, beta, estimator, ends)

    def estimate_by_sweeps(
        self,
        x: Tensor,
        y: Tensor,
        free: Mapping[str, Tensor],
        classes: Classes,
        sweeps: int,
        beta: float,
        estimator: Estimator = "centered",
    ) -> Gradients:
        """As ``estimate_by_rounds``, for sweeps that move every state before those that lead to it.

        The last errors are those of the values that the last sweep moves to, at the sums that it starts from.
        """

        def ends(strength: float) -> tuple[States, States]:
            states = self.relax(x, classes, sweeps - 1, free, y, strength)
            after = self.relax(x, classes, 1, states, y, strength)
            sums = self.sums(x, states, self.graph.dynamic)
            return states, {name: after[name] - self.predicted(name, a) for name, a in sums.items()}

        return self._contrasted(x, y, free, beta, estimator, ends)

    def _contrasted(
        self,
        x: Tensor,
        y: Tensor,
        free: Mapping[str, Tensor],
        beta: float,
        estimator: Estimator,
        ends: Callable[[float], tuple[States, States]],
    ) -> Gradients:
        """Contrast the gradients at ``ends``: the states and errors with which a phase of a signed strength ends."""
        signs = {"centered": (1, -1), "positive": (1,), "negative": (-1,)}[estimator]
        found: Gradients = {}
        for sign in signs:
            gradient = self.parameter_gradient(x, *ends(sign * beta))
            found = added(found, {n: sign * g / (len(signs) * beta * len(x)) for n, g in gradient.items()})
        return added(found, self.local_gradient(x, y, free))

    def input_gradient(self, x: Tensor, states: Mapping[str, Tensor]) -> Tensor:
        """∂E/∂x of each example, at fixed states."""
        with torch.enable_grad():
            leaf = x.detach().to(torch.float64).requires_grad_()
            return gradients_of(self.energy(leaf, states).sum(), {"x": leaf})["x"]

    def backpropagation(self, x: Tensor, y: Tensor) -> tuple[Gradients, Tensor]:
        """Return the exact gradient of the mean loss of the feed-forward network, by θ and, (batch, *shape), by x."""
        with torch.enable_grad():
            leaves = {name: p.detach().requires_grad_() for name, p in self.parameters.items()}
            image = x.detach().to(torch.float64).requires_grad_()
            loss = self.cost(self.forward(image, leaves), y).mean()
            found = gradients_of(loss, {**leaves, "x": image})
        return {name: found[name] for name in leaves}, found["x"]

    def _sum(self, now: Mapping[str, Tensor], name: str, parameters: Mapping[str, Tensor]) -> Tensor:
        shape = self.graph.states[name].shape
        x = now[self.graph.input.name]
        total = torch.zeros(len(x), *shape, dtype=torch.float64)
        for edge in self._into(name):
            image = mapped(edge.kind, parameters.get(weight_name(edge)), now[edge.source], shape)
            total = total + image.reshape(total.shape)
        bias = parameters.get(f"states.{name}.bias")
        return total if bias is None else total + bias.view(-1, *(1,) * (len(shape) - 1))

    def _into(self, name: str) -> list[Edge]:
        return [edge for edge in self.graph.edges.values() if edge.target == name]

    def _errors(
        self,
        x: Tensor,
        seen: Mapping[str, Tensor],
        states: Mapping[str, Tensor],
        names: Iterable[str],
        parameters: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """½ Σ ‖s − σ(a)‖² of some states, by example, with s of ``states`` and the sums a of the states ``seen``."""
        total = torch.zeros(len(x), dtype=torch.float64)
        for name, a in self.sums(x, seen, names, parameters).items():
            total = total + (states[name] - self.predicted(name, a, parameters)).square().flatten(1).sum(1) / 2
        return total

    def _nudge(
        self,
        x: Tensor,
        now: Mapping[str, Tensor],
        states: Mapping[str, Tensor],
        y: Tensor | None,
        beta: float,
        pulls: Mapping[str, Tensor] | None,
    ) -> Tensor:
        """βC, or what has its derivative, summed over the batch: at ``now``, a readout z as in ``states``."""
        out = self.graph.output.name
        if not beta:
            return torch.zeros((), dtype=torch.float64)
        if pulls is not None:
            return beta * torch.stack([(now[n] * pull).sum() for n, pull in pulls.items()]).sum()
        if y is None:
            raise ValueError("nudging (beta ≠ 0) needs the target y, or pulls")
        if self.graph.readout:
            z = states[out].detach().requires_grad_()
            (pull,) = torch.autograd.grad(self.cost({out: z}, y).sum(), z)
            return beta * (pull * self.logits(x, now)).sum()
        if self.closed_form:
            return torch.zeros((), dtype=torch.float64)
        return beta * self.cost(now, y).sum()

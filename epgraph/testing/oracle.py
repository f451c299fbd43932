"""The oracle: Φ written down in float64 and differentiated by autograd.

Nothing here is fast and nothing here is shared with the engine. The maps A_e, the activations σ, their
self-energies G and the costs C are written a second time, from the mathematics, so that an error in the
fast path cannot hide in the test that looks for it. Of an edge kind or an activation only the *options*
(stride, scale, α) are read. Equation numbers are the paper's.

For a network with clamped input x, free states s^n and edges e = (i, j, w_e)::

    Φ(x, s, θ) = Σ_e ⟨s^j, A_e s^i⟩ + Σ_n ⟨b_n, s^n⟩ + Σ_e φ_e(s^n)      (the last of edges that act on one state)
    F(x, s, θ) = Σ_n G_n(s^n) − Φ,           G_n′ = σ_n⁻¹
    s^n ← σ_n(∂Φ/∂s^n − β ∂C/∂s^n)           (Eq. 10, 11; the second term at the output only)
    ∂L/∂θ ≈ −(1/2β) [∂Φ/∂θ(s^β) − ∂Φ/∂θ(s^−β)]   (Eq. 5)

A set of states is a dict from name to a float64 tensor ``(batch, *shape)``; the input is not among them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from epgraph.energies.hopfield import Hopfield
from epgraph.energies.predictive import Predictive
from epgraph.graph import NetworkGraph
from epgraph.testing.dynamics import Dynamics
from epgraph.testing.network import Classes, Estimator, Gradients, added, gradients_of
from epgraph.testing.predictive import PredictiveReference
from epgraph.testing.units import slope

_ROWS_AT_ONCE = 128


class Reference(Dynamics):
    """The definition of a network's mathematics, runnable: its dynamics, and the gradients that they have."""

    sign = -1

    def parameter_gradient(self, x: Tensor, states: Mapping[str, Tensor]) -> Gradients:
        """∂/∂θ of Φ summed over the batch, at fixed states.

        For a learnt α it is −∂F/∂α, with F minimized over the box [0, α]: the sum of ∂Φ/∂s − α over the units that
        their drive holds at α.
        """
        with torch.enable_grad():
            parameters = {name: p.detach().requires_grad_() for name, p in self.parameters.items()}
            leaf = {name: states[name].detach().requires_grad_() for name in self.graph.dynamic}
            if not leaf:
                return {name: torch.zeros_like(p) for name, p in parameters.items()}
            total = self.interactions(self._with_input(x, leaf), self.graph.dynamic, parameters).sum()
            drives = dict(zip(leaf, torch.autograd.grad(total, list(leaf.values()), retain_graph=True), strict=True))
            found = gradients_of(total, parameters)
        for name in self._learnt:
            level = self.alphas[name]
            found[f"states.{name}.alpha"] = (drives[name] - level).clamp(min=0).sum()
        return found

    def ep_gradient(
        self,
        x: Tensor,
        y: Tensor,
        classes: Classes,
        free_steps: int,
        nudged_steps: int,
        beta: float,
        estimator: Estimator = "centered",
    ) -> Gradients:
        """Estimate the gradient of the batch mean of the loss by equilibrium propagation.

        The nudged phases all start where the free phase, from zeros, has ended (s*).

        Parameters
        ----------
        beta
            Nudging strength β > 0; the sign comes from the estimator.
        estimator
            ``centered``: −(1/2β)[∂Φ/∂θ(s^β) − ∂Φ/∂θ(s^−β)] (Eq. 5);
            ``positive``: −(1/β)[∂Φ/∂θ(s^β) − ∂Φ/∂θ(s*)] (Eq. 4);
            ``negative``: −(1/β)[∂Φ/∂θ(s*) − ∂Φ/∂θ(s^−β)].
        """
        free = self.relax(x, classes, free_steps)
        unneeded = {"centered": 0, "positive": -1, "negative": 1}[estimator]
        signs = [sign for sign in (1, -1) if sign != unneeded]
        nudged = {sign: self.relax(x, classes, nudged_steps, free, y, sign * beta) for sign in signs}
        return self.estimate(x, y, free, nudged, beta, estimator)

    def implicit_gradient(self, x: Tensor, y: Tensor, states: Mapping[str, Tensor]) -> Gradients:
        """Return the exact gradient of the batch mean of the loss: s = σ(∂Φ/∂s) differentiated implicitly.

        With D = diag σ′(∂Φ/∂s), the Hessian of F over the units with σ′ > 0 is H = D⁻¹ − ∂²Φ/∂s². Then
        H λ = ∂C/∂s, and the gradient is ∂/∂θ ⟨λ, ∂Φ/∂s⟩ with λ held. The system is solved as
        (1 − ∂²Φ/∂s² D) μ = ∂C/∂s with λ = D μ, which stays finite where units saturate.

        Parameters
        ----------
        states
            The free equilibrium for ``x``; dense matrices over the units of one example are formed.
        """
        if not self.graph.dynamic:
            return self.local_gradient(x, y, states)
        with torch.enable_grad():
            leaf = {name: states[name].detach().requires_grad_() for name in self.graph.dynamic}
            seen = {**leaf, self.graph.output.name: self.logits(x, leaf)} if self.graph.readout else leaf
            total = self.cost(seen, y).sum()
            pulls = torch.autograd.grad(total, list(leaf.values()), materialize_grads=True)
        adjoint = torch.cat([pull.flatten(1) for pull in pulls], dim=1)
        for k in range(x.shape[0]):
            index, d, coupling = self.curvature(x[k : k + 1], {n: s[k : k + 1] for n, s in states.items()})
            system = torch.eye(len(index), dtype=torch.float64) - coupling * d
            mu = torch.linalg.solve(system, adjoint[k, index])
            adjoint[k] = torch.zeros_like(adjoint[k]).index_copy(0, index, d * mu)
        with torch.enable_grad():
            parameters = {name: p.detach().requires_grad_() for name, p in self.parameters.items()}
            total = self.interactions(self._with_input(x, leaf), self.graph.dynamic, parameters).sum()
            forces = torch.autograd.grad(total, list(leaf.values()), create_graph=True)
            paired = (adjoint * torch.cat([f.flatten(1) for f in forces], dim=1)).sum() / x.shape[0]
            moved = torch.autograd.grad(paired, list(leaf.values()), retain_graph=True, materialize_grads=True)
            found = gradients_of(paired, parameters)
        # A unit held at α moves with it: ds/dα = 1 there, and ∂C/∂s + ∂²Φ/∂s² λ is what the loss makes of that.
        felt = {name: g + pull / x.shape[0] for name, g, pull in zip(leaf, moved, pulls, strict=True)}
        for name in self._learnt:
            held = forces[list(leaf).index(name)].detach() > self.alphas[name]
            found[f"states.{name}.alpha"] = felt[name][held].sum()
        return added(found, self.local_gradient(x, y, states))

    def coupling_radius(self, x: Tensor, states: Mapping[str, Tensor]) -> float:
        """Return the largest |eigenvalue| of D^½ (∂²Φ/∂s²) D^½, D = diag σ′(∂Φ/∂s), of all examples.

        Below 1 the synchronous update contracts near ``states``, and F is strictly convex there. Forms dense
        matrices over the units of one example.
        """
        radius = 0.0
        for k in range(x.shape[0]):
            _, d, coupling = self.curvature(x[k : k + 1], {n: s[k : k + 1] for n, s in states.items()})
            if len(d):
                root = d.sqrt()
                values = torch.linalg.eigvalsh(root[:, None] * coupling * root)
                radius = max(radius, float(values.abs().max()))
        return radius

    def curvature(self, x: Tensor, states: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return the active units of one example, their σ′(a) and the block of ∂²Φ/∂s² between them.

        Units are counted through all states of the dynamics, flattened, in the order of ``graph.dynamic``.
        """
        moving = self.graph.dynamic
        forces = self.forces(x, states, moving)
        slopes = torch.cat(
            [slope(self.graph.states[n].activation, a, self.alphas[n]).flatten() for n, a in forces.items()]
        )
        index = slopes.nonzero().flatten()
        couplings, others = self._split()
        coupling = couplings.block(moving, index)
        others = [edge for edge in others if edge.ends <= set(moving)]
        for start in range(0, len(index) if others else 0, _ROWS_AT_ONCE):
            # A copy of the example for every row: Φ of one knows nothing of the others.
            some = index[start : start + _ROWS_AT_ONCE]
            with torch.enable_grad():
                leaf = {n: states[n].detach().repeat_interleave(len(some), 0).requires_grad_() for n in moving}
                drive = self._summed(others, leaf)
                force = torch.autograd.grad(drive, list(leaf.values()), create_graph=True, materialize_grads=True)
                picked = self._flat(dict(zip(leaf, force, strict=True))).gather(1, some[:, None]).sum()
                rows = torch.autograd.grad(picked, list(leaf.values()), materialize_grads=True)
            coupling[start : start + len(some)] += self._flat(dict(zip(leaf, rows, strict=True)))[:, index]
        return index, slopes[index], coupling

    @property
    def _learnt(self) -> list[str]:
        return [name for name in self.graph.free if f"states.{name}.alpha" in self.parameters]


def oracle_for(graph: NetworkGraph, parameters: Mapping[str, Tensor]) -> Reference | PredictiveReference:
    """Return the oracle of a network's energy; raises NotImplementedError where the energy is a user's own."""
    if type(graph.energy) is Predictive:
        return PredictiveReference(graph, parameters)
    if type(graph.energy) is Hopfield:
        return Reference(graph, parameters)
    raise NotImplementedError(f"there is no oracle of the energy '{graph.architecture.energy}'")

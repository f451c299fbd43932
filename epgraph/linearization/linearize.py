"""The network to first order about given states: active units, curvature, spectrum, and the implicit gradient.

With D = diag σ′(∂Φ/∂s) and W = ∂²Φ/∂s² the synchronous update is linearised by D W, which is similar to the symmetric
K = D^½ W D^½ on the active units (σ′ > 0). The Hessian of F over them is H = D⁻¹ − W = D^−½ (1 − K) D^−½: a state of
rest is a minimum of F, to which properly coloured sweeps fall back, where every eigenvalue of K is below 1; synchronous
sweeps need |λ| < 1. Vectors below are (batch, units): all states that move, flattened, in the order of ``graph.free``.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from epgraph.errors import EpgraphError
from epgraph.linearization.differentiable_sweep import Plain
from epgraph.linearization.krylov import conjugate_gradients, minres
from epgraph.runtime.executor import Executor
from epgraph.runtime.parameters import Parameters
from epgraph.runtime.relaxation import States

FLAT = 0.01
"""Part of the largest slope of a smooth σ below which a unit counts as saturated."""

RESTARTS, LOOSE = 50, 1e-2
"""Restarts that ARPACK is given, each some 20 products, and the tolerance that is tried when they were not enough."""

FEW = 64
"""Active units up to which the spectrum is computed from the whole matrix."""


@dataclass(frozen=True)
class Adjoint:
    """How the adjoint system (1 − K) μ = D^½ ∂C/∂s of implicit differentiation was solved.

    Attributes
    ----------
    products
        Products with the Hessian of F, each about one sweep.
    residuals
        Relative residual ‖(1 − K) μ − D^½ ∂C/∂s‖/‖D^½ ∂C/∂s‖, (batch,).
    indefinite
        Whether conjugate gradients met negative curvature, so that MINRES had to solve the system, (batch,). Then the
        states are no minimum of F.
    """

    products: int
    residuals: Tensor
    indefinite: Tensor


@dataclass(frozen=True)
class Saturation:
    """Parts of a state's units: at the lower end of σ, at its upper end, and active.

    ReLUα: at 0, at α, strictly inside. Else a unit is at an end where σ′ is below ``FLAT`` of its largest value.
    """

    low: float
    high: float
    active: float


class Linearisation:
    """The network about ``states``.

    Parameters
    ----------
    x
        Input, (batch, *input shape).
    states
        States that move, by name.
    parameters
        Values of the parameters.

    Notes
    -----
    At least in float32: half precision would leave a solver nothing to solve with. Memory is that of the forces' graph,
    about one sweep's, whatever is asked of it.
    """

    def __init__(self, executor: Executor, x: Tensor, states: Mapping[str, Tensor], parameters: Parameters) -> None:
        self.executor = executor
        self.graph = executor.graph
        self.parameters = parameters
        dtype = torch.promote_types(x.dtype, torch.float32)
        self.plain = Plain(executor, x.to(dtype), self.parameters, attached=False)
        self.states: States = {n: states[n].detach().to(dtype).contiguous().requires_grad_() for n in self.graph.free}
        with torch.enable_grad():
            self.forces = self.plain.forces(self.states)

    @cached_property
    def slopes(self) -> Tensor:
        """σ′(∂Φ/∂s): the diagonal of D; zero for a readout, which is no part of the dynamics."""
        return self.flat(
            {
                name: self.graph.states[name].activation.derivative(self.forces[name].detach(), self._alpha(name))
                for name in self.graph.dynamic
            }
        )

    @cached_property
    def residuals(self) -> Tensor:
        """Distance from equilibrium ‖σ(∂Φ/∂s) − s‖/‖σ(∂Φ/∂s)‖ with all states moved at once, (batch,)."""
        moved = self.flat(
            {
                name: self.graph.states[name].activation.apply_(force.detach().clone(), self._alpha(name))
                for name, force in self.forces.items()
            }
        )
        change = torch.linalg.vector_norm(moved - self.flat(self.states), dim=1)
        size = torch.linalg.vector_norm(moved, dim=1).clamp_min(torch.finfo(moved.dtype).tiny)
        found: Tensor = change / size
        return found

    def curvature(self, v: Tensor) -> Tensor:
        """W v with W = ∂²Φ/∂s²; symmetric because it is a second derivative (Wᵀ v where feedback is untied)."""
        wanted = [(f, part) for f, part in zip(self.forces.values(), self.parts(v).values(), strict=True)]
        wanted = [(force, part) for force, part in wanted if force.requires_grad]
        if not wanted:
            return torch.zeros_like(v)
        forces, parts = zip(*wanted, strict=True)
        leaves = list(self.states.values())
        found = torch.autograd.grad(forces, leaves, parts, retain_graph=True, materialize_grads=True)
        return torch.cat([f.flatten(1) for f in found], 1)

    def coupling(self, v: Tensor) -> Tensor:
        """K v with K = D^½ W D^½, the linearised update on the active units in symmetric form.

        Raises EpgraphError where feedback is untied, as do ``adjoint`` and ``spectrum``: W is not symmetric there.
        """
        if self.graph.untied is not None:
            raise EpgraphError(
                f"the linearised update is not symmetric: edge '{self.graph.untied.name}' has a feedback weight of "
                "its own",
                "use learning.feedback: tied",
            )
        return self._root * self.curvature(self._root * v)

    def adjoint(self, pull: Tensor, tolerance: float, steps: int) -> tuple[Tensor, Adjoint]:
        """Solve H λ = ∂C/∂s over the active units, symmetrised as (1 − K) μ = D^½ ∂C/∂s with λ = D^½ μ.

        By conjugate gradients; where those meet negative curvature, by MINRES.

        Parameters
        ----------
        pull
            ∂C/∂s, (batch, units).
        tolerance, steps
            Relative residual at which an example's system counts as solved, and most products with H of each solver.
        """
        right = self._root * pull
        mu, products, indefinite = conjugate_gradients(self._system, right, tolerance, steps)
        if bool(indefinite.any()):
            rows = indefinite.nonzero().flatten()
            some = self if len(rows) == len(right) else self.take(rows)
            again, more = minres(some._system, right[rows], tolerance, steps)
            mu[rows] = again
            products += more
        left, size = (torch.linalg.vector_norm(v, dim=1) for v in (right - self._system(mu), right))
        residuals = left / size.clamp_min(torch.finfo(right.dtype).tiny)
        return self._root * mu, Adjoint(products, residuals, indefinite)

    def take(self, rows: Tensor) -> Linearisation:
        """Return the same for some of the examples."""
        states = {name: s[rows] for name, s in self.states.items()}
        return Linearisation(self.executor, self.plain.x[rows], states, self.parameters)

    def spectrum(self, tolerance: float = 1e-4) -> tuple[float, float]:
        """Largest and smallest eigenvalue of K over the active units of all examples, by Lanczos (ARPACK).

        ``tolerance`` is that of the eigenvector; the error of the eigenvalue is about its square. Where ``RESTARTS``
        are not enough ``LOOSE`` has to do, and where that is too much as well the value is NaN. Without an active
        unit both are 0.
        """
        # Not at module level: SciPy's import takes as long as a small network's check.
        from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

        active = self.slopes > 0
        count = int(active.sum())
        like = self.slopes

        def product(v: np.ndarray) -> np.ndarray:
            whole = torch.zeros_like(like)
            whole[active] = torch.from_numpy(np.ascontiguousarray(v).reshape(-1)).to(like)
            return np.asarray(self.coupling(whole)[active].cpu().double())

        if count <= FEW:
            columns = [product(row) for row in np.eye(count)]
            values = np.linalg.eigvalsh(np.array(columns)) if columns else np.zeros(1)
            return float(values[-1]), float(values[0])
        operator = LinearOperator((count, count), matvec=product, dtype=np.float64)
        # A start of its own, so that two runs agree.
        start = np.random.default_rng(0).standard_normal(count)
        if not product(start).any():
            return 0.0, 0.0

        def extreme(which: str) -> float:
            for allowed in (tolerance, LOOSE):
                with suppress(ArpackNoConvergence):
                    return float(
                        eigsh(
                            operator,
                            k=1,
                            which=which,
                            v0=start,
                            tol=allowed,
                            maxiter=RESTARTS,
                            return_eigenvectors=False,
                        )[0]
                    )
            return float("nan")

        return extreme("LA"), extreme("SA")

    def saturation(self) -> dict[str, Saturation]:
        """Where the units of every state are on σ, by name."""
        found = {}
        for name, force in self.forces.items():
            activation, alpha = self.graph.states[name].activation, self._alpha(name)
            force = force.detach()
            slope = activation.derivative(force, alpha)
            middle = activation.middle(alpha)
            flat = slope <= FLAT * activation.derivative(torch.zeros_like(force[:1]) + middle, alpha)
            low = float((flat & (force < middle)).double().mean())
            high = float((flat & (force >= middle)).double().mean())
            found[name] = Saturation(low, high, 1 - low - high)
        return found

    def flat(self, states: Mapping[str, Tensor]) -> Tensor:
        """States as one tensor, (batch, units); what is not given is zero."""
        rows = len(self.plain.x)
        shapes = {name: self.graph.states[name].shape for name in self.graph.free}
        parts = [
            states[name].detach() if name in states else self.plain.x.new_zeros(rows, *shape)
            for name, shape in shapes.items()
        ]
        return torch.cat([part.flatten(1) for part in parts], 1)

    def parts(self, v: Tensor) -> States:
        """Split (batch, units) into states by name; the inverse of ``flat``."""
        states = [self.graph.states[name] for name in self.graph.free]
        pieces = torch.split(v, [state.units for state in states], dim=1)
        return {state.name: piece.view(-1, *state.shape) for state, piece in zip(states, pieces, strict=True)}

    @cached_property
    def _root(self) -> Tensor:
        return self.slopes.sqrt()

    def _system(self, v: Tensor) -> Tensor:
        return v - self.coupling(v)

    def _alpha(self, name: str) -> float | Tensor:
        return self.parameters.alpha(self.graph.states[name])

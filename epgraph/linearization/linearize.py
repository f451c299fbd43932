"""Linearization of the network at some states: active units, curvature, spectrum, and the implicit gradient.

With D = diag σ′(∂Φ/∂s) and W = ∂²Φ/∂s², the linearized synchronous update is D W. On the active units (σ′ > 0) it is
similar to the symmetric K = D^½ W D^½. The Hessian of F over them is H = D⁻¹ − W = D^−½ (1 − K) D^−½. An equilibrium is
a minimum of F where every eigenvalue λ of K is below 1; sweeps over a proper coloring return to it. Synchronous sweeps
need |λ| < 1. Vectors below are (batch, units): all states that move, flattened, in the order of ``graph.free``.
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
from epgraph.linearization.differentiable_sweep import DifferentiableSweep
from epgraph.linearization.krylov import conjugate_gradients, minres
from epgraph.runtime.executor import Executor
from epgraph.runtime.parameters import Parameters
from epgraph.runtime.relaxation import States

SATURATION_SLOPE = 0.01
"""Fraction of the largest slope of a smooth σ below which a unit counts as saturated."""

ARPACK_RESTARTS, FALLBACK_TOLERANCE = 50, 1e-2
"""Maximum of ARPACK's restarts, about 20 products each, and the tolerance of a second try after them."""

DENSE_LIMIT = 64
"""Largest number of active units for which the spectrum comes from the dense matrix."""


@dataclass(frozen=True)
class Adjoint:
    """Statistics of the solver for the adjoint system (1 − K) μ = D^½ ∂C/∂s of implicit differentiation.

    Attributes
    ----------
    products
        Number of products with the Hessian of F; each costs about one sweep.
    residuals
        Relative residual ‖(1 − K) μ − D^½ ∂C/∂s‖/‖D^½ ∂C/∂s‖, (batch,).
    indefinite
        Whether conjugate gradients met negative curvature and MINRES solved the system, (batch,). Then the states are
        no minimum of F.
    """

    products: int
    residuals: Tensor
    indefinite: Tensor


@dataclass(frozen=True)
class Saturation:
    """Fractions of a state's units: at the lower end of σ, at its upper end, and active.

    ReLUα: at 0, at α, strictly between. Else a unit is at an end if σ′ is below ``SATURATION_SLOPE`` times its maximum.
    """

    low: float
    high: float
    active: float


class Linearization:
    """The linearized network at ``states``.

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
    It computes at least in float32: half precision is too coarse for the solvers. Its memory is that of the forces'
    autograd graph, about that of one sweep.
    """

    def __init__(self, executor: Executor, x: Tensor, states: Mapping[str, Tensor], parameters: Parameters) -> None:
        self.executor = executor
        self.graph = executor.graph
        self.parameters = parameters
        dtype = torch.promote_types(x.dtype, torch.float32)
        self.x = x.to(dtype)
        self.states: States = {n: states[n].detach().to(dtype).contiguous().requires_grad_() for n in self.graph.free}

    @cached_property
    def plain(self) -> DifferentiableSweep:
        """Sweep and forces of the batch."""
        return DifferentiableSweep(self.executor, self.x, self.parameters, attached=False)

    @cached_property
    def forces(self) -> States:
        """∂Φ/∂s at the states, attached to them."""
        with torch.enable_grad():
            return self.plain.forces(self.states)

    @cached_property
    def slopes(self) -> Tensor:
        """σ′(∂Φ/∂s), the diagonal of D, (batch, units); zero for a readout, which has no dynamics."""
        return self.flat(
            {
                name: self.graph.states[name].activation.derivative(self.forces[name].detach(), self._alpha(name))
                for name in self.graph.dynamic
            }
        )

    @cached_property
    def residuals(self) -> Tensor:
        """Distance from equilibrium ‖σ(∂Φ/∂s) − s‖/‖σ(∂Φ/∂s)‖ with all states updated at once, (batch,)."""
        updated = self.flat(
            {
                name: self.graph.states[name].activation.apply_(force.detach().clone(), self._alpha(name))
                for name, force in self.forces.items()
            }
        )
        change = torch.linalg.vector_norm(updated - self.flat(self.states), dim=1)
        size = torch.linalg.vector_norm(updated, dim=1).clamp_min(torch.finfo(updated.dtype).tiny)
        relative: Tensor = change / size
        return relative

    def curvature(self, v: Tensor) -> Tensor:
        """W v with W = ∂²Φ/∂s², which is symmetric; with untied feedback, Wᵀ v. (batch, units)."""
        every = zip(self.forces.values(), self.parts(v).values(), strict=True)
        pairs = [(force, part) for force, part in every if force.requires_grad]
        if not pairs:
            return torch.zeros_like(v)
        forces, parts = zip(*pairs, strict=True)
        leaves = list(self.states.values())
        products = torch.autograd.grad(forces, leaves, parts, retain_graph=True, materialize_grads=True)
        return torch.cat([product.flatten(1) for product in products], 1)

    def coupling(self, v: Tensor) -> Tensor:
        """K v with K = D^½ W D^½, the linearized update on the active units in symmetric form.

        Raises EpgraphError for untied feedback, as do ``adjoint`` and ``spectrum``: W is then not symmetric.
        """
        if self.graph.untied is not None:
            raise EpgraphError(
                f"the linearized update is not symmetric: edge '{self.graph.untied.name}' has a feedback weight of "
                "its own",
                "use learning.feedback: tied",
            )
        return self._root * self.curvature(self._root * v)

    def adjoint(self, pull: Tensor, tolerance: float, steps: int) -> tuple[Tensor, Adjoint]:
        """Solve H λ = ∂C/∂s over the active units, symmetrized as (1 − K) μ = D^½ ∂C/∂s with λ = D^½ μ.

        It uses conjugate gradients, and MINRES for examples with negative curvature.

        Parameters
        ----------
        pull
            ∂C/∂s, (batch, units).
        tolerance, steps
            Relative residual at which an example's system counts as solved, and maximum of products of each solver.

        Returns
        -------
        tuple
            λ, (batch, units), and the solver's statistics.
        """
        right = self._root * pull
        mu, products, indefinite = conjugate_gradients(self._system, right, tolerance, steps)
        if bool(indefinite.any()):
            rows = indefinite.nonzero().flatten()
            some = self if len(rows) == len(right) else self.take(rows)
            again, more = minres(some._system, right[rows], tolerance, steps)
            mu[rows] = again
            products += more
        error, size = (torch.linalg.vector_norm(v, dim=1) for v in (right - self._system(mu), right))
        residuals = error / size.clamp_min(torch.finfo(right.dtype).tiny)
        return self._root * mu, Adjoint(products, residuals, indefinite)

    def take(self, rows: Tensor) -> Linearization:
        """Return the linearization of some of the examples."""
        states = {name: s[rows] for name, s in self.states.items()}
        return Linearization(self.executor, self.plain.x[rows], states, self.parameters)

    def spectrum(self, tolerance: float = 1e-4) -> tuple[float, float]:
        """Largest and smallest eigenvalue of K over the active units of all examples, by Lanczos (ARPACK).

        ``tolerance`` is that of the eigenvector; the error of the eigenvalue is about its square. If
        ``ARPACK_RESTARTS`` are not enough, it tries ``FALLBACK_TOLERANCE``; if that fails too, the value is NaN.
        Without an active unit both values are 0.
        """
        # Imported here, because SciPy's import takes as long as the check of a small network.
        from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

        active = self.slopes > 0
        count = int(active.sum())
        like = self.slopes

        def product(v: np.ndarray) -> np.ndarray:
            whole = torch.zeros_like(like)
            whole[active] = torch.from_numpy(np.ascontiguousarray(v).reshape(-1)).to(like)
            return np.asarray(self.coupling(whole)[active].cpu().double())

        if count <= DENSE_LIMIT:
            columns = [product(row) for row in np.eye(count)]
            values = np.linalg.eigvalsh(np.array(columns)) if columns else np.zeros(1)
            return float(values[-1]), float(values[0])
        operator = LinearOperator((count, count), matvec=product, dtype=np.float64)
        # A fixed start, so that two runs agree.
        start = np.random.default_rng(0).standard_normal(count)
        if not product(start).any():
            return 0.0, 0.0

        def extreme(which: str) -> float:
            for attempt in (tolerance, FALLBACK_TOLERANCE):
                with suppress(ArpackNoConvergence):
                    return float(
                        eigsh(
                            operator,
                            k=1,
                            which=which,
                            v0=start,
                            tol=attempt,
                            maxiter=ARPACK_RESTARTS,
                            return_eigenvectors=False,
                        )[0]
                    )
            return float("nan")

        return extreme("LA"), extreme("SA")

    def saturation(self) -> dict[str, Saturation]:
        """Fractions of saturated and active units, by name of the state."""
        fractions = {}
        for name, force in self.forces.items():
            activation, alpha = self.graph.states[name].activation, self._alpha(name)
            force = force.detach()
            slope = activation.derivative(force, alpha)
            middle = activation.middle(alpha)
            flat = slope <= SATURATION_SLOPE * activation.derivative(torch.zeros_like(force[:1]) + middle, alpha)
            low = float((flat & (force < middle)).double().mean())
            high = float((flat & (force >= middle)).double().mean())
            fractions[name] = Saturation(low, high, 1 - low - high)
        return fractions

    def flat(self, states: Mapping[str, Tensor]) -> Tensor:
        """States as one tensor, (batch, units); missing states are zero."""
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

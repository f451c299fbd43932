"""Symmetric linear systems, many at once: conjugate gradients, and MINRES where a system is indefinite.

Every row of a (batch, units) tensor is a system of its own, with scalars of its own; ``apply`` multiplies each row by
its symmetric matrix. A row that has converged is left alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Apply = Callable[[Tensor], Tensor]


def conjugate_gradients(apply: Apply, b: Tensor, tolerance: float, steps: int) -> tuple[Tensor, int, Tensor]:
    """Solve A x = b by conjugate gradients (Hestenes and Stiefel), for positive definite A.

    Parameters
    ----------
    b
        Right-hand sides, (batch, units).
    tolerance
        Stop a row once ‖b − A x‖ ≤ tolerance · ‖b‖.
    steps
        Most products with A.

    Returns
    -------
    x, taken, negative
        Solutions, products taken, and (batch,) whether negative curvature, ⟨p, A p⟩ ≤ 0, was met: then A is not
        positive definite, and the row of x is not a solution.
    """
    x = torch.zeros_like(b)
    r, p = b.clone(), b.clone()
    rho = _inner(r, r)
    goal = tolerance**2 * rho
    negative = torch.zeros_like(rho, dtype=torch.bool)
    open_ = rho > goal
    taken = 0
    while taken < steps and bool(open_.any()):
        taken += 1
        product = apply(p)
        curvature = _inner(p, product)
        negative |= open_ & ~(curvature > 0)
        open_ &= ~negative
        size = torch.where(open_, rho / torch.where(open_, curvature, 1), 0)[:, None]
        x += size * p
        r -= size * product
        before, rho = rho, _inner(r, r)
        p = r + torch.where(open_, rho / torch.where(open_, before, 1), 0)[:, None] * p
        open_ &= rho > goal
    return x, taken, negative


def minres(apply: Apply, b: Tensor, tolerance: float, steps: int) -> tuple[Tensor, int]:
    """Solve A x = b by MINRES (Paige and Saunders 1975), for symmetric A of any sign.

    Lanczos vectors v with T = tridiag(β, α, β); Givens rotations (c, s) make T upper triangular with diagonals γ, δ, ε,
    and the right-hand side loses φ at each step: what is left of it is the residual.

    Returns
    -------
    x, taken
        Solutions, and products with A taken; arguments as for ``conjugate_gradients``.
    """
    tiny = torch.finfo(b.dtype).tiny
    x = torch.zeros_like(b)
    beta = _norm(b)
    goal = tolerance * beta
    left = beta.clone()
    v, v_before = b / beta.clamp_min(tiny)[:, None], torch.zeros_like(b)
    w, w_before = torch.zeros_like(b), torch.zeros_like(b)
    beta = torch.zeros_like(beta)
    c, s = torch.ones_like(beta), torch.zeros_like(beta)
    c_before, s_before = c, s
    open_ = left > goal
    taken = 0
    while taken < steps and bool(open_.any()):
        taken += 1
        product = apply(v)
        alpha = _inner(v, product)
        product = product - alpha[:, None] * v - beta[:, None] * v_before
        beta_next = _norm(product)
        # The column (β, α, β′) of T under the two rotations before it, then under its own.
        epsilon = s_before * beta
        rest = c_before * beta
        delta = c * rest + s * alpha
        gamma = c * alpha - s * rest
        length = torch.hypot(gamma, beta_next).clamp_min(tiny)
        c_before, s_before = c, s
        c, s = gamma / length, beta_next / length
        w, w_before = (v - delta[:, None] * w - epsilon[:, None] * w_before) / length[:, None], w
        x += torch.where(open_, c * left, 0)[:, None] * w
        left = torch.where(open_, -s * left, left)
        v, v_before = product / beta_next.clamp_min(tiny)[:, None], v
        beta = beta_next
        open_ &= left.abs() > goal
    return x, taken


def _inner(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(1)


def _norm(a: Tensor) -> Tensor:
    found: Tensor = torch.linalg.vector_norm(a, dim=1)
    return found

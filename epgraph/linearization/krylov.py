"""Batched solvers of symmetric linear systems: conjugate gradients, and MINRES for indefinite systems.

Every row of a (batch, units) tensor is a separate system with its own scalars; ``apply`` multiplies each row by its
symmetric matrix. A converged row does not change any more.
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
        A row has converged once ‖b − A x‖ ≤ tolerance · ‖b‖.
    steps
        Maximum number of products with A.

    Returns
    -------
    x, products, negative
        Solutions, number of products, and per row, (batch,), whether ⟨p, A p⟩ ≤ 0 occurred: then A is not positive
        definite, and the row of x is no solution.
    """
    x = torch.zeros_like(b)
    r, p = b.clone(), b.clone()
    rho = _inner(r, r)
    goal = tolerance**2 * rho
    negative = torch.zeros_like(rho, dtype=torch.bool)
    open_ = rho > goal
    products = 0
    while products < steps and bool(open_.any()):
        products += 1
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
    return x, products, negative


def minres(apply: Apply, b: Tensor, tolerance: float, steps: int) -> tuple[Tensor, int]:
    """Solve A x = b by MINRES (Paige and Saunders 1975), for symmetric A of any sign.

    Lanczos vectors v with T = tridiag(β, α, β). Givens rotations (c, s) make T upper triangular with diagonals γ, δ, ε.
    They also rotate the right-hand side; its last entry is the residual. Arguments as for ``conjugate_gradients``.

    Returns
    -------
    x, products
        Solutions, and number of products with A.
    """
    tiny = torch.finfo(b.dtype).tiny
    x = torch.zeros_like(b)
    beta = _norm(b)
    goal = tolerance * beta
    residual = beta.clone()
    v, v_before = b / beta.clamp_min(tiny)[:, None], torch.zeros_like(b)
    w, w_before = torch.zeros_like(b), torch.zeros_like(b)
    beta = torch.zeros_like(beta)
    c, s = torch.ones_like(beta), torch.zeros_like(beta)
    c_before, s_before = c, s
    open_ = residual > goal
    products = 0
    while products < steps and bool(open_.any()):
        products += 1
        product = apply(v)
        alpha = _inner(v, product)
        product = product - alpha[:, None] * v - beta[:, None] * v_before
        beta_next = _norm(product)
        # Column (β, α, β′) of T: apply the two previous rotations, then the new one.
        epsilon = s_before * beta
        rest = c_before * beta
        delta = c * rest + s * alpha
        gamma = c * alpha - s * rest
        length = torch.hypot(gamma, beta_next).clamp_min(tiny)
        c_before, s_before = c, s
        c, s = gamma / length, beta_next / length
        w, w_before = (v - delta[:, None] * w - epsilon[:, None] * w_before) / length[:, None], w
        x += torch.where(open_, c * residual, 0)[:, None] * w
        residual = torch.where(open_, -s * residual, residual)
        v, v_before = product / beta_next.clamp_min(tiny)[:, None], v
        beta = beta_next
        open_ &= residual.abs() > goal
    return x, products


def _inner(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(1)


def _norm(a: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(a, dim=1)
    return norm

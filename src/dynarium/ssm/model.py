"""The linear-Gaussian state-space model and its two steps: predict and update."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class LinearGaussian:
    """Parameters of a linear-Gaussian state-space model.

        z_1 ~ N(m0, P0)
        z_t = A_t z_{t-1} + B_t u_t + N(0, Q_t)      t = 2 .. T
        y_t = C_t z_t + D_t u_t + N(0, R_t)          t = 1 .. T

    Entry t of A, B and Q leads *into* step t, so their first entry goes unused. Every matrix is either shared, ``[n, n]``,
    or varies: anything that broadcasts to ``[b, t, n, n]`` (``[t, n, n]`` over time, ``[b, 1, n, n]`` over sequences).

    Attributes:
        A: Transition.
        C: Emission.
        Q: Covariance of the transition noise.
        R: Covariance of the emission noise.
        m0: Mean of the first state, ``[n]`` or ``[b, n]``.
        P0: Covariance of the first state, ``[n, n]`` or ``[b, n, n]``.
        B: Effect of the control on the state.
        D: Effect of the control on the observation.
    """

    A: Float[Tensor, "... n n"]
    C: Float[Tensor, "... p n"]
    Q: Float[Tensor, "... n n"]
    R: Float[Tensor, "... p p"]
    m0: Float[Tensor, "... n"]
    P0: Float[Tensor, "... n n"]
    B: Float[Tensor, "... n a"] | None = None
    D: Float[Tensor, "... p a"] | None = None


@dataclass(frozen=True, kw_only=True)
class Gaussian:
    """Means and covariances of a sequence of Gaussians."""

    mean: Float[Tensor, "... n"]
    cov: Float[Tensor, "... n n"]


def per_step(matrix: Float[Tensor, "... i j"], steps: int) -> tuple[Tensor, ...]:
    """Return the matrix of every step; a shared one is repeated, not copied.

    Raises:
        ValueError: The matrix varies over another number of steps.
    """
    if matrix.ndim == 2 or matrix.shape[-3] == 1:
        return (matrix if matrix.ndim == 2 else matrix.squeeze(-3),) * steps
    if matrix.shape[-3] != steps:
        raise ValueError(f"a matrix of shape {tuple(matrix.shape)} varies over {matrix.shape[-3]} steps, not {steps}")
    return matrix.unbind(-3)


def every_step(matrix: Float[Tensor, "... i j"], b: int, t: int) -> Float[Tensor, "b t i j"]:
    """Return the matrix expanded, not copied, over sequences and steps.

    Raises:
        ValueError: The matrix varies over another number of steps.
    """
    if matrix.ndim > 2 and matrix.shape[-3] not in (1, t):
        raise ValueError(f"a matrix of shape {tuple(matrix.shape)} varies over {matrix.shape[-3]} steps, not {t}")
    return matrix.expand(b, t, *matrix.shape[-2:])


def apply(matrix: Float[Tensor, "... i j"], vector: Float[Tensor, "... j"]) -> Float[Tensor, "... i"]:
    """Return the product of a matrix and a vector, broadcast over the leading dimensions."""
    return (matrix @ vector[..., None]).squeeze(-1)


def predict_step(
    mean: Float[Tensor, "b n"],
    cov: Float[Tensor, "b n n"],
    A: Float[Tensor, "... n n"],
    Q: Float[Tensor, "... n n"],
    push: Float[Tensor, "b n"] | None = None,
) -> tuple[Float[Tensor, "b n"], Float[Tensor, "b n n"]]:
    """Return mean and covariance one step ahead: ``A m (+ B u)`` and ``A P A' + Q``."""
    moved = apply(A, mean)
    return moved if push is None else moved + push, A @ cov @ A.mT + Q


def update_step(
    mean: Float[Tensor, "b n"],
    cov: Float[Tensor, "b n n"],
    y: Float[Tensor, "b p"],
    C: Float[Tensor, "... p n"],
    R: Float[Tensor, "... p p"],
    mask: Bool[Tensor, "b"] | Bool[Tensor, "b p"] | None = None,
) -> tuple[Float[Tensor, "b n"], Float[Tensor, "b n n"], Float[Tensor, " b"]]:
    """Condition on an observation: mean, covariance (Joseph form) and the log-density of the observed part of ``y``.

    A missing dimension has its row of C set to zero and its row and column of R replaced by those of the identity: it then
    has no gain, adds exactly 0 to the log-likelihood, and whatever ``y`` holds there (NaN included) cannot matter.
    """
    p, n = C.shape[-2:]
    observed: Tensor | float = float(p)
    if mask is not None:
        seen = mask[:, None].expand(-1, p) if mask.ndim == 1 else mask
        both = seen[..., :, None] & seen[..., None, :]
        y = torch.where(seen, y, 0.0)
        C = torch.where(seen[..., None], C, 0.0)
        R = torch.where(both, R, torch.eye(p, dtype=R.dtype, device=R.device))
        observed = seen.sum(-1).to(y.dtype)
    CP = C @ cov
    S = CP @ C.mT + R
    residual = y - apply(C, mean)
    solution, log_det = _solve(S, torch.cat([CP, residual[..., None]], dim=-1))
    K = solution[..., :n].mT
    J = torch.eye(n, dtype=cov.dtype, device=cov.device) - K @ C
    squared = (residual * solution[..., n]).sum(-1)
    log_likelihood = -0.5 * (observed * math.log(2 * math.pi) + log_det + squared)
    return mean + apply(K, residual), J @ cov @ J.mT + K @ R @ K.mT, log_likelihood


def _solve(
    S: Float[Tensor, "*b p p"], rhs: Float[Tensor, "*b p m"]
) -> tuple[Float[Tensor, "*b p m"], Float[Tensor, "*b"]]:
    """Return ``S^-1 rhs`` and ``log det S`` for symmetric positive-definite S; closed form up to p = 2, else Cholesky."""
    if S.shape[-1] == 1:
        return rhs / S, S[..., 0, 0].log()
    if S.shape[-1] == 2:
        a, b, d = S[..., 0, 0], S[..., 0, 1], S[..., 1, 1]
        det = a * d - b * b
        adjugate = torch.stack([d, -b, -b, a], dim=-1).unflatten(-1, (2, 2))
        return adjugate @ rhs / det[..., None, None], det.log()
    L = torch.linalg.cholesky(S)
    return torch.cholesky_solve(rhs, L), 2 * L.diagonal(dim1=-2, dim2=-1).log().sum(-1)

"""The linear-Gaussian state-space model and its two steps: predict and update."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dynarium.ssm.adjoint import FilterOperation, resolve


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

    A missing dimension has no gain, adds exactly 0 to the log-likelihood, and whatever ``y`` holds there (NaN included)
    cannot matter.
    """
    b, n = mean.shape
    p = C.shape[-2]
    seen = torch.ones(b, p, dtype=torch.bool, device=y.device) if mask is None else mask.view(b, -1).expand(b, p)
    # a filter of one step; nothing leads into it
    unused = cov.new_zeros(()).expand(b, 1, n, n)
    inputs = (unused, every_step(C[..., None, :, :], b, 1), unused, every_step(R[..., None, :, :], b, 1), y[:, None])
    start = (unused[..., 0], mean, cov.expand(b, n, n))
    new, spread, _, _, log_likelihood = FilterOperation.apply(
        resolve("auto", *inputs, *start), seen[:, None], *inputs, *start
    )
    return new[:, 0], spread[:, 0], log_likelihood[:, 0]

"""Linear-Gaussian systems whose matrices a discrete regime chooses, given only a distribution over the regimes.

    z_1 ~ N(m0, P0),  z_t = A_s z_{t-1} + B_s u_t + N(0, Q_s),  y_t = C_s z_t + N(0, R),   s = s_t in 1 .. k

Ways to do without a path s_1 .. s_T: the mean-field bound on the likelihood, to learn by; the collapse to expected matrices
or to the moments of a mixture, to predict by.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dynarium.ssm.filtering import kalman_filter
from dynarium.ssm.model import LinearGaussian, apply


@dataclass(frozen=True, kw_only=True)
class Regimes:
    """The matrices of every regime.

    Attributes:
        A: Transitions.
        C: Emissions.
        root: Cholesky factors of the covariances Q of the transition noise.
        R: Covariance of the emission noise, shared.
        m0: Mean of the first state.
        P0: Covariance of the first state.
        B: Effects of the control.
    """

    A: Float[Tensor, "k n n"]
    C: Float[Tensor, "k p n"]
    root: Float[Tensor, "k n n"]
    R: Float[Tensor, "p p"]
    m0: Float[Tensor, " n"]
    P0: Float[Tensor, "n n"]
    B: Float[Tensor, "k n a"] | None = None


def collapse(regimes: Regimes, weights: Float[Tensor, "*b t k"]) -> LinearGaussian:
    """Return the system of the expected matrices, ``M_t = sum_k w_t(k) M_k`` for M in A, B, C, Q.

    With weights of 0 and 1 that is the system of this path. Otherwise it predicts the mean of the mixture that one step makes
    of a given state, and its covariance but for the spread between the means of the regimes.
    """
    return LinearGaussian(
        A=mixed(weights, regimes.A),
        B=None if regimes.B is None else mixed(weights, regimes.B),
        C=mixed(weights, regimes.C),
        Q=mixed(weights, regimes.root @ regimes.root.mT),
        R=regimes.R,
        m0=regimes.m0,
        P0=regimes.P0,
    )


def mean_field_bound(
    regimes: Regimes,
    weights: Float[Tensor, "b t k"],
    y: Float[Tensor, "b t p"],
    mask: Bool[Tensor, "b t"] | None = None,
    u: Float[Tensor, "b t a"] | None = None,
) -> Float[Tensor, " b"]:
    """Return ``log int exp E_w[log p(y, z | s, u)] dz``, exactly and without samples.

    For any distribution q(s) with marginals w, this minus KL(q(s) || p(s)) is the evidence lower bound of log p(y | u) at the
    best q(z) that is independent of s (Ghahramani & Hinton 2000, "Variational learning for switching state-space models").
    The expected quadratic forms are completed to squares, with W_k = Q_k^-1 and expectations over w_t:

        E|z_t - A_s z_{t-1} - B_s u|^2_W = |z_t - A z_{t-1} - B u|^2_{Q^-1} + E|(A_s - A) z_{t-1} + (B_s - B) u|^2_W
        E|y_t - C_s z_t|^2_{R^-1}       = |y_t - C z_t|^2_{R^-1}          + E|(C_s - C) z_t|^2_{R^-1}
        Q^-1 = E[W],  A = Q E[W A_s],  B = Q E[W B_s],  C = E[C_s]

    so that q(z) is that of a linear-Gaussian system whose states are also "observed" by the disagreement of the regimes: the
    terms on the right, as further rows of the observation. Steps after the last observed one leave out nothing but a
    normalised density, and add nothing. With one regime this is log p(y | u).
    """
    (b, t, k), n, p = weights.shape, regimes.A.shape[-1], regimes.C.shape[-2]
    eye = torch.eye(n, dtype=y.dtype, device=y.device)
    whiten = torch.linalg.solve_triangular(regimes.root, eye.expand(k, n, n), upper=False)
    precision = whiten.mT @ whiten
    Q = torch.cholesky_inverse(expected_root := torch.linalg.cholesky(mixed(weights, precision)))
    A, C = Q @ mixed(weights, precision @ regimes.A), mixed(weights, regimes.C)
    B = None if regimes.B is None else Q @ mixed(weights, precision @ regimes.B)
    system = LinearGaussian(A=A, B=B, C=C, Q=Q, R=regimes.R, m0=regimes.m0, P0=regimes.P0)
    if k == 1:
        return kalman_filter(system, y, mask=mask, u=u).log_likelihood.sum(1)

    seen = torch.ones(b, t, dtype=torch.bool, device=y.device) if mask is None else mask
    followed = seen.flip(1).cummax(1).values.flip(1)
    share = weights.clamp(min=1e-20).sqrt()[..., None, None]  # the slope of a root at 0 is infinite
    moves = share * (whiten @ (regimes.A - A[:, :, None]))
    pushes = y.new_zeros(b, t, k * n)
    if u is not None and regimes.B is not None and B is not None:
        pushes = -apply(share * (whiten @ (regimes.B - B[:, :, None])), u[:, :, None].expand(b, t, k, -1)).flatten(2)
    # The disagreement about the step into t + 1 is about the state at t.
    moves, pushes = moves.flatten(2, 3)[:, 1:], pushes[:, 1:]
    moves = torch.cat([moves, moves.new_zeros(b, 1, k * n, n)], 1)
    pushes = torch.cat([pushes, pushes.new_zeros(b, 1, k * n)], 1)
    emission_root = torch.linalg.cholesky(regimes.R).expand(k, p, p)
    views = torch.linalg.solve_triangular(emission_root, regimes.C - C[:, :, None], upper=False)
    views = (share * views).flatten(2, 3)

    rows = k * (n + p)
    step_follows = torch.cat([followed[:, 1:], followed.new_zeros(b, 1)], 1)
    known = torch.cat([seen[..., None].expand(-1, -1, p + k * p), step_follows[..., None].expand(-1, -1, k * n)], -1)
    observation = torch.cat([y, y.new_zeros(b, t, k * p), pushes], -1)
    noise = torch.block_diag(regimes.R, torch.eye(rows, dtype=y.dtype, device=y.device))
    joint = LinearGaussian(A=A, B=B, C=torch.cat([C, views, moves], 2), Q=Q, R=noise, m0=regimes.m0, P0=regimes.P0)
    log_likelihood = kalman_filter(joint, observation, mask=known, u=u).log_likelihood.sum(1)
    # The rows of the disagreement are squares, not densities; and E[log |Q_s|] is not log |Q|.
    squares = (k * p * seen.sum(1) + k * n * step_follows.sum(1)).to(y.dtype) * (0.5 * math.log(2 * math.pi))
    log_det = -2 * expected_root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    expected_log_det = weights @ (2 * regimes.root.diagonal(dim1=-2, dim2=-1).log().sum(-1))
    return log_likelihood + squares + 0.5 * ((log_det - expected_log_det) * followed)[:, 1:].sum(1)


def mixed(weights: Float[Tensor, "*b k"], matrices: Float[Tensor, "k i j"]) -> Float[Tensor, "*b i j"]:
    """Return ``sum_k w(k) M_k``."""
    return (weights @ matrices.flatten(1)).unflatten(-1, matrices.shape[1:])


def mixture_mean(weights: Float[Tensor, "*b k"], values: Float[Tensor, "*b k n"]) -> Float[Tensor, "*b n"]:
    """Return the mean over the regimes."""
    return (weights[..., None] * values).sum(-2)


def moment_match(
    weights: Float[Tensor, "*b k"], mean: Float[Tensor, "*b k n"], cov: Float[Tensor, "*b k n n"]
) -> tuple[Float[Tensor, "*b n"], Float[Tensor, "*b n n"]]:
    """Return mean and covariance of a mixture of Gaussians: ``m = E[m_k]``, ``E[P_k + (m_k - m)(m_k - m)']``."""
    centre = mixture_mean(weights, mean)
    apart = mean - centre[..., None, :]
    return centre, (weights[..., None, None] * (cov + apart[..., :, None] * apart[..., None, :])).sum(-3)

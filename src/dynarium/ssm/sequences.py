"""Filter, smoother and their adjoints for whole batches of sequences in plain PyTorch.

Only what depends on the step before runs over time (``recursions.py``); the rest is done for all steps at once. Everything
is time-major, ``[t, b, ...]``, and without a tape: the adjoints are written out.

The adjoint rests on the gain being optimal: the covariance that Joseph's form returns does not change with K to first order,
so with J = I - K C

    dP_t = J dP_{t|t-1} J' + K dR K' - 2 sym(K dC P_t),      dm_t = J dm_{t|t-1} + K (dy - dC m_{t|t-1}) + dK r

and the cotangents obey the same two recursions backwards, with (A_{t+1} J_t)' in the place of the transition.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dynarium.ssm.recursions import propagate_cov, propagate_mean, scan_riccati


class Sensors(NamedTuple):
    """Observations with independent noise, ``L^-1 y`` where ``R = L diag(d) L'``; missing entries are empty rows."""

    C: Tensor
    y: Tensor
    d: Tensor
    inverse: Tensor  # L^-1


def observed_part(
    C: Tensor, R: Tensor, y: Tensor, seen: Bool[Tensor, "*b p"]
) -> tuple[Float[Tensor, "*b p n"], Float[Tensor, "*b p p"], Float[Tensor, "*b p"]]:
    """Return C, R and y with the missing entries neutral: a row of zeros, a row and column of the identity, a zero."""
    both = seen[..., :, None] & seen[..., None, :]
    eye = torch.eye(R.shape[-1], dtype=R.dtype, device=R.device)
    return torch.where(seen[..., None], C, 0.0), torch.where(both, R, eye), torch.where(seen, y, 0.0)


def decorrelate(C: Float[Tensor, "*b p n"], R: Float[Tensor, "*b p p"], y: Float[Tensor, "*b p"]) -> Sensors:
    """Eliminate the correlations of the emission noise; pivots of 0 (noise-free combinations) are allowed."""
    p, n = C.shape[-2:]
    eye = torch.eye(p, dtype=R.dtype, device=R.device).expand(R.shape)
    rows, left = torch.cat([C, y[..., None], eye], -1), R
    for j in range(p - 1):
        pivot = left[..., j, j, None]
        factor = torch.where(pivot > 0, left[..., :, j] / pivot, 0.0)
        factor = torch.where(torch.arange(p, device=R.device) > j, factor, 0.0)[..., None]
        rows = rows - factor * rows[..., j, None, :]
        left = left - factor * left[..., j, None, :]
    d = left.diagonal(dim1=-2, dim2=-1)
    return Sensors(rows[..., :n], rows[..., n], d, rows[..., n + 1 :])


def condition_cov(
    P: Float[Tensor, "*b n n"], sensors: Sensors
) -> tuple[Float[Tensor, "*b n n"], list[Tensor], list[Tensor]]:
    """Condition a covariance on one sensor after the other; return it with the gains ``[n, 1]`` and variances ``[1, 1]``.

    Joseph's form ``(I - k c) P (I - k c)' + k d k'`` for each scalar sensor (Bierman 1977): only divisions by positive
    numbers, no inverse of S, whose rounding would drown a small R where two sensors see the same.
    """
    gains, variances = [], []
    for i in range(sensors.C.shape[-2]):
        c, d = sensors.C[..., i, :, None], sensors.d[..., i, None, None]
        h = P @ c
        s = c.mT @ h + d
        k = h / s
        P = P - k @ h.mT
        P = P - (P @ c - d * k) @ k.mT
        P = 0.5 * (P + P.mT)
        gains.append(k)
        variances.append(s)
    return P, gains, variances


def condition_mean(
    m: Float[Tensor, "*b n c"], y: Float[Tensor, "*b p c"], C: Float[Tensor, "*b p n"], gains: list[Tensor]
) -> tuple[Float[Tensor, "*b n c"], Float[Tensor, "*b p c"]]:
    """Condition columns of means on the sensors; return them and the innovations."""
    innovations = []
    for i, k in enumerate(gains):
        e = y[..., i, None, :] - C[..., i, None, :] @ m
        m = m + k @ e
        innovations.append(e)
    return m, torch.cat(innovations, -2)


def gain(P: Float[Tensor, "*b n n"], sensors: Sensors) -> tuple[Tensor, Tensor]:
    """Return ``K = P C' S^-1`` and ``S^-1`` in terms of the original observations."""
    _, gains, variances = condition_cov(P, sensors)
    nothing = P.new_zeros(*P.shape[:-1], sensors.inverse.shape[-1])
    K, V = condition_mean(nothing, sensors.inverse, sensors.C, gains)
    return K, V.mT @ (V / torch.cat(variances, -2))


def symmetric(matrix: Float[Tensor, "*b n n"]) -> Float[Tensor, "*b n n"]:
    """Return the symmetric part."""
    return 0.5 * (matrix + matrix.mT)


def outer(a: Float[Tensor, "*b i"], b: Float[Tensor, "*b j"]) -> Float[Tensor, "*b i j"]:
    """Return ``a b'``."""
    return a[..., :, None] * b[..., None, :]


def dot(matrix: Float[Tensor, "*b i j"], vector: Float[Tensor, "*b j"]) -> Float[Tensor, "*b i"]:
    """Return a matrix times a vector."""
    return (matrix @ vector[..., None]).squeeze(-1)


def filter_forward(
    A: Tensor,
    C: Tensor,
    Q: Tensor,
    R: Tensor,
    y: Tensor,
    push: Tensor,
    m0: Tensor,
    P0: Tensor,
    seen: Tensor,
    scan: bool,
) -> tuple[Tensor, ...]:
    """Return filtered and predicted moments and the log-likelihood of every step."""
    C, R, y = observed_part(C, R, y, seen)
    sensors = decorrelate(C, R, y)
    t = y.shape[0]
    if scan:
        mp, Pp = _scan_predictions(A, C, Q, R, y, push, m0, P0)
        P, gains, variances = condition_cov(Pp, sensors)
        m, e = condition_mean(mp[..., None], sensors.y[..., None], sensors.C, gains)
        m, e, s = m.squeeze(-1), e.squeeze(-1), torch.cat(variances, -1).squeeze(-2)
    else:
        m_now, P_now, steps = m0[..., None], P0, []
        for i in range(t):
            if i > 0:
                m_now = torch.baddbmm(push[i, ..., None], A[i], m_now)
                P_now = torch.baddbmm(Q[i], A[i] @ P_now, A[i].mT)
            now = Sensors(*(part[i] for part in sensors))
            before = (m_now, P_now)
            P_now, gains, variances = condition_cov(P_now, now)
            m_now, e = condition_mean(m_now, now.y[..., None], now.C, gains)
            steps.append((m_now, P_now, *before, e, torch.cat(variances, -2)))
        m, P, mp, Pp, e, s = (torch.stack(part) for part in zip(*steps, strict=True))
        m, mp, e, s = (part.squeeze(-1) for part in (m, mp, e, s))
    log_likelihood = -0.5 * (seen.sum(-1).to(s) * math.log(2 * math.pi) + (s.log() + e.square() / s).sum(-1))
    return m, P, mp, Pp, log_likelihood


def _scan_predictions(
    A: Tensor, C: Tensor, Q: Tensor, R: Tensor, y: Tensor, push: Tensor, m0: Tensor, P0: Tensor
) -> tuple[Tensor, Tensor]:
    """Return predicted means and covariances by parallel scans; conditioning them once more polishes the rounding."""
    sensors, eye = decorrelate(C, R, y), torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    K, precision = gain(Q, sensors)
    first, _, _ = condition_cov(P0, Sensors(*(part[0] for part in sensors)))
    P = scan_riccati(A, Q, eye - K @ C, C.mT @ precision @ C, first)
    Pp = torch.cat([P0[None], symmetric(A[1:] @ P[:-1] @ A[1:].mT) + Q[1:]])
    K, _ = gain(Pp, sensors)
    J = eye - K @ C
    start = torch.cat([m0[None], push[1:]])
    m = propagate_mean(J @ A, dot(J, start) + dot(K, y), scan=True)
    return torch.cat([m0[None], dot(A[1:], m[:-1]) + push[1:]]), Pp


def filter_backward(
    inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], cotangents: tuple[Tensor, ...], scan: bool
) -> tuple[Tensor, ...]:
    """Return the cotangents of A, C, Q, R, y, push, m0, P0, given those of what ``filter_forward`` returns."""
    A, C, _, R, y, seen = inputs
    m, P, mp, Pp = outputs
    gm, gP, gmp, gPp, gl = cotangents
    gP, gPp = symmetric(gP), symmetric(gPp)
    C, R, y = observed_part(C, R, y, seen)
    K, precision = gain(Pp, decorrelate(C, R, y))
    J = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device) - K @ C
    alpha = dot(precision, y - dot(C, mp))
    pull = dot(C.mT, alpha)
    following = torch.zeros_like(J)
    following[:-1] = (A[1:] @ J[:-1]).mT  # carries the cotangent of step t+1's prediction to step t's

    source = gmp + dot(J.mT, gm) + gl[..., None] * pull
    mu = propagate_mean(following, source, scan=scan, reverse=True)
    w = gm.clone()
    w[:-1] += dot(A[1:].mT, mu[1:])  # everything that reaches the filtered mean
    kappa = dot(K.mT, w)
    gS = -symmetric(outer(kappa, alpha)) + 0.5 * gl[..., None, None] * (outer(alpha, alpha) - precision)
    source = gPp + J.mT @ gP @ J + symmetric(outer(w, pull)) + C.mT @ gS @ C
    Lambda = propagate_cov(following, source, scan=scan, reverse=True)
    whole = gP.clone()
    whole[:-1] += A[1:].mT @ Lambda[1:] @ A[1:]

    gy = kappa - gl[..., None] * alpha
    KL = K.mT @ whole
    gC = outer(alpha, dot(Pp, w)) - outer(gy, mp) + 2 * (gS @ C @ Pp - KL @ P)
    gR = torch.where(seen[..., :, None] & seen[..., None, :], gS + KL @ K, 0.0)
    gA, gQ, gpush = torch.zeros_like(J), Lambda.clone(), mu.clone()
    gA[1:] = outer(mu[1:], m[:-1]) + 2 * Lambda[1:] @ A[1:] @ P[:-1]
    gQ[0], gpush[0] = 0.0, 0.0
    return gA, gC, gQ, gR, gy, gpush, mu[0], Lambda[0]


def smoother_forward(
    A: Tensor, Q: Tensor, m: Tensor, P: Tensor, mp: Tensor, Pp: Tensor, scan: bool
) -> tuple[Tensor, ...]:
    """Return smoothed means and covariances, covariances across steps, and the gains G.

    Raises:
        torch.linalg.LinAlgError: A predicted covariance is not positive definite.
    """
    AP = A[1:] @ P[:-1]
    Gt = torch.cholesky_solve(AP, torch.linalg.cholesky(Pp[1:]))
    G = Gt.mT
    J = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device) - G @ A[1:]
    L = symmetric(J @ P[:-1] @ J.mT + G @ Q[1:] @ Gt)
    spread, start = torch.cat([L, P[-1:]]), torch.cat([m[:-1] - dot(G, mp[1:]), m[-1:]])
    F = torch.cat([G, P[-1:]])
    ms = propagate_mean(F, start, scan=scan, reverse=True)
    Ps = propagate_cov(F, spread, scan=scan, reverse=True)
    return ms, Ps, Ps[1:] @ Gt, G


def smoother_backward(
    inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], cotangents: tuple[Tensor, ...], scan: bool
) -> tuple[Tensor, ...]:
    """Return the cotangents of A, Q, m, P, mp, Pp.

    L = P - G P_{t+1|t} G' is stationary in G as well: ``dL = J dP J' + G dQ G' - 2 sym(G dA P J')`` with J = I - G A.
    """
    A, _, P, mp, Pp = inputs
    ms, Ps, G = outputs
    gms, gPs, gcross = cotangents
    gPs = symmetric(gPs)
    source = gPs.clone()
    source[1:] += symmetric(gcross @ G)
    F = torch.cat([P[:1], G.mT])
    mu, U = propagate_mean(F, gms, scan=scan), propagate_cov(F, source, scan=scan)
    J = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device) - G @ A[1:]
    u, UG, before = mu[:-1], U[:-1] @ G, P[:-1]
    gG = outer(u, ms[1:] - mp[1:]) + (2 * UG + gcross.mT) @ Ps[1:]
    Y = torch.cholesky_solve(gG.mT, torch.linalg.cholesky(Pp[1:])).mT
    gA, gQ, gP, gmp, gPp = (torch.zeros_like(x) for x in (Ps, Ps, Ps, ms, Ps))
    gA[1:] = Y.mT @ before - 2 * UG.mT @ J @ before
    gQ[1:] = G.mT @ UG
    gP[:-1] = J.mT @ U[:-1] @ J + symmetric(Y @ A[1:])
    gP[-1] = U[-1]
    gmp[1:] = -dot(G.mT, u)
    gPp[1:] = -symmetric(G.mT @ Y)
    return gA, gQ, mu, gP, gmp, gPp

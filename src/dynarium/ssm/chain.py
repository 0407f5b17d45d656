"""Gaussian Markov chains in natural parameters: a block-tridiagonal precision, solved exactly in time linear in the steps."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dynarium.ssm.model import apply
from dynarium.ssm.smoothing import Smoothed


@dataclass(frozen=True, kw_only=True)
class Chain:
    """The density exp(-1/2 x'Jx + h'x), up to its constant, of a sequence x = (x_1, ..., x_T).

    What is quadratic in neighbouring states has this form even where it is no linear-Gaussian model: expected
    log-densities of several dynamics, a second-order expansion of a likelihood. Terms are added, in any order.

    Attributes:
        diagonal: Blocks J_{t,t}, symmetric.
        below: Blocks J_{t+1,t}.
        linear: h_t.
    """

    diagonal: Float[Tensor, "b t n n"]
    below: Float[Tensor, "b s n n"]
    linear: Float[Tensor, "b t n"]


def solve_chain(chain: Chain) -> tuple[Smoothed, Float[Tensor, "b t"]]:
    """Return the exact moments of a chain and, of every step, a summand of log det J.

    Block elimination, forwards and back (Rue & Held 2005, section 2.4)::

        D_1 = J_11,  v_1 = h_1,   D_t = J_tt - J_t,t-1 D_{t-1}^-1 J_t,t-1',  v_t = h_t - J_t,t-1 D_{t-1}^-1 v_{t-1}
        m_T = D_T^-1 v_T,  P_T = D_T^-1
        m_t = D_t^-1 v_t + G_t m_{t+1},  P_t = D_t^-1 + G_t P_{t+1} G_t',  G_t = -D_t^-1 J_{t+1,t}'

    The entropy of the chain is ``(T n (1 + log 2 pi) - log det J) / 2``. A step with an identity block, no coupling and
    h = 0 adds nothing to log det J: this is how sequences of unequal length are filled up.

    Raises:
        torch.linalg.LinAlgError: J is not positive definite.
    """
    diagonal, below, linear = chain.diagonal.unbind(1), chain.below.unbind(1), chain.linear.unbind(1)
    D, v = diagonal[0], linear[0]
    roots, vectors, gains = [torch.linalg.cholesky(D)], [v], []
    for J, L, h in zip(diagonal[1:], below, linear[1:], strict=True):
        gain = -torch.cholesky_solve(L.mT, roots[-1])
        D, v = J + L @ gain, h + apply(gain.mT, v)
        gains.append(gain)
        roots.append(torch.linalg.cholesky(0.5 * (D + D.mT)))
        vectors.append(v)
    factor = torch.stack(roots, 1)
    spread = torch.cholesky_inverse(factor)
    centre = apply(spread, torch.stack(vectors, 1))
    mean, cov = centre[:, -1], spread[:, -1]
    means, covs, crosses = [mean], [cov], []
    for i in range(len(gains) - 1, -1, -1):
        cross = cov @ gains[i].mT
        mean = centre[:, i] + apply(gains[i], mean)
        cov = spread[:, i] + gains[i] @ cross
        means.append(mean)
        covs.append(cov)
        crosses.append(cross)
    for parts in (means, covs, crosses):
        parts.reverse()
    cross_cov = torch.stack(crosses, 1) if crosses else chain.below
    log_det = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return Smoothed(mean=torch.stack(means, 1), cov=torch.stack(covs, 1), cross_cov=cross_cov), log_det

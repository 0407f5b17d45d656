"""The Rauch-Tung-Striebel smoother and samples of whole trajectories."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dynarium.ssm.adjoint import Method, SmootherOperation, resolve
from dynarium.ssm.filtering import Filtered
from dynarium.ssm.model import LinearGaussian, apply, every_step, per_step


@dataclass(frozen=True, kw_only=True)
class Smoothed:
    """What is known of every state given the whole sequence.

    Attributes:
        mean: E[z_t | y_1 .. y_T].
        cov: Cov[z_t | y_1 .. y_T].
        cross_cov: Cov[z_{t+1}, z_t | y_1 .. y_T], for t = 1 .. T-1.
    """

    mean: Float[Tensor, "b t n"]
    cov: Float[Tensor, "b t n n"]
    cross_cov: Float[Tensor, "b s n n"]


def backward_kernel(
    model: LinearGaussian, filtered: Filtered
) -> tuple[Float[Tensor, "b s n n"], Float[Tensor, "b s n n"]]:
    """Return the gains and covariances of p(z_t | z_{t+1}, y_1 .. y_t), for t = 1 .. T-1, all at once.

        G_t = P_t A' P_{t+1|t}^-1,    L_t = (I - G A) P_t (I - G A)' + G Q G'

    Raises:
        torch.linalg.LinAlgError: A predicted covariance is not positive definite.
    """
    t = filtered.mean.shape[1]
    A, Q = (torch.stack(per_step(matrix, t), dim=-3)[..., 1:, :, :] for matrix in (model.A, model.Q))
    cov = filtered.cov[:, :-1]
    G = torch.cholesky_solve(A @ cov, torch.linalg.cholesky(filtered.predicted_cov[:, 1:])).mT
    J = torch.eye(cov.shape[-1], dtype=cov.dtype, device=cov.device) - G @ A
    return G, J @ cov @ J.mT + G @ Q @ G.mT


def rts_smoother(model: LinearGaussian, filtered: Filtered, *, method: Method = "auto") -> Smoothed:
    """Smooth filtered sequences (Rauch, Tung & Striebel 1965), backwards from the last step.

        m_{t|T} = m_t + G_t (m_{t+1|T} - m_{t+1|t}),    P_{t|T} = L_t + G_t P_{t+1|T} G_t'

    A sum of positive terms, so that covariances stay positive definite in float32 as well. The predictions must be those
    of the same model; ``method`` as in ``kalman_filter``.

    Raises:
        torch.linalg.LinAlgError: A predicted covariance is not positive definite.
    """
    b, t, _ = filtered.mean.shape
    mean, cov, cross_cov = SmootherOperation.apply(
        resolve(method, filtered.mean, model.A, model.Q),
        every_step(model.A, b, t),
        every_step(model.Q, b, t),
        filtered.mean,
        filtered.cov,
        filtered.predicted_mean,
        filtered.predicted_cov,
    )
    return Smoothed(mean=mean, cov=cov, cross_cov=cross_cov)


def sample_posterior(
    model: LinearGaussian,
    filtered: Filtered,
    samples: int = 1,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "s b t n"]:
    """Draw whole trajectories from p(z_1 .. z_T | y_1 .. y_T) (forward filtering, backward sampling).

    Carter & Kohn 1994: ``z_T ~ N(m_T, P_T)``, then ``z_t ~ N(m_t + G_t (z_{t+1} - m_{t+1|t}), L_t)``. Reparameterised, so
    gradients flow to the model.
    """
    G, L = backward_kernel(model, filtered)
    roots = square_root(torch.cat([L, filtered.cov[:, -1:]], dim=1)).unbind(1)
    shape = (samples, *filtered.mean.shape)
    noise = torch.randn(shape, generator=generator, dtype=filtered.mean.dtype, device=filtered.mean.device).unbind(2)
    z = filtered.mean[:, -1] + apply(roots[-1], noise[-1])
    drawn = [z]
    for i in range(shape[2] - 2, -1, -1):
        mean = filtered.mean[:, i] + apply(G[:, i], z - filtered.predicted_mean[:, i + 1])
        z = mean + apply(roots[i], noise[i])
        drawn.append(z)
    drawn.reverse()
    return torch.stack(drawn, 2)


def square_root(cov: Float[Tensor, "*b n n"]) -> Float[Tensor, "*b n n"]:
    """Return a Cholesky factor of covariances that rounding may have left barely singular.

    Adds the rounding error of the matrix itself, 4 eps trace(P), to the diagonal: below what its entries resolve.
    """
    slack = 4 * torch.finfo(cov.dtype).eps * cov.diagonal(dim1=-2, dim2=-1).sum(-1)
    eye = torch.eye(cov.shape[-1], dtype=cov.dtype, device=cov.device)
    return torch.linalg.cholesky(0.5 * (cov + cov.mT) + slack[..., None, None] * eye)

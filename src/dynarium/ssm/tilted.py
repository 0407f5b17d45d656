"""A Markov chain tilted by potentials: a structured posterior of its paths, its exact divergence, relaxed samples."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dynarium.ssm.discrete import Marginals, forward_backward


@dataclass(frozen=True, kw_only=True)
class TiltedChain:
    """``q(s_1 .. s_T) = p(s_1 .. s_T) prod_t exp psi_t(s_t) / Z`` of a Markov chain p.

    Attributes:
        log_initial: log p(s_1).
        log_transition: log p(s_{t+1} = j | s_t = i) in row i and column j, of every step; normalised.
        potential: psi.
    """

    log_initial: Float[Tensor, " k"]
    log_transition: Float[Tensor, "b s k k"]
    potential: Float[Tensor, "b t k"]

    def posterior(self) -> Marginals:
        """Return the marginals of q, by forward-backward."""
        return forward_backward(self.log_initial, self.log_transition, self.potential)

    def divergence(self, posterior: Marginals) -> Float[Tensor, " b"]:
        """Return KL(q || p) of whole paths, exactly: ``sum_t E_q[psi_t(s_t)] - log Z``."""
        return (posterior.probability * self.potential).sum((1, 2)) - posterior.log_normaliser


def relaxed_path(posterior: Marginals, tau: float) -> Float[Tensor, "b t k"]:
    """Draw a path by Gumbel-softmax (Jang et al. 2017; Maddison et al. 2017), forwards along the chain of the posterior.

    ``y_t = softmax((l_t + g_t) / tau)`` with g_t Gumbel noise, l_1 = log q(s_1) and l_t = y_{t-1}' log q(s_t | s_{t-1}). As
    tau goes to 0 this is a sample of q; above, a point inside the simplex that has a gradient.
    """
    tiny = torch.finfo(posterior.pair.dtype).tiny
    marginal = posterior.probability.clamp(min=tiny).log()
    conditional = posterior.pair.clamp(min=tiny).log() - marginal[:, :-1, :, None]
    noise = -torch.empty_like(marginal).exponential_().clamp(min=tiny).log()
    path = [((marginal[:, 0] + noise[:, 0]) / tau).softmax(-1)]
    for step, gumbel in zip(conditional.unbind(1), noise[:, 1:].unbind(1), strict=True):
        path.append((((path[-1][:, None] @ step)[:, 0] + gumbel) / tau).softmax(-1))
    return torch.stack(path, 1)

"""The divergence of a recurrent state-space model, balanced and with free nats."""

import torch
from jaxtyping import Float
from torch import Tensor

from dynarium.objectives.gaussians import gaussian_kl


def balanced_kl(
    posterior: tuple[Float[Tensor, "b t d"], Float[Tensor, "b t d"]],
    prior: tuple[Float[Tensor, "b t d"], Float[Tensor, "b t d"]],
    balance: float = 0.8,
    free_nats: float = 1.0,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return the term to minimise and KL(posterior || prior), both in nats a step.

    The KL is summed over the dimensions of the state. The term is

        w max(free, KL(sg(posterior) || prior)) + (1 - w) max(free, KL(posterior || sg(prior)))

    with sg the stop-gradient and w = ``balance``, so that the prior moves faster to the posterior than the posterior to
    the prior (Hafner et al. 2021, arXiv:2010.02193, alg. 2). Free nats are those of a whole step, averaged over batch and
    time, not of a dimension (Hafner et al. 2019, arXiv:1811.04551): below them the term has no gradient.

    Args:
        posterior: Mean and log-variance.
        prior: Mean and log-variance.
        balance: Share w of the gradient that trains the prior.
        free_nats: Nats a step that cost nothing.
    """

    def kl(post: tuple[Tensor, Tensor], before: tuple[Tensor, Tensor]) -> Tensor:
        return gaussian_kl(*post, *before).sum(-1).mean()

    to_prior = kl((posterior[0].detach(), posterior[1].detach()), prior)
    to_posterior = kl(posterior, (prior[0].detach(), prior[1].detach()))
    floor = torch.full_like(to_prior, free_nats)
    term = balance * torch.maximum(to_prior, floor) + (1 - balance) * torch.maximum(to_posterior, floor)
    return term, to_prior.detach()

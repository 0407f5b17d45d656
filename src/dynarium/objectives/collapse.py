"""How far a set of representations has collapsed. Diagnostics: no gradient is wanted of them."""

import torch
from jaxtyping import Float
from torch import Tensor


def effective_rank(z: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Return RankMe, ``exp(-sum_k p_k log p_k)`` with p the singular values of z over their sum (Garrido et al. 2023, eq. 1).

    arXiv:2210.02885. Of z as it is: a constant part counts as a direction. Between 1 (all on one line through 0, or all the
    same: a collapse) and min(n, d).
    """
    x = z.double()  # the roots of the Gram matrix's eigenvalues lose half of the digits
    gram = x.mT @ x if x.shape[0] > x.shape[1] else x @ x.mT
    singular = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    p = singular / singular.sum().clamp(min=torch.finfo(torch.float64).tiny)
    return torch.special.entr(p).sum().exp().to(z.dtype)


def mean_correlation(z: Float[Tensor, "n d"], floor: float = 1e-8) -> Float[Tensor, ""]:
    """Return the mean absolute correlation between different dimensions: 0 when decorrelated, 1 when all say the same."""
    z = z - z.mean(0)
    z = z / (z.square().sum(0) + floor).sqrt()
    d = z.shape[1]
    correlation = (z.mT @ z).abs()
    return (correlation.sum() - correlation.diagonal().sum()) / (d * (d - 1))


def relative_to_copying(
    prediction: Float[Tensor, "b t d"], target: Float[Tensor, "b t d"], start: Float[Tensor, "b d"]
) -> Float[Tensor, ""]:
    """Return the squared error of the prediction over that of a predictor that repeats ``start``: below 1 it has learned."""
    copied = (start[:, None] - target).square().mean()
    return (prediction - target).square().mean() / copied.clamp(min=torch.finfo(target.dtype).tiny)

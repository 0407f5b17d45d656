"""Divergences between Gaussians used as terms of evidence lower bounds."""

from jaxtyping import Float
from torch import Tensor


def gaussian_kl(
    mean: Float[Tensor, "*b"],
    log_variance: Float[Tensor, "*b"],
    prior_mean: Float[Tensor, "*b"],
    prior_log_variance: Float[Tensor, "*b"],
) -> Float[Tensor, "*b"]:
    """Return KL(N(m, v) || N(m', v')), elementwise: ``(log v' - log v + (v + (m - m')^2) / v' - 1) / 2``."""
    difference = log_variance - prior_log_variance
    return 0.5 * (difference.exp() - difference - 1 + (mean - prior_mean).square() * (-prior_log_variance).exp())

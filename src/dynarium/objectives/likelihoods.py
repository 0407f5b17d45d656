"""Log-densities used as terms of evidence lower bounds."""

import math

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def bernoulli_log_likelihood(logits: Float[Tensor, "*b"], x: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Return log Bernoulli(x; sigmoid(logits)), elementwise: ``x log p + (1 - x) log(1 - p)``, x in [0, 1]."""
    return -F.binary_cross_entropy_with_logits(logits, x, reduction="none")


def gaussian_log_likelihood(
    x: Float[Tensor, "*b"], mean: Float[Tensor, "*b"], variance: Float[Tensor, "*#b"] | float
) -> Float[Tensor, "*b"]:
    """Return log N(x; mean, variance), elementwise: ``-(log(2 pi v) + (x - m)^2 / v) / 2``."""
    log_variance = variance.log() if isinstance(variance, Tensor) else math.log(variance)
    return -0.5 * (math.log(2 * math.pi) + log_variance + (x - mean).square() / variance)

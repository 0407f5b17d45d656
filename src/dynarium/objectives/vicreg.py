"""Variance, invariance and covariance terms (VICReg: Bardes, Ponce & LeCun 2022, arXiv:2105.04906).

Every function works on groups of samples, ``z[..., n, d]``: the statistics of a term are those of the n samples of a
group, and its value is the mean over groups. ``[t, b, d]`` gives statistics per time step over the batch (Sobal et al.
2022, arXiv:2211.10831), ``[t * b, d]`` those over all frames (Sobal et al. 2025, arXiv:2502.14819).
"""

import torch
from jaxtyping import Float
from torch import Tensor


def variance_hinge(z: Float[Tensor, "*g n d"], floor: float = 1e-4) -> Float[Tensor, ""]:
    """Return ``mean_j max(0, 1 - sqrt(var_j + floor))`` with the unbiased variance (VICReg, eqs. 1 and 2)."""
    deviation = z - z.mean(-2, keepdim=True)
    variance = deviation.square().sum(-2) / (z.shape[-2] - 1)  # ``var`` over rows is several times slower on CPUs
    return (1 - (variance + floor).sqrt()).relu().mean()


def covariance_penalty(z: Float[Tensor, "*g n d"]) -> Float[Tensor, ""]:
    """Return ``sum_{i != j} C_ij^2 / d`` with ``C = Z^T Z / (n - 1)`` of the centred samples (VICReg, eqs. 3 and 4).

    With fewer samples than dimensions, ``|Z^T Z|_F = |Z Z^T|_F`` is taken from the smaller matrix.
    """
    n, d = z.shape[-2:]
    z = z - z.mean(-2, keepdim=True)
    gram = z @ z.mT if n < d else z.mT @ z
    diagonal = z.square().sum(-2)
    off_diagonal = gram.square().sum((-2, -1)) - diagonal.square().sum(-1)
    return (off_diagonal / (d * (n - 1) ** 2)).mean()


def similarity(prediction: Float[Tensor, "*g d"], target: Float[Tensor, "*g d"]) -> Float[Tensor, ""]:
    """Return the mean squared difference over all elements (VICReg, eq. 5, divided by d)."""
    return (prediction - target).square().mean()


def standard_deviation(z: Float[Tensor, "*g n d"]) -> Float[Tensor, ""]:
    """Return the standard deviation of a dimension over the samples, averaged over dimensions: 0 after a collapse.

    That of one sample is 0.
    """
    return z.var(-2, correction=min(1, z.shape[-2] - 1)).clamp(min=torch.finfo(z.dtype).tiny).sqrt().mean()

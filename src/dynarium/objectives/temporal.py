"""Terms over consecutive steps of one sequence."""

import torch
from jaxtyping import Float
from torch import Tensor


def temporal_similarity(z: Float[Tensor, "b t d"]) -> Float[Tensor, ""]:
    """Return ``mean (z_t - z_{t+1})^2`` over all elements: slow features (PLDM: Sobal et al. 2025, arXiv:2502.14819)."""
    return (z[:, 1:] - z[:, :-1]).square().mean()


def straightness(z: Float[Tensor, "b t d"]) -> Float[Tensor, ""]:
    """Return the mean cosine between successive differences ``z_{t+1} - z_t``: 1 on a straight line (Hénaff et al. 2019)."""
    step = z.diff(dim=1)
    return torch.cosine_similarity(step[:, 1:], step[:, :-1], dim=-1).mean()

"""The geometry of latent paths: how straight they are."""

import torch
from jaxtyping import Float
from torch import Tensor


def straightness(path: Float[Tensor, "b t d"]) -> Float[Tensor, " b"]:
    """Return the mean cosine between successive velocities of every path, ``mean_t cos(v_t, v_t+1)``, ``v_t = z_t+1 - z_t``.

    1: a straight line; 0: a random walk in many dimensions; -1: back and forth (Hénaff et al. 2019, "Perceptual straightening
    of natural videos", who give the angle). Steps without motion do not count; NaN where none does.
    """
    velocity = path.double().diff(dim=1)
    length = velocity.norm(dim=-1)
    moves = (length[:, 1:] > 0) & (length[:, :-1] > 0)
    cosine = (velocity[:, 1:] * velocity[:, :-1]).sum(-1) / (length[:, 1:] * length[:, :-1]).clamp(min=1e-300)
    return torch.where(moves, cosine, 0.0).sum(1) / torch.where(moves.any(1), moves.sum(1), torch.nan)

"""The geometry of latent paths: how straight they are, and how many dimensions they fill."""

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


def rank_me(x: Float[Tensor, "m d"]) -> float:
    """Return the effective rank ``exp(-sum_k p_k log p_k)``, ``p_k = s_k / sum_j s_j`` of the singular values s of x.

    RankMe (Garrido et al. 2023, eq. 1; Roy & Vetterli 2007), here of the centred rows, so that a constant part is no
    dimension. Between 1, all rows on a line, and d; 0 where all rows are equal: the collapse.
    """
    centred = x.double() - x.double().mean(0)
    gram = centred.T @ centred if len(x) > x.shape[1] else centred @ centred.T
    values = torch.linalg.eigvalsh(gram).clamp(min=0)
    values = torch.where(values > 1e-12 * values[-1], values, 0.0).sqrt()
    total = float(values.sum())
    if not total > 1e-9 * float(x.double().norm()):
        return 0.0
    share = values / total
    return float(torch.special.entr(share).sum().exp())

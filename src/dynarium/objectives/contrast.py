"""Contrastive losses between predicted and encoded representations of the same step.

``across_sequences`` contrasts a step with the same step of other sequences (NT-Xent: Chen et al. 2020, arXiv:2002.05709,
eq. 1). Whatever tells sequences apart but never changes (a background) then solves the task by itself.
``within_trajectory`` contrasts a step with the other steps of its own sequence, from which nothing that is constant over
the sequence can tell it apart (Gulati & Nemenman 2026, arXiv:2606.07770).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def across_sequences(
    prediction: Float[Tensor, "t b d"],
    target: Float[Tensor, "t b d"],
    temperature: float = 1.0,
    normalize: bool = False,
) -> Float[Tensor, ""]:
    """Return NT-Xent at equal time, averaged over time steps and the 2b views of a step.

    With views v of one step (predictions and targets together) and i' the other view of i:
    ``-log exp(v_i v_i' / temperature) / sum_{j != i} exp(v_i v_j / temperature)``.

    Args:
        prediction: Predicted representations.
        target: Encoded ones.
        temperature: Divides the similarities.
        normalize: Compare directions (cosine similarity) instead of dot products.
    """
    views = _directions(torch.cat([prediction, target], 1), normalize)
    b = prediction.shape[1]
    logits = views @ views.mT / temperature
    itself = torch.eye(2 * b, dtype=torch.bool, device=logits.device)
    logits = logits.masked_fill(itself, -torch.inf)
    other = torch.arange(2 * b, device=logits.device).roll(b)
    return F.cross_entropy(logits.flatten(0, 1), other.repeat(len(views)))


def within_trajectory(
    prediction: Float[Tensor, "b t d"],
    target: Float[Tensor, "b t d"],
    temperature: float = 0.1,
    normalize: bool = True,
) -> Float[Tensor, ""]:
    """Return the symmetric InfoNCE whose negatives are the other steps of the same sequence.

    With s = p_i e_j / temperature, the mean over steps of ``-log softmax_j(s_ij)`` at j = i and of
    ``-log softmax_i(s_ij)`` at i = j, halved. Arguments as in ``across_sequences``.
    """
    prediction, target = _directions(prediction, normalize), _directions(target, normalize)
    logits = prediction @ target.mT / temperature
    b, t = logits.shape[:2]
    same = torch.arange(t, device=logits.device).repeat(b)
    forward = F.cross_entropy(logits.flatten(0, 1), same)
    return 0.5 * (forward + F.cross_entropy(logits.mT.flatten(0, 1), same))


def _directions(z: Tensor, normalize: bool) -> Tensor:
    return F.normalize(z, dim=-1) if normalize else z

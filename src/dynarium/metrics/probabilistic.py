"""How well samples of what may happen describe what did: proper scores of ensembles, and how far samples lie apart.

Both scores reward a sample that is close to the truth and samples that differ as much as the truth does from them. In
expectation only the true distribution is best, which is not so for the best of N samples.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def mean_difference(samples: Float[Tensor, "s *b"]) -> Float[Tensor, "*b"]:
    """Return Gini's mean difference, ``sum_ij |x_i - x_j| / (s (s - 1))``: how far two samples lie apart, number by number.

    From the sorted samples, ``2 sum_i (2 i - s - 1) x_(i) / (s (s - 1))``, in O(s log s). Zero for a single sample.
    """
    s = len(samples)
    if s == 1:
        return torch.zeros_like(samples[0])
    rank = torch.arange(1, s + 1, device=samples.device, dtype=samples.dtype)
    weights = 2 * (2 * rank - s - 1) / (s * (s - 1))
    return _sorted(samples.movedim(0, -1)) @ weights


def crps(samples: Float[Tensor, "s *b"], truth: Float[Tensor, "*b"]) -> tuple[Float[Tensor, "*b"], Float[Tensor, "*b"]]:
    """Return the continuous ranked probability score of every number, and the samples' mean difference that it contains.

    ``mean_i |x_i - y| - sum_ij |x_i - x_j| / (2 s (s - 1))``: the fair estimator, whose expectation does not depend on the
    number of samples (Ferro 2014; Gneiting & Raftery 2007, eq. 21). So the scores of several parts of an ensemble may be
    averaged. Less is better; of a single sample it is the absolute error. May be negative by chance.
    """
    spread = mean_difference(samples)
    return (samples - truth).abs().mean(0) - spread / 2, spread


def energy_score(samples: Float[Tensor, "s *b d"], truth: Float[Tensor, "*b d"]) -> Float[Tensor, "*b"]:
    """Return the energy score of vectors, the CRPS with Euclidean distances: it also sees how numbers depend on each other.

    ``mean_i ||x_i - y|| - sum_ij ||x_i - x_j|| / (2 s (s - 1))`` (Gneiting & Raftery 2007, eq. 22), the fair estimator.
    """
    s = len(samples)
    error = (samples - truth).norm(dim=-1).mean(0)
    if s == 1:
        return error
    first, second = torch.triu_indices(s, s, 1)
    return error - (samples[first] - samples[second]).norm(dim=-1).mean(0) / 2


def _sorted(x: Float[Tensor, "*b s"]) -> Float[Tensor, "*b s"]:
    """Sort along the last axis; NumPy does that six times as fast as PyTorch on a processor with vector instructions."""
    if x.device.type == "cpu" and not x.requires_grad:
        return torch.from_numpy(np.sort(x.numpy(), axis=-1))
    return x.sort(-1).values

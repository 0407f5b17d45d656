"""How well one set of numbers is explained by another: R2 with its standard error over sequences, matched correlation."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number, its standard error over sequences, and how many sequences count."""

    value: float
    standard_error: float
    n: int


def r2(prediction: Float[Tensor, "m n"], truth: Float[Tensor, "m n"]) -> Float[Tensor, " n"]:
    """Return the explained share of the variance of each column: ``1 - sum (y - prediction)^2 / sum (y - mean(y))^2``.

    The mean is that of the truth y itself, so that the best constant scores 0 and any other less. NaN where the truth is
    constant.
    """
    error = (truth - prediction).square().sum(0)
    deviation = (truth - truth.mean(0)).square().sum(0)
    return torch.where(deviation > 0, 1 - error / deviation, torch.nan)


def r2_of_sequences(error: Float[Tensor, "b n"], deviation: Float[Tensor, "b n"]) -> Estimate:
    """Return the mean over the columns of R2, pooled over sequences: the ``uniform`` average.

    ``R2_k = 1 - sum_i e_ik / sum_i d_ik``. Its standard error is that of a ratio estimator, linearised, with sequences as the
    independent units (Cochran 1977, section 6.4): the standard deviation of ``mean_k (e_ik - (1 - R2_k) d_ik) / mean_j d_jk``
    over sequences, divided by ``sqrt(b)``. That the mean inside d is itself estimated changes nothing at first order, as d is
    smallest there. With one column it is R2 itself; with the columns summed before, the ``variance-weighted`` average.

    Args:
        error: Sum of squared errors of each sequence.
        deviation: Sum of squared deviations of each sequence from the mean over all.
    """
    b = len(error)
    total = deviation.double().sum(0)
    if b == 0 or not bool((total > 0).all()) or error.shape[1] == 0:
        return Estimate(value=math.nan, standard_error=math.nan, n=0)
    unexplained = error.double().sum(0) / total
    value = float(1 - unexplained.mean())
    influence = ((error.double() - unexplained * deviation.double()) / (total / b)).mean(1)
    spread = float((influence.square().sum() / (b - 1)).sqrt()) if b > 1 else math.nan
    return Estimate(value=value, standard_error=spread / b**0.5, n=b)


def max_correlation(a: Float[Tensor, "m n"], b: Float[Tensor, "m k"]) -> float:
    """Return how well the columns of ``a`` and ``b`` correspond one to one, up to monotone maps.

    The mean absolute Spearman correlation of the pairs under the one-to-one matching that maximises it (MCC; Hyvärinen &
    Morioka 2016): every column of the narrower of the two finds a partner. A constant column correlates with nothing.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.stats import rankdata

    ranks = []
    for x in (a, b):
        centred = rankdata(x.double().cpu().numpy(), axis=0)  # ties share their mean rank
        centred -= centred.mean(0)
        length = np.sqrt((centred**2).sum(0))
        ranks.append(np.divide(centred, length, out=np.zeros_like(centred), where=length > 0))
    correlation = np.abs(ranks[0].T @ ranks[1])
    return float(correlation[linear_sum_assignment(correlation, maximize=True)].mean())

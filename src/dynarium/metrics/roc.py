"""The area under the receiver operating characteristic, with sequences as the independent units."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dynarium.metrics.intervals import wilson


def auc(positive: Float[Tensor, " b"], negative: Float[Tensor, "b k"]) -> tuple[float, float, float, float]:
    """Return the chance that a positive exceeds a negative, its standard error, and the bounds of a 95 % interval.

    ``A = mean_{i, j, l} [x_i > y_jl] + [x_i = y_jl] / 2``. A sequence i gives one positive and k negatives, which belong
    together: the error is that of clustered data (Obuchowski 1997, after DeLong et al. 1988), ``sd_i(P_i + N_i) / sqrt(b)``
    with ``P_i = mean_{j, l} [x_i > y_jl]`` and ``N_i = mean_{j, l} [x_j > y_il]``. The interval is taken of
    log(A / (1 - A)), so that it stays in [0, 1]; at A = 0 or 1 it is Wilson's of b equal trials.
    """
    x, y = positive.double().cpu(), negative.double().cpu()
    b = len(x)
    if b < 2 or y.shape[1] == 0:
        return math.nan, math.nan, math.nan, math.nan
    exceeds = _share_below(x, y.flatten())
    exceeded = (1 - _share_below(y.flatten(), x)).unflatten(0, y.shape).mean(1)
    value = float(exceeds.mean())
    error = float((exceeds + exceeded).std()) / b**0.5
    if value * (1 - value) == 0:
        return value, error, *wilson(round(value * b), b)
    middle, half = math.log(value / (1 - value)), 1.96 * error / (value * (1 - value))
    low, high = (1 / (1 + math.exp(-min(max(middle + sign * half, -700), 700))) for sign in (-1, 1))
    return value, error, low, high


def clustered_auc(
    score: Float[Tensor, "b t"], positive: Bool[Tensor, "b t"], negative: Bool[Tensor, "b t"]
) -> tuple[float, float, int]:
    """Return the chance that a positive step exceeds a negative one, its standard error, and how many sequences count.

    Like ``auc`` with any number of positives and negatives in a sequence, none included. The error is that of the sum over
    sequences i of ``(sum_j P_ij - m_i A) / M + (sum_l N_il - n_i A) / N`` (Obuchowski 1997): P_ij is the share of all N
    negatives below positive j of its m_i, N_il the share of all M positives above negative l of its n_i. NaN without both.
    """
    score = score.double().cpu()
    first, second = score[positive], score[negative]
    used = positive.any(1) | negative.any(1)
    b = int(used.sum())
    if b < 2 or not len(first) or not len(second):
        return math.nan, math.nan, b
    exceeds = torch.zeros_like(score).masked_scatter(positive, _share_below(first, second))
    exceeded = torch.zeros_like(score).masked_scatter(negative, 1 - _share_below(second, first))
    value = exceeds.sum() / len(first)
    parts = (exceeds.sum(1) - positive.sum(1) * value) / len(first)
    parts = parts + (exceeded.sum(1) - negative.sum(1) * value) / len(second)
    return float(value), float((parts.square().sum() * b / (b - 1)).sqrt()), b


def _share_below(x: Tensor, pool: Tensor) -> Tensor:
    """Return for each x the share of a pool that is below it, equals counted half."""
    ordered = pool.sort().values
    left, right = torch.searchsorted(ordered, x), torch.searchsorted(ordered, x, right=True)
    return (left + right).double() / (2 * len(ordered))

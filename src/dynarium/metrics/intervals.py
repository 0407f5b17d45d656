"""Confidence intervals: of a share of successes, and of any function of means over sequences."""

import math
from collections.abc import Callable
from statistics import NormalDist

import torch
from jaxtyping import Float
from torch import Tensor

VALUES_AT_ONCE = 1 << 23


def wilson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return the score interval of a share of ``successes`` among ``n`` independent trials (Wilson 1927).

    ``(p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)`` with ``p = successes / n`` and z the normal
    quantile. Unlike the usual ``p -+ z se`` it is right near 0 and 1, where it never leaves [0, 1]. NaN without trials.
    """
    if n == 0:
        return math.nan, math.nan
    z, p = NormalDist().inv_cdf(0.5 + level / 2), successes / n
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low, high = (middle - half) / scale, (middle + half) / scale
    return (0.0 if successes == 0 else low), (1.0 if successes == n else high)


def bootstrap(
    values: Float[Tensor, "b k"],
    statistic: Callable[[Float[Tensor, "r k"]], Float[Tensor, " r"]],
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Return standard error and percentile interval of a function of means over sequences (Efron 1979).

    Sequences are drawn with replacement, whole: what happens within one is never taken apart.

    Args:
        values: Numbers of each sequence.
        statistic: From the means [r, k] of r resamples to the number asked for, one for each.
        resamples: How many times.
        level: Share of the resamples inside the interval.
        seed: Seed of the resamples.
    """
    b = len(values)
    if b < 2:
        return math.nan, math.nan, math.nan
    generator = torch.Generator().manual_seed(seed)
    values, found = values.double().cpu(), []
    rows = max(1, VALUES_AT_ONCE // b)
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        drawn = torch.randint(b, (count, b), generator=generator)
        times = torch.zeros(count, b, dtype=torch.float64).scatter_add_(
            1, drawn, torch.ones(count, b, dtype=torch.float64)
        )
        found.append(statistic(times @ values / b))
    samples = torch.cat(found)
    low, high = torch.quantile(samples, torch.tensor([0.5 - level / 2, 0.5 + level / 2], dtype=samples.dtype)).tolist()
    return float(samples.std()), low, high

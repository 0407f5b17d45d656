"""A mean with its standard error over sequences."""

import math

from jaxtyping import Float
from torch import Tensor


def ratio_estimate(sums: Float[Tensor, " b"], counts: Float[Tensor, " b"]) -> tuple[float, float, int]:
    """Return the pooled mean ``sum(sums) / sum(counts)``, its standard error over sequences, and how many count.

    Sequences are the independent units, not frames: the error is that of a ratio estimator (linearised),
    ``sd(s_i - R n_i) / (mean(n) sqrt(b))``. With equal counts that is the usual standard error of the mean.
    """
    used = counts > 0
    sums, counts = sums[used].double(), counts[used].double()
    n = len(sums)
    if n == 0:
        return math.nan, math.nan, 0
    ratio = float(sums.sum() / counts.sum())
    if n == 1:
        return ratio, math.nan, 1
    spread = float((sums - ratio * counts).square().sum() / (n - 1)) ** 0.5
    return ratio, spread / (float(counts.mean()) * n**0.5), n

"""Intervals: against scipy's, and against coverage on numbers whose mean is known."""

import math

import pytest
import torch
from scipy.stats import binomtest

from dynarium.metrics.intervals import bootstrap, wilson


@pytest.mark.parametrize(("k", "n"), [(0, 20), (7, 20), (20, 20), (97, 100)])
def test_wilson_is_scipys(k, n):
    wanted = binomtest(k, n).proportion_ci(method="wilson")
    assert wilson(k, n) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


def test_no_trials_no_interval():
    assert all(math.isnan(v) for v in wilson(0, 0))
    assert all(math.isnan(v) for v in bootstrap(torch.ones(1, 1), lambda m: m[:, 0]))


def test_the_bootstrap_agrees_with_the_normal_theory_of_a_mean():
    x = torch.randn(400, 1, generator=torch.Generator().manual_seed(0)) * 3 + 5
    error, low, high = bootstrap(x, lambda means: means[:, 0], resamples=4000)
    wanted = float(x.std()) / 20
    assert error == pytest.approx(wanted, rel=0.06)
    assert (low, high) == pytest.approx((float(x.mean()) - 1.96 * wanted, float(x.mean()) + 1.96 * wanted), abs=0.03)
    assert bootstrap(x, lambda m: m[:, 0]) == bootstrap(x, lambda m: m[:, 0])


def test_a_ratio_is_resampled_by_sequence():
    """Numerator and denominator of a sequence stay together: a ratio of equal columns has no spread."""
    x = torch.rand(50, 1, generator=torch.Generator().manual_seed(1)) + 1
    error, low, high = bootstrap(torch.cat([2 * x, x], 1), lambda means: means[:, 0] / means[:, 1])
    assert error == pytest.approx(0, abs=1e-12) and low == pytest.approx(2.0) and high == pytest.approx(2.0)

"""R2 and matched correlation: against their definitions, and errors against the spread over repeated draws."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from dynarium.metrics.regression import max_correlation, r2, r2_of_sequences


def test_r2_equals_its_definition():
    g = torch.Generator().manual_seed(0)
    truth = torch.randn(50, 3, generator=g)
    prediction = truth + torch.tensor([0.0, 0.5, 2.0]) * torch.randn(50, 3, generator=g)
    by_hand = [
        1 - ((truth[:, k] - prediction[:, k]) ** 2).mean().item() / truth[:, k].var(correction=0).item()
        for k in range(3)
    ]
    assert r2(prediction, truth).tolist() == pytest.approx(by_hand, abs=1e-5)
    assert r2(truth, truth).tolist() == [1.0] * 3
    assert r2(truth.mean(0).expand_as(truth), truth).tolist() == pytest.approx([0.0] * 3, abs=1e-6)
    truth[:, 1] = 2.0
    assert math.isnan(r2(prediction, truth)[1])


def sums(truth, prediction):
    """Return the sums [b, n] of sequences [b, t, n]."""
    return (truth - prediction).square().sum(1), (truth - truth.mean((0, 1))).square().sum(1)


def test_r2_of_sequences_pools_before_it_divides():
    g = torch.Generator().manual_seed(0)
    truth = torch.randn(20, 5, 2, generator=g) * torch.tensor([1.0, 10.0])
    prediction = truth + torch.tensor([1.0, 2.0]) * torch.randn(20, 5, 2, generator=g)
    error, deviation = sums(truth, prediction)
    pooled = r2(prediction.flatten(0, 1), truth.flatten(0, 1))
    estimate = r2_of_sequences(error, deviation)
    assert estimate.value == pytest.approx(pooled.mean().item(), abs=1e-5) and estimate.n == 20
    weighted = r2_of_sequences(error.sum(1, keepdim=True), deviation.sum(1, keepdim=True))
    variance = truth.flatten(0, 1).var(0)
    assert weighted.value == pytest.approx((pooled * variance).sum().item() / variance.sum().item(), abs=1e-5)
    assert math.isnan(r2_of_sequences(error, deviation * 0).value)
    assert math.isnan(r2_of_sequences(error[:, :0], deviation[:, :0]).value)


def test_the_standard_error_is_that_of_repeated_draws():
    g = torch.Generator().manual_seed(2)
    draws = []
    for _ in range(400):
        # Sequences differ as wholes: the steps of one share their offset and the size of their error.
        truth = torch.randn(60, 1, 2, generator=g) + 0.5 * torch.randn(60, 6, 2, generator=g)
        scale = torch.rand(60, 1, 1, generator=g)
        estimate = r2_of_sequences(*sums(truth, truth + scale * torch.randn(60, 6, 2, generator=g)))
        draws.append((estimate.value, estimate.standard_error))
    values, errors = np.array(draws).T
    assert errors.mean() == pytest.approx(values.std(), rel=0.15)


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 4))
def test_max_correlation_equals_trying_every_matching(seed, d, k):
    from itertools import permutations

    g = np.random.default_rng(seed)
    a, b = g.integers(0, 6, (40, d)) * 1.0, g.normal(size=(40, k))
    correlation = np.array([[abs(spearmanr(x, y).statistic) for y in b.T] for x in a.T])
    narrow = correlation if d <= k else correlation.T
    best = max(
        np.mean([narrow[i, j] for i, j in enumerate(chosen)])
        for chosen in permutations(range(narrow.shape[1]), narrow.shape[0])
    )
    assert max_correlation(torch.from_numpy(a), torch.from_numpy(b)) == pytest.approx(best)


def test_max_correlation_sees_through_monotone_maps_and_order():
    g = torch.Generator().manual_seed(0)
    a = torch.randn(100, 3, generator=g)
    b = torch.stack([-a[:, 2].exp(), a[:, 0] ** 3, a[:, 1]], 1)
    assert max_correlation(a, b) == pytest.approx(1.0)
    assert max_correlation(a, b @ torch.linalg.qr(torch.randn(3, 3, generator=g)).Q) < 0.95
    assert max_correlation(torch.ones(100, 1), b) == 0.0

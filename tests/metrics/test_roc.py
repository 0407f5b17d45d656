"""The area under the curve: its definition, its error against simulation, its bounds."""

import math

import pytest
import torch

from dynarium.metrics.roc import auc, clustered_auc


def test_it_is_the_share_of_pairs():
    generator = torch.Generator().manual_seed(0)
    x, y = (
        torch.randint(5, (40,), generator=generator).double() + 1,
        torch.randint(5, (40, 3), generator=generator).double(),
    )
    pairs = (x[:, None, None] > y[None]).double() + 0.5 * (x[:, None, None] == y[None]).double()
    value, _, low, high = auc(x, y)
    assert value == pytest.approx(float(pairs.mean())) and low < value < high


def test_the_error_is_that_of_repetition():
    """Sequences share an offset, so positives and negatives of one sequence go together."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(300):
        offset = torch.randn(60, 1, generator=generator)
        y = offset + torch.randn(60, 4, generator=generator)
        found.append(auc((offset + torch.randn(60, 1, generator=generator) + 0.8)[:, 0], y))
    values, errors, lows, highs = (torch.tensor(column) for column in zip(*found, strict=True))
    assert float(errors.mean()) == pytest.approx(float(values.std()), rel=0.15)
    covered = ((lows < values.mean()) & (values.mean() < highs)).double().mean()
    assert 0.9 < float(covered) < 0.99


def test_the_ends():
    value, error, low, high = auc(torch.ones(20), torch.zeros(20, 2))
    assert (value, error, high) == (1, 0, 1) and 0.8 < low < 1
    assert auc(torch.ones(20), torch.ones(20, 2))[0] == 0.5
    assert math.isnan(auc(torch.ones(1), torch.ones(1, 2))[0])


def test_clusters_of_any_size():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 1, generator=generator) + 1, torch.randn(40, 3, generator=generator)
    score, positive = torch.cat([x, y], 1), torch.tensor([True, False, False, False]).expand(40, 4)
    value, error, n = clustered_auc(score, positive, ~positive)
    assert (value, error) == pytest.approx(auc(x[:, 0], y)[:2]) and n == 40  # equal clusters: the other estimator
    assert clustered_auc(torch.zeros(40, 4), positive, ~positive)[0] == 0.5
    assert math.isnan(clustered_auc(score, torch.zeros_like(positive), ~positive)[0])


def test_the_error_of_ragged_clusters_is_that_of_repetition():
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(300):
        positive = torch.rand(50, 6, generator=generator) < 0.25
        counted = torch.rand(50, 6, generator=generator) < 0.8
        score = torch.randn(50, 1, generator=generator) + torch.randn(50, 6, generator=generator) + positive
        found.append(clustered_auc(score, positive & counted, ~positive & counted)[:2])
    values, errors = (torch.tensor(column) for column in zip(*found, strict=True))
    assert float(errors.mean()) == pytest.approx(float(values.std()), rel=0.15)

"""Scores of ensembles against their definitions and the closed form for Gaussians."""

import math

import pytest
import torch

from dynarium.metrics.probabilistic import crps, energy_score, mean_difference


def samples(s, *shape, seed=0):
    return torch.randn(s, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_sorting_gives_the_sum_over_all_pairs():
    x, y = samples(7, 3, 2), samples(1, 3, 2, seed=1)[0]
    pairs = (x[:, None] - x[None]).abs().sum((0, 1)) / (7 * 6)
    torch.testing.assert_close(mean_difference(x), pairs)
    score, spread = crps(x, y)
    torch.testing.assert_close(score, (x - y).abs().mean(0) - pairs / 2)
    torch.testing.assert_close(spread, pairs)
    torch.testing.assert_close(mean_difference(x.clone().requires_grad_()).detach(), pairs)  # sorted by PyTorch


@pytest.mark.parametrize("y", [-1.5, 0.0, 0.7])
def test_crps_of_a_gaussian(y):
    z = torch.tensor(y / 2, dtype=torch.float64)
    density, below = math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi), float(torch.special.ndtr(z))
    closed = 2 * (float(z) * (2 * below - 1) + 2 * density - 1 / math.sqrt(math.pi))
    x = 2 * samples(10, 40_000)
    score, spread = crps(x, torch.full((40_000,), y, dtype=torch.float64))
    assert float(score.mean()) == pytest.approx(closed, abs=0.015)  # ten samples are enough: the estimator is fair
    assert float(spread.mean()) == pytest.approx(4 / math.sqrt(math.pi), abs=0.015)


def test_one_sample_is_a_point_forecast():
    x, y = samples(1, 5), samples(1, 5, seed=1)[0]
    score, spread = crps(x, y)
    torch.testing.assert_close(score, (x[0] - y).abs())
    assert not spread.any()
    assert float(energy_score(x, y)) == pytest.approx(float((x[0] - y).norm()))


def test_energy_score_is_the_crps_of_one_number_and_sees_dependence():
    x, y = samples(6, 4), samples(1, 4, seed=1)[0]
    torch.testing.assert_close(energy_score(x[..., None], y[..., None]), crps(x, y)[0])
    # Two equal numbers: samples that know it score better than independent ones with the same margins.
    n = 20_000
    one = samples(1, n, 1)[0].expand(n, 2)
    equal, independent = samples(8, n, 1, seed=1).expand(8, n, 2), samples(8, n, 2, seed=2)
    assert float(energy_score(equal, one).mean()) < float(energy_score(independent, one).mean()) - 0.01

import math

import pytest
import scipy.stats
import torch

from dynarium.systems.draws import (
    annulus,
    shared_factors,
    truncated_normal,
    uniform,
    uniform_rows,
    velocities,
    von_mises,
)

N = 20_000


def seeded():
    return torch.Generator().manual_seed(0)


def test_uniform_draws_fill_their_range():
    drawn = uniform((-1.0, 3.0), (N,), seeded())
    assert drawn.min() >= -1 and drawn.max() < 3
    assert drawn.mean() == pytest.approx(1.0, abs=0.05) and drawn.std() == pytest.approx(4 / 12**0.5, rel=0.02)


def test_each_column_has_its_own_range():
    drawn = uniform_rows([(0.0, 1.0), (5.0, 5.0), (-2.0, -1.0)], N, seeded())
    assert (drawn[:, 1] == 5).all()
    assert drawn[:, 0].min() >= 0 and drawn[:, 0].max() < 1 and drawn[:, 2].max() < -1
    assert abs(torch.corrcoef(drawn[:, [0, 2]].T)[0, 1]) < 0.03
    assert uniform_rows([], 7, seeded()).shape == (7, 0)


def test_velocities_have_the_wanted_direction_and_size():
    drawn = velocities((45.0, 135.0), (5.0, 10.0), (N, 2), seeded())
    assert drawn.shape == (N, 2, 2)
    size = drawn.norm(dim=-1)
    assert size.min() >= 5 and size.max() <= 10 and size.mean() == pytest.approx(7.5, abs=0.05)
    degrees = torch.rad2deg(torch.atan2(drawn[..., 1], drawn[..., 0]))
    assert degrees.min() >= 45 and degrees.max() <= 135 and degrees.mean() == pytest.approx(90, abs=1)


@pytest.mark.parametrize(("even", "mean_square"), [(True, (1 + 9) / 2), (False, (27 - 1) / 3 / 2)])
def test_an_annulus_is_filled_evenly_in_area_or_in_radius(even, mean_square):
    drawn = annulus((1.0, 3.0), even, (N,), seeded())
    radius = drawn.norm(dim=-1)
    assert radius.min() >= 1 and radius.max() <= 3
    assert radius.square().mean() == pytest.approx(mean_square, rel=0.02)
    assert drawn.mean(0).abs().max() < 0.05


def test_factors_depend_on_their_seed_alone():
    assert torch.equal(shared_factors(3, 5, 1), shared_factors(3, 5, 1))
    assert not torch.equal(shared_factors(3, 5, 1), shared_factors(3, 5, 2))
    assert shared_factors(30, 50, 0).abs().max() < 1


@pytest.mark.parametrize("concentration", [0.0, 0.2, 5.0, 300.0])
def test_von_mises_angles_have_their_distribution(concentration):
    angles = von_mises(concentration, (20_000,), torch.Generator().manual_seed(0)).numpy()
    law = scipy.stats.vonmises(concentration) if concentration else scipy.stats.uniform(-math.pi, 2 * math.pi)
    assert scipy.stats.kstest(angles, law.cdf).pvalue > 0.001


def test_a_truncated_normal_has_its_distribution():
    drawn = truncated_normal(1.0, 0.4, (0.2, 1.3), (20_000,), torch.Generator().manual_seed(0)).numpy()
    law = scipy.stats.truncnorm(-2.0, 0.75, loc=1.0, scale=0.4)
    assert drawn.min() >= 0.2 and drawn.max() <= 1.3
    assert scipy.stats.kstest(drawn, law.cdf).pvalue > 0.001

import pytest
import torch

from dynarium.systems.draws import annulus, shared_factors, uniform, uniform_rows, velocities

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

import itertools

import pytest
import torch

from dynarium.ssm import kalman_filter
from dynarium.systems.identification import RandomLti
from dynarium.systems.lti import LinearLaw
from dynarium.tasks.identifiers import Subspace
from dynarium.tasks.kalman_em import KalmanEM, _control, _initial, fit_em


@pytest.fixture(scope="module")
def noisy():
    world = RandomLti(law=LinearLaw(order=3), steps=260, measurement_noise_std=0.3, process_noise_std=0.2)
    generator = torch.Generator().manual_seed(0)
    drawn = world.simulate(world.sample_parameters(8, generator), 260, generator)
    return drawn.action, drawn.observation


def test_every_iteration_raises_the_likelihood(noisy):
    u, y = (x[:, :200] - x[:, :200].mean(1, keepdim=True) for x in noisy)
    for start, rows in Subspace().fit(u, y):

        def likelihood(model, rows=rows):
            return kalman_filter(model, y[rows], u=_control(u[rows])).log_likelihood.sum(1)

        found = [likelihood(_initial(start, u[rows], y[rows]))]
        found += [likelihood(fit_em(start, u[rows], y[rows], n)) for n in (1, 2, 5, 20)]
        for before, after in itertools.pairwise(found):
            assert (after > before - 1e-6 * before.abs()).all()
        assert (found[-1] > found[0] + 1).all()


def test_predictions_of_noisy_systems_are_better_and_know_how_good_they_are(noisy):
    u, y = noisy
    mean, deviation = KalmanEM().predict_next(u, y, 200)
    error = (mean - y[:, 200:]).abs()
    assert 0.8 < (error < 1.6449 * deviation).double().mean() < 0.97
    simulated, wider = KalmanEM().simulate(u[:, :200], y[:, :200], u[:, 200:])
    assert error.square().mean() < (simulated - y[:, 200:]).square().mean()
    assert (wider > 0).all() and wider.mean() > deviation.mean()


def test_without_noise_it_is_the_subspace_model():
    world = RandomLti(law=LinearLaw(order=3), steps=200)
    generator = torch.Generator().manual_seed(0)
    drawn = world.simulate(world.sample_parameters(4, generator), 200, generator)
    u, y = drawn.action, drawn.observation
    found, _ = KalmanEM(iterations=3).simulate(u[:, :150], y[:, :150], u[:, 150:])
    assert (found - y[:, 150:]).abs().max() < 0.05

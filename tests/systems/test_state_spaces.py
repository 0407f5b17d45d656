"""The laws that worlds say their observations follow, against what they simulate."""

from dataclasses import replace

import pytest
import torch

from dynarium.errors import UserError
from dynarium.ssm import unscented_kalman_filter
from dynarium.systems.base import HasStateSpace
from dynarium.systems.lorenz import lorenz, lorenz_original
from dynarium.systems.nascar import nascar
from dynarium.systems.oscillators import duffing, forced_pendulum, van_der_pol
from dynarium.systems.populations import lotka_volterra, rock_paper_scissors


def drawn(world, n=6, steps=12, seed=0):
    g = torch.Generator().manual_seed(seed)
    parameters = world.sample_parameters(n, g)
    return parameters, world.simulate(parameters, steps, g)


ODES = [duffing, van_der_pol, forced_pendulum, lotka_volterra, rock_paper_scissors]


@pytest.mark.parametrize("make", [*ODES, lorenz, lorenz_original])
def test_the_transition_is_one_step_of_the_simulation(make):
    world = make()
    world = replace(world, observations=3) if make in ODES else world
    parameters, truth = drawn(world)
    law = world.state_space(parameters)
    assert isinstance(world, HasStateSpace)
    for t in (1, 5):
        u = None if truth.action is None else truth.action[:, t - 1]
        before = truth.state[:, t - 1]
        moved = law.transition(before, u, t)
        torch.testing.assert_close(moved, truth.state[:, t], rtol=1e-7, atol=1e-7)
        several = law.transition(torch.stack([before, before + 0.01]), u, t)
        torch.testing.assert_close(several[0], moved, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("make", [duffing, lorenz, nascar])
def test_the_noise_of_the_sensors_is_as_the_law_says(make):
    world = make()
    changes = {"observations": 4} if make is duffing else {"observation_noise": 0.1} if make is lorenz else {}
    world = replace(world, **changes)
    parameters, truth = drawn(world, n=40, steps=200)
    law = world.state_space(parameters)
    state = torch.cat([truth.state, truth.state], -1) if make is nascar else truth.state
    residual = (truth.observation - law.observation(state)).flatten(0, 1)
    size = residual.var(0) / law.R.diagonal()
    low, high = (0.5, 1.3) if make is lorenz else (0.95, 1.05)  # of each sequence's own deviation there
    assert bool(((size > low) & (size < high)).all())


def test_nascar_moves_with_the_noise_that_its_law_says():
    world = nascar()
    parameters, truth = drawn(world, n=200, steps=120)
    law, x = world.state_space(parameters), truth.state
    errors, sizes = [], []
    for t in range(1, 120):
        z = torch.cat([x[:, t - 1], x[:, max(t - 2, 0)]], -1)
        error = x[:, t] - law.transition(z, None, t)[:, :2]
        cov = law.Q(z, t)[:, :2, :2]
        errors.append((error[:, None] @ torch.linalg.solve(cov, error[..., None])).flatten())
        sizes.append(cov.diagonal(dim1=-2, dim2=-1).sum(-1))
    errors, sizes = torch.stack(errors), torch.stack(sizes)
    assert float(errors.mean()) == pytest.approx(2.0, rel=0.03)  # chi-squared of two degrees of freedom
    # Most steps have the noise of the car alone; the first one could be any mode's.
    assert float((sizes[1:] < 2.1e-4).double().mean()) > 0.95 and float(sizes[0].min()) > 1e-2


def test_a_filter_of_the_true_law_finds_the_state():
    world = replace(forced_pendulum(), observations=2, observation_noise_std=0.05)
    parameters, truth = drawn(world, n=20, steps=60)
    u = truth.action.roll(1, dims=1)
    law = world.state_space(parameters)
    found = unscented_kalman_filter(law, truth.observation, u=u)
    error = (found.mean - truth.state)[:, 20:]
    assert float(error.square().mean().sqrt()) < 0.05
    blind = unscented_kalman_filter(law, truth.observation, u=torch.zeros_like(u))
    assert float((blind.mean - truth.state)[:, 20:].square().mean()) > 2 * float(error.square().mean())


def test_sensors_leave_what_is_simulated_as_it_is():
    seen, measured = drawn(duffing())[1], drawn(replace(duffing(), observations=3))[1]
    assert torch.equal(seen.state, measured.state) and seen.observation is None
    assert measured.observation.shape == (6, 12, 3)


def test_a_world_that_is_only_seen_has_no_law():
    with pytest.raises(UserError, match="observations"):
        duffing().state_space(torch.zeros(1, 3, dtype=torch.float64))

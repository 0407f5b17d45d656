import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from dynarium.errors import UserError
from dynarium.systems.nascar import Nascar, drive, nascar_pixels


def simulate(world, n=32, steps=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return world.simulate(world.sample_parameters(n, generator), steps or world.steps, generator)


def literal(x, z, noise, uniform):
    """The published recursion, a step and a case at a time; ``uniform`` decides each stick in turn."""
    turn = lambda a: np.array([[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]])  # noqa: E731
    A = [turn(math.pi / 24), turn(math.pi / 48), np.eye(2), np.eye(2)]
    b = [(np.eye(2) - A[0]) @ [2.0, 0.0], (np.eye(2) - A[1]) @ [-2.0, 0.0], np.array([0.1, 0]), np.array([-0.35, 0])]
    W = 100 * np.array([[1.0, 0], [-1, 0], [0, 1]])
    r = 100 * np.array([-2.0, -2, 0]) + [-1.4985, -0.9990, 0]
    xs, zs = [x], [z]
    for e, u in zip(noise, uniform, strict=True):
        nu = W @ xs[-1] + r
        p, stick = [], 1.0
        for value in nu:
            sigma = 1 / (1 + math.exp(-value)) if value > -700 else 0.0
            p.append(stick * sigma)
            stick *= 1 - sigma
        p.append(stick)
        xs.append(A[zs[-1]] @ xs[-1] + b[zs[-1]] + e)
        # The last mode for the smallest numbers: any order of the modes along the unit interval is the same draw.
        zs.append(next(k for k in (3, 2, 1, 0) if u < sum(p[k:]) or k == 0))
    return np.array(xs), np.array(zs)


def test_equals_the_literal_recursion():
    random = np.random.default_rng(0)
    noise, uniform = 0.01 * random.standard_normal((1000, 4, 2)), random.uniform(size=(1000, 4, 1))
    x, z = np.array([[0.0, 1.0], [2.5, 0.1], [-2.5, 0.0], [0.0, -1.0]]), np.array([2, 0, 1, 3])
    states, modes = drive(*map(torch.from_numpy, (x, z, noise, uniform)))
    for i in range(4):
        expected, expected_modes = literal(x[i], z[i], noise[:, i], uniform[:, i, 0])
        np.testing.assert_array_equal(modes[i].numpy(), expected_modes)
        np.testing.assert_allclose(states[i].numpy(), expected, atol=1e-10)


def test_laps_occupancy_and_extent_are_those_of_the_published_length():
    drawn = simulate(Nascar(), n=12, steps=10_000)
    occupancy = torch.bincount(drawn.mode.flatten(), minlength=4) / drawn.mode.numel()
    np.testing.assert_allclose(occupancy, [0.204, 0.378, 0.322, 0.095], atol=0.01)
    switches = (drawn.mode.diff(dim=1) != 0).sum(1).double().mean()
    assert switches == pytest.approx(328, abs=6)
    low, high = (drawn.state[..., 0].abs().amax(1)).aminmax()
    assert low > 4.5 and high < 6.5 and 2.7 < drawn.state[..., 1].abs().max() < 4.5


def test_the_track_is_driven_clockwise():
    state = simulate(Nascar(), n=8, steps=1000).state
    x, y = state.unbind(-1)
    turning = x[:, :-1] * y.diff(dim=1) - y[:, :-1] * x.diff(dim=1)
    # About 122 steps a lap; some steps go straight towards the middle line and turn the other way.
    assert (turning.sum(1) < -50).all()


def test_the_observation_is_linear_in_the_state():
    world = Nascar(observation_noise_std=0.0, factors_seed=3)
    drawn = simulate(world)
    torch.testing.assert_close(drawn.observation, drawn.state @ world.factors.mT)
    assert drawn.observation.shape == (32, 250, 10) and drawn.mode.dtype == torch.int64
    noisy = simulate(replace(world, observation_noise_std=0.1))
    assert (noisy.observation - noisy.state @ world.factors.mT).std() == pytest.approx(0.1, rel=0.05)
    assert not torch.equal(world.factors, Nascar().factors)


def test_frames_show_the_car_where_it_is():
    world = nascar_pixels()
    drawn = simulate(world, n=4)
    frames = world.render(drawn)
    assert frames.shape == (4, 250, 1, 32, 32)
    weight = frames[:, :, 0].double()
    assert (weight.sum((-1, -2)) > 255 * 10).all()  # never outside
    row, column = ((weight.sum(d) * (torch.arange(32) + 0.5)).sum(-1) / weight.sum((-1, -2)) for d in (-1, -2))
    np.testing.assert_allclose(column, 16 + drawn.state[..., 0] * 3.2, atol=0.15)
    np.testing.assert_allclose(row, 16 - drawn.state[..., 1] * 3.2, atol=0.15)
    assert Nascar().render(drawn) is None


@pytest.mark.parametrize("option", [{"observations": 0}, {"noise_std": -1.0}, {"reach": 0.0}, {"factors_seed": -1}])
def test_impossible_options_are_named(option):
    with pytest.raises(UserError, match=next(iter(option))):
        Nascar(**option)

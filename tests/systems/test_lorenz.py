import numpy as np
import pytest
import torch

from dynarium.errors import UserError
from dynarium.systems.lorenz import Lorenz, lorenz_original, lorenz_pixels


def simulate(world, n=64, steps=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return world.simulate(world.sample_parameters(n, generator), steps or world.steps, generator)


def literal(steps):
    x, y, z = 0.0, 1.0, 1.05
    out = []
    for _ in range(steps):
        dx, dy, dz = 10.0 * (y - x), 28.0 * x - y - x * z, x * y - 2.667 * z
        x, y, z = x + dx * 0.01, y + dy * 0.01, z + dz * 0.01
        out.append((x, y, z))
    return np.array(out)


def test_the_published_trajectory_is_reproduced_to_the_bit():
    drawn = simulate(lorenz_original(), n=2, steps=1000)
    np.testing.assert_allclose(drawn.state[0, 0], [0.1, 0.99, 1.0219965], atol=1e-7)
    np.testing.assert_array_equal(drawn.state[1, :100].numpy(), literal(100))
    np.testing.assert_allclose(drawn.state[0].numpy(), literal(1000), atol=1e-9)
    assert torch.equal(drawn.state[0], drawn.state[1])


def test_lobes_of_the_published_length():
    mode = simulate(lorenz_original(), n=1, steps=10_000).mode
    assert float(mode.double().mean()) == pytest.approx(0.507, abs=0.005)
    assert abs(int((mode.diff(dim=1) != 0).sum()) - 66) <= 1


def test_sequences_start_all_over_the_attractor():
    drawn = simulate(Lorenz(), n=512, steps=300)
    first, last = drawn.state[:, 0], drawn.state[:, -1]
    # The two wings and the spread are those of the attractor from the first state on.
    np.testing.assert_allclose(first.std(0), last.std(0), rtol=0.15)
    np.testing.assert_allclose(first.mean(0), last.mean(0), atol=1.5)
    assert float(drawn.mode.double().mean()) == pytest.approx(0.5, abs=0.05)
    assert torch.equal(drawn.mode, (drawn.state[..., 0] > 0).long())


def test_the_accurate_solution_agrees_with_euler_of_small_steps():
    steps = 50
    accurate = simulate(Lorenz(method="adaptive", start="published"), n=1, steps=steps).state
    fine = simulate(Lorenz(start="published", dt=0.01 / 400), n=1, steps=400 * steps).state[:, 399::400]
    np.testing.assert_allclose(accurate, fine, atol=0.05)
    one = simulate(Lorenz(method="adaptive", burn_in=100), n=8, steps=5)
    later = simulate(Lorenz(method="adaptive", burn_in=102), n=8, steps=3)
    torch.testing.assert_close(one.state[:, 2:], later.state, atol=1e-4, rtol=0)


def test_observation_noise_is_relative_and_seeded():
    world = Lorenz(observation_noise=0.1, factors_seed=4)
    drawn = simulate(world)
    clean = drawn.state @ world.factors
    ratio = (drawn.observation - clean).std(1) / clean.std(1)
    assert float(ratio.mean()) == pytest.approx(0.1, rel=0.02)
    assert torch.equal(simulate(world).observation, drawn.observation)
    assert world.factors.abs().max() <= 1 and world.factors.std() == pytest.approx(3**-0.5, rel=0.25)
    exact = simulate(Lorenz())
    torch.testing.assert_close(exact.observation, exact.state @ Lorenz().factors)


def test_the_derivative_is_that_of_the_recursion():
    drawn = simulate(Lorenz(), n=4, steps=20)
    torch.testing.assert_close(drawn.extra["derivative"][:, :-1] * 0.01, drawn.state.diff(dim=1))


def test_frames_hold_the_disc_in_every_step():
    world = lorenz_pixels()
    drawn = simulate(world, n=32)
    weight = world.render(drawn)[:, :, 0].double()
    assert (weight.sum((-1, -2)) > 255 * 11).all()
    left = weight[..., :16].sum((-1, -2)) > weight[..., 16:].sum((-1, -2))
    clear = drawn.state[..., 0].abs() > 1
    assert torch.equal(left[clear], drawn.mode[clear] == 0)
    assert Lorenz().render(drawn) is None


@pytest.mark.parametrize("option", [{"sigma": 0.0}, {"dt": -0.01}, {"burn_in": -1}, {"observation_noise": -0.1}])
def test_impossible_options_are_named(option):
    with pytest.raises(UserError, match=next(iter(option))):
        Lorenz(**option)

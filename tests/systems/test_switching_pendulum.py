import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from dynarium.errors import UserError
from dynarium.systems.switching_pendulum import SwitchingPendulum, switching_pendulum_original


def simulate(world, n=32, steps=100, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return world.simulate(world.sample_parameters(n, generator), steps, generator)


def example(t, state):
    """The double pendulum of matplotlib's gallery (state: angle 1, rate 1, angle 2, rate 2)."""
    G, L1, L2, M1, M2 = 9.8, 1.0, 1.0, 1.0, 1.0
    t1, w1, t2, w2 = state
    d = t2 - t1
    den1 = (M1 + M2) * L1 - M2 * L1 * math.cos(d) ** 2
    a1 = (
        M2 * L1 * w1 * w1 * math.sin(d) * math.cos(d)
        + M2 * G * math.sin(t2) * math.cos(d)
        + M2 * L2 * w2 * w2 * math.sin(d)
        - (M1 + M2) * G * math.sin(t1)
    ) / den1
    a2 = (
        -M2 * L2 * w2 * w2 * math.sin(d) * math.cos(d)
        + (M1 + M2) * G * math.sin(t1) * math.cos(d)
        - (M1 + M2) * L1 * w1 * w1 * math.sin(d)
        - (M1 + M2) * G * math.sin(t2)
    ) / (L2 / L1 * den1)
    return [w1, a1, w2, a2]


def energy(angles, mass=(1.0, 1.0), length=(1.0, 1.0), g=9.8):
    t1, t2, w1, w2 = angles.unbind(-1)
    (m1, m2), (l1, l2) = mass, length
    kinetic = (m1 + m2) / 2 * (l1 * w1) ** 2 + m2 / 2 * (l2 * w2) ** 2 + m2 * l1 * l2 * w1 * w2 * (t1 - t2).cos()
    return kinetic - (m1 + m2) * g * l1 * t1.cos() - m2 * g * l2 * t2.cos()


def test_the_published_start_follows_the_gallery_example():
    drawn = simulate(switching_pendulum_original(), n=2, steps=100)
    start = np.radians([120.0, 0.0, -10.0, 0.0])
    times = 0.05 * np.arange(100)
    expected = solve_ivp(example, (0, 5), start, "DOP853", times, rtol=1e-11, atol=1e-11).y[[0, 2, 1, 3]].T
    np.testing.assert_allclose(drawn.extra["angle"][1], expected, atol=1e-4)
    np.testing.assert_allclose(drawn.state[0, :, 0], np.sin(expected[:, 0]), atol=1e-4)
    np.testing.assert_allclose(drawn.state[0, :, 3], -np.cos(expected[:, 0]) - np.cos(expected[:, 1]), atol=1e-4)


def test_energy_is_conserved_for_any_masses_and_lengths():
    options = {"mass": (2.0, 0.5), "length": (0.7, 1.4)}
    total = energy(simulate(SwitchingPendulum(**options), steps=60).extra["angle"], **options)
    np.testing.assert_allclose(total, total[:, :1].expand_as(total), atol=1e-4)


def test_modes_follow_the_lower_arm_and_none_is_rare():
    drawn = simulate(SwitchingPendulum(), n=64, steps=200)
    turning = drawn.extra["angle"][..., 3]
    assert torch.equal(drawn.mode == 1, turning > 2.5) and torch.equal(drawn.mode == 2, turning < -2.5)
    occupancy = torch.bincount(drawn.mode.flatten(), minlength=3) / drawn.mode.numel()
    assert occupancy.min() > 0.25
    stay = 1 / (drawn.mode.diff(dim=1) != 0).double().mean()
    assert 8 < stay < 20  # steps: a window of seven mostly lies within one regime


def test_derivative_is_the_velocity_of_the_bobs():
    drawn = simulate(SwitchingPendulum(dt=0.001), n=4, steps=20)
    central = (drawn.state[:, 2:] - drawn.state[:, :-2]) / 0.002
    torch.testing.assert_close(drawn.extra["derivative"][:, 1:-1], central, atol=1e-3, rtol=0)


def test_observation_is_linear_in_the_positions():
    world = SwitchingPendulum(observation_noise_std=0.05)
    drawn = simulate(world)
    noise = drawn.observation - drawn.state @ world.factors
    assert drawn.observation.shape == (32, 100, 8) and noise.std() == pytest.approx(0.05, rel=0.05)


def test_frames_show_bobs_and_rods():
    world = SwitchingPendulum(frames=True, side=64)
    drawn = simulate(world, n=4, steps=40)
    frames = world.render(drawn)[:, :, 0]
    scale = 32 / 2.4
    for bob in (drawn.state[..., :2], drawn.state[..., 2:], drawn.state[..., :2] / 2):
        column, row = (32 + scale * bob[..., 0]).long(), (32 - scale * bob[..., 1]).long()
        seen = frames.gather(2, row[..., None, None].expand(-1, -1, 1, 64))
        assert (seen.gather(3, column[..., None, None]) > 128).all()
    assert (frames[:, :, [0, -1]] == 0).all() and (frames[..., [0, -1]] == 0).all()
    assert SwitchingPendulum().render(drawn) is None


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"mass": (0.0, 1.0)}, r"mass\[0\]: expected a positive number, got 0.0"),
        ({"length": (1.0, -1.0)}, r"length\[1\]"),
        ({"angle_1": (3.0, 1.0)}, "angle_1"),
        ({"threshold": 0.0}, "threshold"),
    ],
)
def test_impossible_options_are_named(option, words):
    with pytest.raises(UserError, match=words):
        SwitchingPendulum(**option)

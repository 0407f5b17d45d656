import numpy as np
import pytest
import torch

from dynarium.systems import WORLDS


def simulate(name, n=32, steps=None, seed=0):
    world = WORLDS[name]()
    generator = torch.Generator().manual_seed(seed)
    return world.simulate(world.sample_parameters(n, generator), steps or world.steps, generator)


def test_duffing_loses_the_energy_that_friction_takes():
    drawn = simulate("duffing", steps=400)
    (q, v), (alpha, beta, delta) = drawn.state.unbind(-1), (p[:, None] for p in drawn.parameter.unbind(-1))
    energy = v**2 / 2 + alpha * q**2 / 2 + beta * q**4 / 4
    lost = delta * torch.cumulative_trapezoid(v**2, dx=0.1, dim=1)
    torch.testing.assert_close(energy[:, :1] - energy[:, 1:], lost, atol=5e-3, rtol=0)


def test_van_der_pol_ends_on_a_cycle_of_amplitude_two():
    q = simulate("van-der-pol", steps=600).state[:, 300:, 0]
    np.testing.assert_allclose(q.amax(1), 2.01, atol=0.04)
    np.testing.assert_allclose(q.amin(1), -2.01, atol=0.04)


def test_the_pendulum_is_driven_by_its_action():
    drawn = simulate("forced-pendulum")
    (theta, omega), (g, length, friction) = drawn.state.unbind(-1), (p[:, None] for p in drawn.parameter.unbind(-1))
    expected = -g / length * theta.sin() - friction * omega + drawn.action[..., 0]
    torch.testing.assert_close(drawn.extra["derivative"][..., 1], expected)
    assert drawn.action.shape == (32, 100, 1) and drawn.action.std() > 0.5


def matrices(parameter):
    first, second, angle = parameter.unbind(-1)
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()], -1), torch.stack([angle.sin(), angle.cos()], -1)], -2)
    return turn @ torch.diag_embed(torch.stack([first, second], -1)) @ turn.mT


@pytest.mark.parametrize("name", ["quadratic-kinetic", "quadratic-potential"])
def test_quadratic_hamiltonians_move_on_straight_lines(name):
    drawn = simulate(name)
    (q, p), M = drawn.state.split(2, -1), matrices(drawn.parameter)
    t = 0.05 * torch.arange(50, dtype=torch.float64)[:, None]
    if name == "quadratic-kinetic":
        torch.testing.assert_close(q, q[:, :1] + t * (p[:, :1] @ M), atol=1e-9, rtol=0)
        still, quadratic = p, p
    else:
        torch.testing.assert_close(p, p[:, :1] - t * (q[:, :1] @ M), atol=1e-9, rtol=0)
        still, quadratic = q, q
    assert torch.equal(still, still[:, :1].expand_as(still))
    energy = torch.einsum("bti,bij,btj->bt", quadratic, M, quadratic) / 2
    assert (energy > 0).all()
    torch.testing.assert_close(energy, energy[:, :1].expand_as(energy))


def test_the_pendulum_of_16_pixels():
    world = WORLDS["pendulum-16x16"]()
    drawn = simulate("pendulum-16x16", n=64)
    frames = world.render(drawn)
    assert frames.shape == (64, 20, 1, 16, 16) and drawn.action.shape == (64, 20, 1)
    assert drawn.action.abs().max() <= 8 and (drawn.action[:, 1:] != drawn.action[:, :-1]).all()
    levels = frames.unique().numel()
    assert levels > 50  # grey levels, not silhouettes
    column, row = torch.meshgrid(torch.arange(16) - 7.5, torch.arange(16) - 7.5, indexing="xy")
    light = frames[:, :, 0].double()
    seen = torch.atan2((light * column).sum((2, 3)), (light * row).sum((2, 3)))  # 0 is down
    error = torch.remainder(seen - drawn.state[..., 0] + torch.pi, 2 * torch.pi) - torch.pi
    assert error.abs().max() < 0.05
    edge = torch.cat([frames[..., 0, :], frames[..., -1, :], frames[..., 0], frames[..., -1]], -1)
    assert edge.max() == 0

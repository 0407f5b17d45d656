from dataclasses import replace

import pytest
import torch

from dynarium.errors import UserError
from dynarium.systems.pong import Pong


def play(world, n=64, steps=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return world.simulate(world.sample_parameters(n, generator), steps or world.steps, generator)


def start(world, ball, paddles):
    """One step from a chosen state."""
    x, v = torch.tensor([ball], dtype=torch.float64).split(2, -1)
    x, v = world._fly(x, v, torch.tensor([paddles], dtype=torch.float64))
    return [*x[0].tolist(), *v[0].tolist()]


def test_the_ball_stays_in_the_field_and_never_gains_speed():
    state = play(Pong(), n=200, steps=200).state
    assert state.isfinite().all()
    x, y = state[..., 0], state[..., 1]
    assert x.min() >= 3 and x.max() <= 29 and y.min() >= 4 - 1e-9 and y.max() <= 29 + 1e-9
    speed = state[..., 2:4].norm(dim=-1)
    torch.testing.assert_close(speed[:, 0], torch.full((200,), 10.0, dtype=torch.float64))
    assert (speed[:, 1:] - speed[:, :-1]).max() < 1e-9


def test_paddles_chase_the_ball_in_steps_of_two_pixels_and_stay_between_the_walls():
    state = play(Pong()).state
    move = state[:, 1:, 4:] - state[:, :-1, 4:]
    lag = state[:, :-1, 1:2] - state[:, :-1, 4:]
    chased = (move - 2 * lag.sign()).abs() < 1e-9
    at_wall = (state[:, 1:, 4:] == 4) | (state[:, 1:, 4:] == 29)
    assert (chased | at_wall)[lag.abs() > 1].all()
    assert (move[lag.abs() <= 1] == 0).all()
    assert state[..., 4:].min() >= 4 and state[..., 4:].max() <= 29


def test_a_paddle_keeps_the_product_of_the_elasticities():
    ball = start(Pong(), (5.0, 16.0, -10.0, 0.0), (16.0, 16.0))  # 1 px to go, then 0.1 time back
    assert ball == pytest.approx([4 + 0.1 * 8.91, 16.0, 8.91, 0.0])
    ball = start(Pong(), (25.0, 16.0, 10.0, 3.0), (16.0, 16.0))
    assert ball == pytest.approx([26 - 0.1 * 8.91, 16.6, -8.91, 3.0])


def test_floor_and_roof_reflect_too():
    assert start(Pong(), (16.0, 5.0, 0.0, -10.0), (16.0, 16.0)) == pytest.approx([16, 4 + 0.891, 0, 8.91])
    assert start(Pong(), (16.0, 28.0, 0.0, 10.0), (16.0, 16.0)) == pytest.approx([16, 29 - 0.891, 0, -8.91])


def test_a_missed_ball_comes_back_from_the_edge_of_the_field():
    ball = start(Pong(), (4.0, 20.0, -10.0, 0.0), (8.0, 8.0))
    assert ball == pytest.approx([3 + 0.891, 20.0, 8.91, 0.0])


def test_a_ball_glances_off_the_end_of_a_paddle():
    world = Pong(elasticity=1.0, wall_elasticity=1.0)
    ball = start(world, (5.0, 13.0, -10.0, 0.0), (8.0, 8.0))  # the paddle ends 2 px above the ball's path
    assert ball[3] > 0  # sent away from the paddle's end, downwards
    assert ball[2] ** 2 + ball[3] ** 2 == pytest.approx(100)
    height = 13.0 - 11.0
    depth = (4**2 - height**2) ** 0.5
    normal = (depth / 4, height / 4)
    expected = (-10 + 20 * normal[0] ** 2, 20 * normal[0] * normal[1])
    assert ball[2:] == pytest.approx(expected)


@pytest.mark.parametrize("rendering", ["hard", "antialiased"])
def test_a_frame_shows_ball_paddles_and_floor(rendering):
    world = Pong(rendering=rendering)
    trajectory = play(world, n=8)
    frames = world.render(trajectory)
    assert frames.shape == (8, 20, 1, 32, 32)
    white = frames[:, :, 0] > 127
    assert white[..., :2, :].any(-2).all(-1).all()  # the floor crosses the frame
    rows = torch.arange(32, dtype=torch.float64) + 0.5
    for column, paddle in ((0, 4), (30, 5)):
        beside = white[:, :, 3:, column].double()
        clear = (trajectory.state[..., 0] - column).abs() > 6
        clear &= trajectory.state[..., paddle] > 7
        height = (beside @ rows[3:]) / beside.sum(-1)
        assert (height - trajectory.state[..., paddle])[clear].abs().max() < 1.01
    position = trajectory.state[..., :2].floor().long()
    b, t = torch.meshgrid(torch.arange(8), torch.arange(20), indexing="ij")
    assert white[b, t, position[..., 1], position[..., 0]].all()


def test_same_seed_same_bytes():
    world = Pong()
    assert torch.equal(world.render(play(world)), world.render(play(world)))
    assert not torch.equal(play(world).state, play(world, seed=1).state)


def test_any_resolution():
    world = replace(Pong(), side=64)
    assert world.render(play(world, n=2, steps=3)).shape == (2, 3, 1, 64, 64)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dt": 0.0}, "dt"),
        ({"radius": 14.0}, "radius: a ball of radius 14.0 px has no room"),
        ({"elasticity": 1.5}, "elasticity"),
        ({"half_length": 20.0}, "half_length"),
        ({"floor": 30.0, "roof": 20.0}, "floor, roof"),
        ({"paddle_x": (-5.0, 30.0)}, "paddle_x"),
    ],
)
def test_impossible_parameters_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        Pong(**options)

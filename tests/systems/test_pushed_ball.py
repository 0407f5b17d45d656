from dataclasses import replace

import pytest
import torch

from dynarium.data.generate import draw, seeded
from dynarium.errors import UserError
from dynarium.systems.actions import RandomActions
from dynarium.systems.ball import BouncingBall
from dynarium.systems.pushed_ball import PushedBall, bouncing_ball_actions


def step(world, state, force):
    state, force = torch.tensor([state]).double(), torch.tensor([force]).double()
    return world.transition(state, force, world.sample_parameters(1, seeded(0)))[0].tolist()


def test_in_free_flight_a_force_is_an_acceleration_beside_gravity():
    world = PushedBall(ball=BouncingBall(gravity=(0.0, 5.0)))
    assert step(world, (16.0, 16.0, 3.0, 0.0), (10.0, -10.0)) == pytest.approx([16.8, 15.9, 5.0, -1.0])


def test_walls_reflect_and_a_force_is_cut():
    world = bouncing_ball_actions()
    assert step(world, (26.0, 16.0, 10.0, 0.0), (0.0, 0.0)) == pytest.approx([26.0, 16.0, -10.0, 0.0])
    assert step(world, (16.0, 16.0, 0.0, 0.0), (500.0, 0.0)) == step(world, (16.0, 16.0, 0.0, 0.0), (20.0, 0.0))


def test_without_forces_it_is_the_bouncing_ball():
    still = PushedBall(forcing=RandomActions(largest=0.0))
    made, plain = draw(still, 16, 20, seeded(0)), draw(BouncingBall(), 16, 20, seeded(0))
    torch.testing.assert_close(made["state"], plain["state"])
    assert (made["video"] == plain["video"]).double().mean() > 0.9999


def test_the_ball_stays_inside_and_forces_have_their_size():
    made = draw(bouncing_ball_actions(), 200, 60, seeded(0))
    position = made["state"][..., :2]
    assert position.min() >= 5 - 1e-4 and position.max() <= 27 + 1e-4
    assert made["action"].shape == (200, 60, 2) and 19 < made["action"].abs().max() <= 20
    assert (made["action"][:, 0] == made["action"][:, 3]).all() and (made["action"][:, 3] != made["action"][:, 4]).any()


def test_wrong_options_are_named():
    with pytest.raises(UserError, match="ball: expected one ball"):
        PushedBall(ball=replace(BouncingBall(), balls=2))
    with pytest.raises(UserError, match="max_action: expected at least the 20.0 of the forcing, got 5"):
        PushedBall(max_action=5.0)

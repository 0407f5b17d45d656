from dataclasses import replace

import pytest
import torch

from dynarium.data.generate import draw, seeded
from dynarium.errors import UserError
from dynarium.systems.base import Environment
from dynarium.systems.robot_push import EDGE, SIDE, RobotPush, robot_push
from dynarium.systems.sliding import signed_distance
from dynarium.types import Trajectory

CALM = replace(robot_push(), uneven=0.0, slip=0.0)


@pytest.fixture(scope="module", params=[3.0, 6.0], ids=["finger 3", "finger 6"])
def world(request):
    return replace(robot_push(), finger=request.param)


@pytest.fixture(scope="module")
def played(world):
    generator = seeded(0)
    return world.simulate(world.sample_parameters(48, generator), 20, generator)


def test_nothing_overlaps_and_nothing_leaves_the_table(world, played):
    state, parameters = played.state.flatten(0, 1), played.parameter.repeat_interleave(20, 0)
    things = state[:, 2:].unflatten(1, (3, 3))
    bodies = world._bodies(parameters, things[..., :2], things[..., 2])
    corners = bodies.corners()
    depth = [
        world.finger
        + bodies.rounding
        - signed_distance(state[:, None, None, :2].expand(-1, 3, -1, -1), corners)[0][..., 0]
    ]
    for a in range(3):
        for b in range(3):
            if a != b:
                distance, _ = signed_distance(corners[:, a], corners[:, b])
                depth.append((bodies.rounding[:, a] + bodies.rounding[:, b] - distance.amin(-1))[:, None])
    overlap = torch.cat(depth, 1).clamp(min=0)
    assert overlap.amax(1).quantile(0.99) < 0.6 and overlap.mean() < 0.01
    reach = bodies.rounding[..., None, None] - torch.minimum(corners - EDGE, SIDE - EDGE - corners)
    assert reach.max() < 1e-9
    assert state[:, :2].min() >= EDGE + world.finger and state[:, :2].max() <= SIDE - EDGE - world.finger


def test_things_move_often_but_only_when_something_touches_them(played):
    moved = (played.state[:, 1:, 2:] - played.state[:, :-1, 2:]).abs().unflatten(2, (3, 3))[..., :2].sum(-1) > 0.05
    assert 0.2 < moved.any(-1).double().mean() < 0.8
    rest = ~moved.any(-1)
    assert (played.state[:, 1:, :2] - played.state[:, :-1, :2])[rest].norm(dim=-1).mean() > 1


def test_replaying_the_actions_gives_the_states_where_there_is_no_chance():
    generator = seeded(1)
    drawn = CALM.simulate(CALM.sample_parameters(16, generator), 8, generator)
    state = drawn.state[:, 0]
    for t in range(7):
        state = CALM.transition(state, drawn.action[:, t], drawn.parameter)
        torch.testing.assert_close(state, drawn.state[:, t + 1], atol=1e-9, rtol=0)
    assert isinstance(CALM, Environment)


def test_chance_is_in_the_turning_of_things_and_in_the_finger():
    """Without either, the law says it all; with one of them, the actions do not determine where things go."""

    def surprise(world):
        generator = seeded(2)
        drawn = world.simulate(world.sample_parameters(24, generator), 8, generator)
        expected = [world.transition(drawn.state[:, t], drawn.action[:, t], drawn.parameter) for t in range(7)]
        return (drawn.state[:, 1:] - torch.stack(expected, 1)).abs().amax((0, 1))

    uneven, slip = surprise(replace(CALM, uneven=0.35)), surprise(replace(CALM, slip=0.15))
    assert uneven[2:].unflatten(0, (3, 3))[:, 2].min() > 0.05
    assert 0.2 < slip[:2].max() < 2.5


def test_actions_are_strokes_no_longer_than_said(world, played):
    assert played.action.shape == (48, 20, 2) and played.action.norm(dim=-1).max() <= 4.0 + 1e-9
    assert torch.equal(played.action[:, 0], played.action[:, 5])
    assert (played.action[:, 5] != played.action[:, 6]).any(-1).all()
    far = torch.tensor([[30.0, 40.0]]).double().expand(48, -1)
    one, two = (world.transition(played.state[:, 3], action, played.parameter) for action in (far, 0.08 * far))
    torch.testing.assert_close(one, two)


@pytest.mark.parametrize("size", [64, 128])
def test_frames_show_the_state(world, size):
    world = replace(world, size=size)
    made = draw(world, 8, 3, seeded(3))
    assert made["video"].shape == (8, 3, 3, size, size) and made["video"].dtype == torch.uint8
    scale = size / SIDE
    for video, state in zip(made["video"].flatten(0, 1), made["state"].flatten(0, 1), strict=True):
        x, y = (state[:2] * scale).long().tolist()
        assert video[:, y, x].min() > 150  # the light middle of the finger
        ring = video[:, y, int((state[0] + 0.75 * world.finger) * scale)]
        assert ring.max() < 90
    assert (made["video"][..., 0, :] == made["video"][..., 0, :1]).all()  # the rim
    assert len(made["video"][0, 0].flatten(1).unique(dim=1)[0]) > 20


def test_a_sequence_depends_only_on_its_seed():
    one, again, other = (draw(robot_push(), 2, 3, seeded(seed)) for seed in (0, 0, 1))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["video"], other["video"])


def test_wrong_options_are_named():
    with pytest.raises(UserError, match="aimed: expected a share in \\[0, 1\\], got 1.5"):
        RobotPush(aimed=1.5)
    with pytest.raises(UserError, match="finger: expected at most 16 px, got 20"):
        RobotPush(finger=20)
    with pytest.raises(UserError, match="objects: no free places for 30 things"):
        draw(RobotPush(objects=30), 1, 1, seeded(0))
    with pytest.raises(UserError, match="trajectory.parameter"):
        robot_push().render(Trajectory(state=torch.zeros(1, 1, 11).double()))

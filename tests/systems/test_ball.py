import json
import math
from dataclasses import replace

import pymunk
import pytest
import torch

from dynarium.config import from_dict, to_dict
from dynarium.errors import UserError
from dynarium.systems import WORLDS
from dynarium.systems.ball import (
    BouncingBall,
    bouncing_ball,
    bouncing_ball_gravity,
    bouncing_ball_hexagon,
    bouncing_ball_octagon,
)
from dynarium.systems.walls import half_planes

SQUARE = ((2.0, 2.0), (2.0, 30.0), (30.0, 30.0), (30.0, 2.0))
FAMILY = [bouncing_ball, bouncing_ball_gravity, bouncing_ball_hexagon, bouncing_ball_octagon]


def sequences(world, n=64, steps=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return world.simulate(world.sample_parameters(n, generator), steps or world.steps, generator)


def centroids(frames):
    """Middle of the brightness of each frame, in pixels, pixel j being the interval [j, j + 1)."""
    weights = frames[:, :, 0].double()
    middle = torch.arange(frames.shape[-1], dtype=torch.float64) + 0.5
    total = weights.sum((-1, -2))
    x, y = weights.sum(-2) @ middle / total, weights.sum(-1) @ middle / total
    return torch.stack([x, y], -1)


@pytest.mark.parametrize("make", FAMILY)
def test_every_world_of_the_family(make):
    world = make()
    name = make.__name__.replace("_", "-")
    assert WORLDS[name] is make
    trajectory = sequences(world)
    frames = world.render(trajectory)
    assert trajectory.state.shape == (64, 20, 4)
    assert trajectory.state.dtype == torch.float64
    assert frames.shape == (64, 20, 1, 32, 32)
    position, velocity = trajectory.state.split(2, -1)
    energy = velocity.square().sum(-1) / 2 - position @ torch.tensor(world.gravity, dtype=torch.float64)
    assert (energy - energy[:, :1]).abs().max() < 1e-6
    clearance = half_planes(world.corners or SQUARE).shrunk(world.radius).clearance(position)
    assert clearance.min() > -1e-9 and clearance[:, 0].min() > 1 - 1e-9
    speed = velocity[:, 0].norm(dim=-1)
    assert world.speed[0] <= speed.min() and speed.max() <= world.speed[1]
    again = world.render(sequences(world))
    assert torch.equal(frames, again)
    assert not torch.equal(frames, world.render(sequences(world, seed=1)))


def test_the_paper_box_first_states_and_share_of_white_pixels():
    world = bouncing_ball()
    trajectory = sequences(world, n=2000)
    first = trajectory.state[:, 0, :2]
    assert first.min() == 6 and first.max() == 26  # clipped draws pile up a pixel away from the walls
    clipped = (first == 6) | (first == 26)
    assert float(clipped.double().mean()) == pytest.approx(math.erfc(1 / math.sqrt(2)), abs=0.02)
    share = (world.render(trajectory) > 0).double().mean()
    assert float(share) == pytest.approx(0.1334, abs=0.001)  # 112 pixels of walls and about 25 of the ball


@pytest.mark.parametrize("make", FAMILY)
def test_a_frame_shows_the_state_of_its_own_time(make):
    world = replace(make(), rendering="antialiased", walls_visible=False)
    trajectory = sequences(world)
    error = (centroids(world.render(trajectory)) - trajectory.state[..., :2]).norm(dim=-1)
    assert error.max() < 0.05


@pytest.mark.parametrize("side", [16, 32, 50, 128])
def test_any_resolution_shows_the_same_motion(side):
    world = replace(bouncing_ball(), side=side, rendering="antialiased", walls_visible=False)
    trajectory = sequences(world, n=4, steps=5)
    assert torch.equal(trajectory.state, sequences(bouncing_ball(), n=4, steps=5).state)
    error = centroids(world.render(trajectory)) * (32 / side) - trajectory.state[..., :2]
    assert error.abs().max() < 0.06 * 32 / side
    assert world.render(trajectory).shape[-2:] == (side, side)
    assert replace(world, rendering="hard", walls_visible=True).render(trajectory).shape[-2:] == (side, side)


def test_a_wide_first_draw_in_a_polygon_is_moved_inwards_and_not_rejected():
    world = replace(bouncing_ball_hexagon(), init_std=30.0)
    first = sequences(world, n=500, steps=1).state[:, 0, :2]
    clearance = half_planes(world.corners or SQUARE).shrunk(world.radius).clearance(first).amin(-1)
    assert clearance.min() == pytest.approx(1.0)
    assert (clearance - 1 < 1e-9).double().mean() > 0.8  # nearly all of them started on the rim


def test_the_hard_rendering_is_within_a_pixel_of_its_state():
    world = replace(bouncing_ball(), walls_visible=False)
    trajectory = sequences(world)
    error = (centroids(world.render(trajectory)) - trajectory.state[..., :2]).norm(dim=-1)
    assert 0.3 < error.mean() < 0.8  # truncation costs half a pixel on each axis


def test_legacy_offset_pairs_a_frame_with_the_next_state():
    plain = replace(bouncing_ball_gravity(), rendering="antialiased", walls_visible=False)
    late = replace(plain, legacy_offset=True)
    trajectory = sequences(late, steps=10)
    reference = sequences(plain, steps=11)
    assert torch.equal(trajectory.state, reference.state[:, 1:])
    assert torch.equal(late.render(trajectory), plain.render(reference)[:, :10])


def test_legacy_contact_starts_like_the_exact_world_and_then_goes_its_own_way():
    exact = bouncing_ball()
    legacy = replace(exact, legacy_contact=True)
    true, stepped = sequences(exact).state, sequences(legacy).state
    assert torch.equal(true[:, 0], stepped[:, 0])
    assert (true - stepped).abs().max() > 0.1
    assert stepped[..., :2].min() < 5  # sinks into the walls


def test_several_balls_collide_and_keep_their_energy():
    world = BouncingBall(balls=3, init_std=8.0)
    trajectory = sequences(world, n=32, steps=60)
    assert len(world.state_names) == trajectory.state.shape[-1] == 12
    assert world.state_names[4] == "x1 [px]"
    balls = trajectory.state.unflatten(-1, (3, 4))
    speed = balls[..., 2:].square().sum(-1)
    assert (speed.sum(-1) - speed[:, :1].sum(-1)).abs().max() < 1e-6
    assert (speed - speed[:, :1]).abs().max() > 1  # they did exchange some
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert (balls[:, :, i, :2] - balls[:, :, j, :2]).norm(dim=-1).min() > 6 - 1e-9
    lit = (replace(world, walls_visible=False).render(trajectory) > 0).sum((-1, -2))
    assert lit.max() == 75 and lit.min() >= 60


def test_pymunk_with_many_sub_steps_agrees_around_the_first_bounces():
    world = BouncingBall(gravity=(0.0, 2.5), init_std=4.0, speed=(5.0, 10.0))
    states = sequences(world, n=8, steps=16).state
    fraction = 200
    for expected in states:
        space = pymunk.Space()
        space.gravity = world.gravity
        space.collision_slop = 0
        body = pymunk.Body(1, pymunk.moment_for_circle(1, 0, 3))
        body.position, body.velocity = expected[0, :2].tolist(), expected[0, 2:].tolist()
        disc = pymunk.Circle(body, 3)
        disc.elasticity = 1
        space.add(body, disc)
        for a, b in (((2, 2), (2, 30)), ((2, 30), (30, 30)), ((30, 30), (30, 2)), ((30, 2), (2, 2))):
            wall = pymunk.Segment(space.static_body, a, b, 0)
            wall.elasticity = 1
            space.add(wall)
        for state in expected[1:]:
            for _ in range(fraction):
                space.step(world.dt / fraction)
            assert list(body.position) == pytest.approx(state[:2].tolist(), abs=0.25)
    assert (states[:, :, 2].sign() != states[:, :1, 2].sign()).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dt": -0.1}, "dt: expected a positive number, got -0.1"),
        ({"steps": 0}, "steps"),
        ({"radius": 13.5}, "radius: a disc of radius 13.5 px has no room"),
        ({"inset": 16.0}, "inset"),
        ({"inset": -1.0}, "inset"),
        ({"speed": (10.0, 5.0)}, "speed"),
        ({"speed": (-1.0, 5.0)}, "speed"),
        ({"angle": (0.0, math.inf)}, "angle"),
        ({"gravity": (0.0, math.nan)}, "gravity"),
        ({"init_std": -1.0}, "init_std"),
        ({"balls": 2, "legacy_contact": True}, "legacy_contact"),
        ({"corners": ((0.0, 0.0), (32.0, 0.0), (16.0, 8.0), (0.0, 32.0))}, "corners"),
        ({"corners": ((0.0, 0.0), (6.0, 0.0), (0.0, 6.0))}, "radius"),
    ],
)
def test_impossible_parameters_are_refused_in_one_line(options, message):
    with pytest.raises(UserError) as caught:
        BouncingBall(**options)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("make", FAMILY)
def test_a_saved_configuration_gives_the_same_world(make):
    world = make()
    assert from_dict(json.loads(json.dumps(to_dict(world)))) == world


def test_balls_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="balls: no free place"):
        sequences(BouncingBall(balls=30), n=1)

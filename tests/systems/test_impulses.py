import math

import pymunk
import pytest
import torch

from dynarium.systems.impulses import step_impulses

BOX = ((2.0, 2.0), (2.0, 30.0), (30.0, 30.0), (30.0, 2.0))


def chipmunk(position, velocity, corners, gravity, dt, steps):
    space = pymunk.Space()
    space.gravity = gravity
    body = pymunk.Body(1, pymunk.moment_for_circle(1, 0, 3))
    body.position, body.velocity = position, velocity
    disc = pymunk.Circle(body, 3)
    disc.elasticity = 1
    space.add(body, disc)
    for a, b in zip(corners, [*corners[1:], corners[0]], strict=True):
        wall = pymunk.Segment(space.static_body, a, b, 0)
        wall.elasticity = 1
        space.add(wall)
    states = [[*body.position, *body.velocity]]
    for _ in range(steps - 1):
        space.step(dt)
        states.append([*body.position, *body.velocity])
    return states


@pytest.mark.parametrize(("gravity", "dt"), [((0.0, 0.0), 0.2), ((0.0, -5.0), 0.2), ((0.0, 2.5), 0.25)])
def test_it_is_the_engine_of_the_published_data_sets(gravity, dt):
    generator = torch.Generator().manual_seed(0)
    x = 8 + 16 * torch.rand(40, 2, dtype=torch.float64, generator=generator)
    angle = 2 * math.pi * torch.rand(40, dtype=torch.float64, generator=generator)
    v = 10 * torch.stack([angle.cos(), angle.sin()], -1)
    mine = torch.cat(step_impulses(x, v, corners=BOX, radius=3.0, gravity=gravity, dt=dt, steps=30), -1)
    theirs = torch.tensor(
        [chipmunk(tuple(p), tuple(s), BOX, gravity, dt, 30) for p, s in zip(x.tolist(), v.tolist(), strict=True)],
        dtype=torch.float64,
    )
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-5)
    assert (mine[..., 2:] - mine[:, :1, 2:]).abs().max() > 5  # there were collisions


def test_energy_is_not_conserved_under_gravity_and_balls_sink_into_walls():
    x = torch.tensor([[16.0, 16.0]], dtype=torch.float64)
    v = torch.tensor([[7.0, 3.0]], dtype=torch.float64)
    position, velocity = step_impulses(x, v, corners=BOX, radius=3.0, gravity=(0.0, -5.0), dt=0.2, steps=60)
    energy = velocity.square().sum(-1) / 2 + 5 * position[..., 1]
    assert float(energy.max() - energy.min()) > 1
    assert float(position.min()) < 5

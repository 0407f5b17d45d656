import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynarium.systems.billiards import fly, time_to_wall, triangle_wave
from dynarium.systems.walls import half_planes

BOX = ((2.0, 2.0), (2.0, 30.0), (30.0, 30.0), (30.0, 2.0))
HEXAGON = ((3.0, 1.0), (1.0, 15.0), (8.0, 30.0), (25.0, 30.0), (30.0, 8.0), (15.0, 1.0))


def draw(n, k, seed, speed=15.0):
    generator = torch.Generator().manual_seed(seed)
    options = {"dtype": torch.float64, "generator": generator}
    places = torch.tensor([[12.0, 13.0], [20.0, 20.0], [12.0, 21.0]], dtype=torch.float64)[:k]
    x = places + 0.7 * (2 * torch.rand(n, k, 2, **options) - 1)
    return x, speed * (2 * torch.rand(n, k, 2, **options) - 1)


def energy(x, v, gravity):
    return (v.square().sum(-1) / 2 - (x * torch.tensor(gravity, dtype=x.dtype)).sum(-1)).sum(-1)


def bounce_1d(x, v, g, low, high, times):
    """Height of a ball between two walls: an independent event loop in plain numbers."""
    out, clock = [], 0.0
    for time in times:
        while True:
            roots = []
            for wall, outwards in ((low, -1.0), (high, 1.0)):
                a, b, c = g / 2, v, x - wall
                if a == 0:
                    found = [] if b == 0 else [-c / b]
                else:
                    d = b * b - 4 * a * c
                    found = [] if d < 0 else [(-b - math.sqrt(d)) / (2 * a), (-b + math.sqrt(d)) / (2 * a)]
                roots += [r for r in found if r > 1e-9 and (v + g * r) * outwards > 0]
            wait = min(roots, default=math.inf)
            if clock + wait > time:
                break
            x, v, clock = x + v * wait + g * wait**2 / 2, -(v + g * wait), clock + wait
        rest = time - clock
        x, v, clock = x + v * rest + g * rest**2 / 2, v + g * rest, time
        out.append(x)
    return out


def test_without_gravity_the_events_agree_with_the_unfolded_box():
    x, v = draw(200, 1, seed=0)
    times = 0.2 * torch.arange(50, dtype=torch.float64)
    by_events = fly(x, v, times, container=half_planes(BOX), radius=3.0)
    unfolded = triangle_wave(x[:, 0], v[:, 0], 5.0, 27.0, times)
    for one, other in zip(by_events, unfolded, strict=True):
        torch.testing.assert_close(one[:, :, 0], other, rtol=0, atol=1e-9)


@pytest.mark.parametrize("gravity", [(0.0, 2.5), (-1.8, -1.1), (3.0, 0.0)])
def test_in_a_box_the_axes_are_independent_one_dimensional_bounces(gravity):
    x, v = draw(20, 1, seed=1)
    times = 0.25 * torch.arange(40, dtype=torch.float64)
    position, _ = fly(x, v, times, container=half_planes(BOX), radius=3.0, gravity=gravity)
    for i in range(len(x)):
        for axis in (0, 1):
            expected = bounce_1d(float(x[i, 0, axis]), float(v[i, 0, axis]), gravity[axis], 5.0, 27.0, times.tolist())
            assert position[i, :, 0, axis].tolist() == pytest.approx(expected, abs=1e-7)


def test_a_fine_time_step_converges_to_the_events_in_a_polygon_with_gravity():
    gravity, walls = (1.0, -4.0), half_planes(HEXAGON).shrunk(3.0)
    x, v = draw(50, 1, seed=2, speed=8.0)
    times = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
    exact, _ = fly(x, v, times, container=half_planes(HEXAGON), radius=3.0, gravity=gravity)
    h, g = 1e-3, torch.tensor(gravity, dtype=torch.float64)
    fine, speed = x[:, 0].clone(), v[:, 0].clone()
    for _ in range(2000):
        fine = fine + h * speed + h * h / 2 * g
        speed = speed + h * g
        for normal, offset in zip(walls.normals, walls.offsets, strict=True):
            depth = (fine @ normal - offset).clamp(min=0)  # mirror what went through the wall
            approach = (speed @ normal).clamp(min=0) * (depth > 0)
            fine, speed = fine - 2 * depth[:, None] * normal, speed - 2 * approach[:, None] * normal
    assert (exact[:, 2, 0] - fine).norm(dim=-1).median() < 0.02


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    k=st.integers(1, 3),
    corners=st.sampled_from([BOX, HEXAGON]),
    gravity=st.sampled_from([(0.0, 0.0), (0.0, 5.0), (2.5, -1.0)]),
)
def test_nobody_leaves_nobody_overlaps_and_energy_stays(seed, k, corners, gravity):
    x, v = draw(8, k, seed)
    x, v = fly(
        x, v, 0.25 * torch.arange(60, dtype=torch.float64), container=half_planes(corners), radius=3.0, gravity=gravity
    )
    assert half_planes(corners).shrunk(3.0).clearance(x).min() > -1e-9
    total = energy(x, v, gravity)
    assert (total - total[:, :1]).abs().max() < 1e-6
    for i in range(k):
        for j in range(i):
            assert (x[:, :, i] - x[:, :, j]).norm(dim=-1).min() > 6 - 1e-9


def test_two_balls_head_on_exchange_their_velocities():
    x = torch.tensor([[[8.0, 16.0], [22.0, 16.0]]], dtype=torch.float64)
    v = torch.tensor([[[4.0, 0.0], [-2.0, 0.0]]], dtype=torch.float64)
    times = torch.tensor([0.0, 1.0, 1.5, 2.0], dtype=torch.float64)  # they meet after 8 / 6
    position, velocity = fly(x, v, times, container=half_planes(BOX), radius=3.0)
    assert velocity[0, :, :, 0].tolist() == [[4, -2], [4, -2], [-2, 4], [-2, 4]]
    meeting = 8 / 6
    assert position[0, 3, 0, 0] == pytest.approx(8 + 4 * meeting - 2 * (2 - meeting))


def test_a_ball_that_slides_along_the_floor_ends_and_keeps_its_energy():
    x = torch.tensor([[[10.0, 27.0]], [[10.0, 27.0]]], dtype=torch.float64)  # touching the lower wall
    v = torch.tensor([[[6.0, 0.0]], [[0.0, 0.0]]], dtype=torch.float64)
    times = 0.2 * torch.arange(20, dtype=torch.float64)
    position, velocity = fly(x, v, times, container=half_planes(BOX), radius=3.0, gravity=(0.0, 5.0))
    assert (position[..., 1] - 27).abs().max() < 1e-4
    total = energy(position, velocity, (0.0, 5.0))
    assert (total - total[:, :1]).abs().max() < 1e-5


def test_a_ball_straight_into_a_corner_comes_straight_back():
    x = torch.tensor([[[16.0, 16.0]]], dtype=torch.float64)
    v = torch.tensor([[[11.0, 11.0]]], dtype=torch.float64)
    position, velocity = fly(
        x, v, torch.tensor([0.0, 2.0], dtype=torch.float64), container=half_planes(BOX), radius=3.0
    )
    assert position[0, 1, 0].tolist() == pytest.approx([16.0, 16.0])
    assert velocity[0, 1, 0].tolist() == [-11, -11]


@pytest.mark.parametrize(
    ("clearance", "approach", "pull", "expected"),
    [
        (2.0, 1.0, 0.0, 2.0),
        (2.0, -1.0, 0.0, math.inf),
        (0.0, -2.0, 1.0, 4.0),  # thrown off the floor, falls back
        (1.0, 1.0, -1.0, math.inf),  # turns round before the wall
        (0.5, 1.0, -1.0, 1.0),  # just grazes it
        (-1e-15, 1.0, 0.0, 0.0),
    ],
)
def test_time_to_wall(clearance, approach, pull, expected):
    values = (torch.tensor(v, dtype=torch.float64) for v in (clearance, approach, pull))
    assert float(time_to_wall(*values)) == pytest.approx(expected)

"""Quasi-static pushing against what can be worked out by hand."""

import math

import pytest
import torch

from dynarium.systems.sliding import Bodies, pushed, signed_distance

SQUARE = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]).double()
POINT = torch.zeros(4, 2).double()


def bodies(*outlines, at, angle=None, rounding=2.0, reach=3.0):
    k = len(outlines)
    full = torch.full((1, k), 1.0).double()
    return Bodies(
        position=torch.tensor([at]).double(),
        angle=torch.tensor([angle or [0.0] * k]).double(),
        outline=torch.stack(outlines)[None],
        rounding=rounding * full,
        reach=reach * full,
        support=torch.zeros(1, k, 2).double(),
    )


def push(thing, disc, step, pieces=8, **options):
    options = {"radius": 1.0, "low": 0.0, "high": 40.0} | options
    return pushed(
        thing, torch.tensor([disc]).double(), torch.tensor([step]).double(), pieces=pieces, settle=False, **options
    )


def test_distances_from_a_square_a_line_and_a_point():
    line = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]).double()
    points = torch.tensor([[3.0, 0.0], [4.0, 5.0], [0.0, 0.25], [0.5, -0.9], [-1.0, 2.0]]).double()
    corners = torch.stack([SQUARE, SQUARE.flip(0), line, POINT])
    distance, away = signed_distance(points.expand(4, -1, -1), corners)
    square = [2.0, 5.0, -0.75, -0.1, 1.0]
    expected = [square, square, [2.0, math.hypot(3, 5), 0.25, 0.9, 2.0], points.norm(dim=-1).tolist()]
    torch.testing.assert_close(distance, torch.tensor(expected).double())
    torch.testing.assert_close(away[0, 3], torch.tensor([0.0, -1.0]).double())
    for corner, d, n in zip(corners, distance, away, strict=True):  # a step along the direction is a step away
        there, _ = signed_distance((points + 1e-4 * n)[None], corner[None])
        torch.testing.assert_close(there[0] - d, torch.full((5,), 1e-4).double(), rtol=0.02, atol=0)


def test_a_disc_that_is_met_head_on_goes_straight_on_and_does_not_turn():
    moved, finger = push(bodies(POINT, at=[[10.0, 10.0]]), (6.0, 10.0), (4.0, 0.0))
    torch.testing.assert_close(finger, torch.tensor([[10.0, 10.0]]).double(), atol=0.01, rtol=0)
    torch.testing.assert_close(moved.position[0, 0], torch.tensor([13.0, 10.0]).double(), atol=0.01, rtol=0)
    assert moved.angle.abs().max() < 1e-9


def test_a_push_beside_the_middle_turns_as_the_limit_surface_has_it():
    """v = f, omega = (arm x f) / c^2 and the point of contact keeps up with the finger: v (1 + arm^2 / c^2) = its step."""
    thing = bodies(SQUARE * 4, at=[[20.0, 20.0]], rounding=0.0, reach=3.0)
    moved, _ = push(thing, (15.0, 22.0), (1e-3, 0.0), pieces=1)
    forward = 1e-3 / (1 + 2.0**2 / 3.0**2)
    torch.testing.assert_close(moved.position[0, 0], torch.tensor([20 + forward, 20]).double(), atol=1e-7, rtol=0)
    assert float(moved.angle) == pytest.approx(-forward * 2.0 / 3.0**2, rel=1e-3)  # y is down


def test_what_is_not_touched_rests():
    thing = bodies(POINT, SQUARE, at=[[10.0, 10.0], [30.0, 30.0]])
    moved, finger = push(thing, (20.0, 10.0), (0.0, 3.0))
    assert torch.equal(moved.position, thing.position) and torch.equal(moved.angle, thing.angle)
    torch.testing.assert_close(finger, torch.tensor([[20.0, 13.0]]).double())


def test_things_push_each_other():
    moved, _ = push(bodies(POINT, POINT, at=[[10.0, 10.0], [14.5, 10.0]]), (6.5, 10.0), (4.0, 0.0))
    gap = moved.position[0, 1, 0] - moved.position[0, 0, 0]
    assert float(gap) == pytest.approx(4.0, abs=0.35) and moved.position[0, 1, 0] > 16.5


def test_a_thing_against_the_rim_stops_the_finger():
    moved, finger = push(bodies(POINT, at=[[37.0, 10.0]]), (33.0, 10.0), (4.0, 0.0))
    assert float(moved.position[0, 0, 0]) == pytest.approx(38.0, abs=0.05)
    assert float(finger[0, 0]) == pytest.approx(35.0, abs=0.1)

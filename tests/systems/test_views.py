import math

import pytest
import torch

from dynarium.systems.views import Circle, Plane, Rod, Strategies, draw_points


def centre(frame):
    """Column and row of the middle of what is lit, in pixels."""
    weight = frame.double()
    at = torch.arange(len(weight)) + 0.5
    return float((weight.sum(0) * at).sum() / weight.sum()), float((weight.sum(1) * at).sum() / weight.sum())


def states(*values):
    return torch.tensor([[values]], dtype=torch.float64)


def test_a_plane_has_its_second_axis_upwards():
    view = Plane(x=2, y=0, middle=(1.0, 1.0), reach=2.0)
    column, row = centre(view.draw(states(2.0, 9.0, 0.5), 64)[0, 0, 0])
    assert (column, row) == pytest.approx((32 - 16 * 0.5, 32 - 16), abs=0.1)


def test_far_points_are_not_drawn():
    frames = draw_points(
        torch.tensor([[[[1e12, -1e30]], [[torch.inf, 0.0]]]], dtype=torch.float64), (0.0, 0.0), 1.0, 32
    )
    assert frames.shape == (1, 2, 1, 32, 32) and frames.max() == 0


@pytest.mark.parametrize(
    ("angle", "expected"),
    [(0.0, (16, 16 + 16 / 1.3)), (math.pi / 2, (16 + 16 / 1.3, 16)), (math.pi, (16, 16 - 16 / 1.3))],
)
def test_angles_start_below_and_turn_counter_clockwise(angle, expected):
    assert centre(Circle().draw(states(angle, 7.0), 32)[0, 0, 0]) == pytest.approx(expected, abs=0.1)


def test_a_circle_draws_every_angle():
    one, both = Circle(angles=1), Circle(angles=2)
    state = states(0.0, math.pi)
    assert both.draw(state, 32).sum() == pytest.approx(2 * int(one.draw(state, 32).sum()), rel=0.01)


@pytest.mark.parametrize(("angle", "turns"), [(0.0, 0), (math.pi / 2, 1), (math.pi, 2)])
def test_a_rod_is_an_unbroken_line_from_the_middle(angle, turns):
    frame = torch.rot90(Rod().draw(states(angle, 9.0), 32)[0, 0, 0], -turns)  # back to where it hangs
    assert (frame[16:27, 15:17] > 200).all()
    assert frame[:13].max() == 0 and frame[:, :13].max() == 0 and frame[:, 19:].max() == 0


def test_strategies_fill_the_frame_block_by_block():
    frame = Strategies(choices=2).draw(states(0.25, 0.75, 1.0, 0.0), 8)[0, 0]
    assert frame.shape == (3, 8, 8) and torch.equal(frame[0], frame[1]) and torch.equal(frame[0], frame[2])
    assert frame[0, :4, :4].unique().tolist() == [64] and frame[0, 4:, :4].unique().tolist() == [191]
    assert frame[0, :, 4:].max() == 0

import pytest
import torch

from dynarium.errors import UserError
from dynarium.systems.walls import half_planes

TRIANGLE = ((0.0, 0.0), (4.0, 0.0), (0.0, 3.0))


@pytest.mark.parametrize("corners", [TRIANGLE, TRIANGLE[::-1]])
def test_clearance_is_the_distance_to_each_wall_in_either_orientation(corners):
    clearance = half_planes(corners).clearance(torch.tensor([1.0, 1.0], dtype=torch.float64))
    assert sorted(clearance.tolist()) == pytest.approx([1.0, 1.0, 1.0])  # (1, 1) is the middle of the inscribed circle


def test_shrunk_moves_every_wall_inwards():
    walls = half_planes(TRIANGLE).shrunk(0.25)
    assert walls.clearance(torch.tensor([1.0, 1.0], dtype=torch.float64)).tolist() == pytest.approx([0.75] * 3)


@pytest.mark.parametrize(
    "corners",
    [
        ((0.0, 0.0), (1.0, 0.0)),
        ((0.0, 0.0), (4.0, 0.0), (1.0, 1.0), (0.0, 4.0)),  # a dent
        ((0.0, 0.0), (4.0, 0.0), (4.0, 0.0), (0.0, 4.0)),  # a repeated corner
        ((0.0, 3.0), (1.8, -2.4), (-2.9, 0.9), (2.9, 0.9), (-1.8, -2.4)),  # a star turns one way only, but twice
    ],
)
def test_a_polygon_that_is_not_convex_is_refused(corners):
    with pytest.raises(UserError, match="corners: expected a convex polygon"):
        half_planes(corners)

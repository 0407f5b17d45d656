import math

import pytest
import torch

from dynarium.rendering import antialiased_capsules, antialiased_discs, antialiased_walls
from dynarium.systems.walls import half_planes


def supersampled(inside, side, fraction=16):
    """Share of each pixel that ``inside(x, y)`` covers."""
    fine = (torch.arange(side * fraction, dtype=torch.float64) + 0.5) / fraction
    y, x = torch.meshgrid(fine, fine, indexing="ij")
    return inside(x, y).double().unflatten(0, (side, fraction)).unflatten(2, (side, fraction)).mean((1, 3))


def test_discs_cover_the_pixels_they_cover():
    centres = torch.tensor([[[9.3, 7.8]], [[4.0, 4.0]], [[0.2, 15.9]]], dtype=torch.float64)
    frames = antialiased_discs(centres, 3.0, 16).double() / 255
    for frame, (x0, y0) in zip(frames, centres[:, 0].tolist(), strict=True):
        expected = supersampled(lambda x, y, x0=x0, y0=y0: (x - x0) ** 2 + (y - y0) ** 2 < 9, 16)
        assert (frame - expected).abs().max() < 0.1
    assert float(frames[0].sum()) == pytest.approx(9 * math.pi, rel=0.01)


@pytest.mark.parametrize("half_axis", [(0.0, 3.0), (2.0, 1.0), (0.0, 0.0)])
def test_capsules_cover_the_pixels_they_cover(half_axis):
    frame = antialiased_capsules(torch.tensor([[[8.2, 7.6]]], dtype=torch.float64), half_axis, 1.5, 16)[0] / 255
    ax, ay = half_axis

    def inside(x, y):
        along = (((x - 8.2) * ax + (y - 7.6) * ay) / max(ax**2 + ay**2, 1e-9)).clamp(-1, 1)
        return (x - 8.2 - along * ax) ** 2 + (y - 7.6 - along * ay) ** 2 < 1.5**2

    assert (frame - supersampled(inside, 16)).abs().max() < 0.13


def test_walls_are_a_band_just_outside_of_the_container():
    walls = half_planes(((2.0, 2.0), (2.0, 14.0), (14.0, 14.0), (14.0, 2.0)))
    frame = antialiased_walls(walls.normals, walls.offsets, 16)
    expected = torch.zeros(16, 16, dtype=torch.uint8)
    expected[1:15, 1:15] = 255
    expected[2:14, 2:14] = 0
    assert torch.equal(frame, expected)


def test_several_shapes_and_a_background_are_united():
    background = torch.zeros(16, 16, dtype=torch.uint8)
    background[:, 0] = 200
    both = antialiased_discs(torch.tensor([[[3.0, 3.0], [5.0, 4.0]]]), 2.0, 16, background)
    one = antialiased_discs(torch.tensor([[[3.0, 3.0]]]), 2.0, 16, background)
    other = antialiased_discs(torch.tensor([[[5.0, 4.0]]]), 2.0, 16)
    assert torch.equal(both, torch.maximum(one, other))
    stacked = antialiased_discs(torch.tensor([[[5.0, 4.0]]]), 2.0, 16, one)
    assert torch.equal(both, stacked)


def test_a_shape_outside_leaves_no_trace():
    centres = torch.tensor([[[-300.0, 4.0]], [[8.0, 1e4]]])
    assert not antialiased_discs(centres, 3.0, 16).any()

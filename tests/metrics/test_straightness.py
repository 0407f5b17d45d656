"""Geometry of paths: lines, corners and walks."""

import math

import pytest
import torch

from dynarium.metrics.straightness import straightness


def test_lines_corners_and_returns():
    line = torch.arange(5.0)[:, None] * torch.tensor([2.0, -1.0, 0.5]) + 7
    square = torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1], [0, 0]])
    back = torch.tensor([[0.0], [1], [0], [1], [0]])
    assert straightness(line[None]).item() == pytest.approx(1)
    assert straightness(square[None]).item() == pytest.approx(0)
    assert straightness(back[None]).item() == pytest.approx(-1)
    assert math.isnan(straightness(torch.ones(1, 5, 2)).item())
    stops = torch.tensor([[0.0], [1], [2], [2], [3], [4]])
    assert straightness(stops[None]).item() == pytest.approx(1)  # the steps around the stop do not count


def test_a_walk_is_neither_and_scale_and_rotation_do_not_matter():
    walk = torch.randn(200, 12, 8, generator=torch.Generator().manual_seed(0)).cumsum(1)
    turn = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(1)))[0]
    assert abs(float(straightness(walk).mean())) < 0.03
    assert torch.allclose(straightness(3 * walk @ turn - 5), straightness(walk), atol=1e-5)

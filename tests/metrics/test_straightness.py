"""Geometry of paths: lines, corners and walks; ranks of spectra that are known."""

import math

import pytest
import torch

from dynarium.metrics.straightness import rank_me, straightness


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


def test_rank_is_that_of_the_spectrum():
    x = torch.randn(5000, 6, generator=torch.Generator().manual_seed(0))
    assert rank_me(x) == pytest.approx(6, abs=0.01)
    assert rank_me(x * torch.tensor([1.0, 1, 1, 0, 0, 0]) + 100) == pytest.approx(3, abs=0.01)
    assert rank_me(x[:, :1] @ torch.ones(1, 6)) == pytest.approx(1, abs=1e-3)
    assert rank_me(torch.full((50, 6), 3.7)) == 0
    s = torch.linalg.svdvals((x[:4] - x[:4].mean(0)).double())
    share = s[:3] / s[:3].sum()
    assert rank_me(x[:4]) == pytest.approx(float(torch.exp(-(share * share.log()).sum())), rel=1e-6)

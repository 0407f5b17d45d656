import math

import pytest
import torch

from dynarium.objectives.sigreg import random_directions, sigreg


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_it_is_the_statistic_written_out():
    z, directions = gaussian(2, 5, 3), random_directions(3, 4, torch.Generator().manual_seed(1)).double()
    knots = [3 * k / 16 for k in range(17)]
    total = 0.0
    for group in z:
        for direction in directions.T:
            projections = [(x @ direction).item() for x in group]
            for k, x in enumerate(knots):
                phi = math.exp(-x * x / 2)
                real = sum(math.cos(x * h) for h in projections) / 5 - phi
                imaginary = sum(math.sin(x * h) for h in projections) / 5
                weight = 3 / 16 if k in (0, 16) else 6 / 16  # trapezoid on both halves of the line
                total += 5 * weight * phi * (real**2 + imaginary**2)
    assert sigreg(z, directions).item() == pytest.approx(total / 8, rel=1e-6)  # the directions are float32


def test_it_tells_gaussians_from_the_rest_whatever_their_number():
    directions = random_directions(8, 64, torch.Generator().manual_seed(0)).double()
    assert directions.norm(dim=0).sub(1).abs().max() < 1e-6
    for n in (100, 1600):
        fair = sigreg(gaussian(n, 8), directions)
        assert 0.3 < fair < 3  # its mean is the integral of (1 - phi^2) phi, 1.06
        collapsed, narrow = sigreg(0.0 * gaussian(n, 8), directions), sigreg(0.3 * gaussian(n, 8), directions)
        assert collapsed > narrow > 0.05 * n
        assert collapsed > 0.15 * n


def test_directions_depend_on_the_generator_alone():
    first, again, other = (random_directions(4, 3, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)

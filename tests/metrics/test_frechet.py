"""The Frechet distance against closed forms and SciPy's matrix square root."""

import numpy as np
import pytest
import torch
from scipy import linalg

from dynarium.errors import UserError
from dynarium.metrics.frechet import frechet_distance


def features(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_against_scipys_matrix_root():
    x, y = features(60, 8), 1.7 * features(40, 8, 1) @ features(8, 8, 2) + 0.5
    c1, c2 = (np.cov(z.numpy(), rowvar=False) for z in (x, y))
    wanted = float((x.mean(0) - y.mean(0)).square().sum())
    wanted += np.trace(c1 + c2 - 2 * np.real(linalg.sqrtm(c1 @ c2)))
    assert frechet_distance(x, y) == pytest.approx(wanted, rel=1e-9)
    assert frechet_distance(y, x) == pytest.approx(wanted, rel=1e-9)


def test_closed_forms():
    x = features(50, 4)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-10)
    assert frechet_distance(x, x + 3) == pytest.approx(9 * 4)
    c = torch.cov(x.mT)
    assert frechet_distance(x, 3 * x) == pytest.approx(float(4 * x.mean(0).square().sum() + 4 * c.trace()))


def test_fewer_vectors_than_dimensions():
    x = features(5, 20)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-8)
    assert frechet_distance(x.float(), x.float() + 1) == pytest.approx(20, rel=1e-5)


def test_bad_sets_are_refused():
    with pytest.raises(UserError, match="at least 2 vectors"):
        frechet_distance(features(1, 3), features(4, 3))
    bad = features(4, 3)
    bad[0, 0] = float("nan")
    with pytest.raises(UserError, match="some not finite"):
        frechet_distance(bad, features(4, 3))

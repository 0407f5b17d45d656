"""Log-likelihoods against ``torch.distributions``."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Bernoulli, Normal

from dynarium.objectives.likelihoods import bernoulli_log_likelihood, gaussian_log_likelihood


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.integers(0, 10**6), st.floats(0.1, 30.0))
def test_bernoulli(seed, scale):
    logits = scale * numbers(3, 4, seed=seed)
    x = (numbers(3, 4, seed=seed + 1) > 0).double()
    torch.testing.assert_close(bernoulli_log_likelihood(logits, x), Bernoulli(logits=logits).log_prob(x))


def test_bernoulli_of_grey_pixels_is_the_cross_entropy():
    logits, x = numbers(50), numbers(50, seed=1).sigmoid()
    p = logits.sigmoid()
    torch.testing.assert_close(bernoulli_log_likelihood(logits, x), x * p.log() + (1 - x) * (1 - p).log())


def test_bernoulli_is_finite_for_certain_logits():
    logits, x = torch.tensor([200.0, -200.0]), torch.tensor([0.0, 0.0])
    assert bernoulli_log_likelihood(logits, x).tolist() == [-200.0, 0.0]


@given(st.integers(0, 10**6), st.floats(1e-3, 1e3))
def test_gaussian(seed, variance):
    x, mean = numbers(3, 4, seed=seed), numbers(3, 4, seed=seed + 1)
    expected = Normal(mean, variance**0.5).log_prob(x)
    torch.testing.assert_close(gaussian_log_likelihood(x, mean, variance), expected)
    torch.testing.assert_close(gaussian_log_likelihood(x, mean, torch.full_like(x, variance)), expected)


@pytest.mark.parametrize("shape", [(3, 4), (1, 4), (3, 1), (1, 1)])
def test_gaussian_variance_broadcasts(shape):
    x, mean, variance = numbers(3, 4), numbers(3, 4, seed=1), numbers(*shape, seed=2).exp()
    torch.testing.assert_close(gaussian_log_likelihood(x, mean, variance), Normal(mean, variance.sqrt()).log_prob(x))

"""The nonlinear filters: equal to the linear one on linear models, exact moments, missing data, divergence."""

from dataclasses import replace

import pytest
import torch

from dynarium.errors import UserError
from dynarium.ssm import LinearGaussian, kalman_filter, rts_smoother
from dynarium.ssm.nonlinear import (
    NonlinearGaussian,
    SigmaPoints,
    extended_kalman_filter,
    extended_smoother,
    regression,
    tangent,
    unscented_kalman_filter,
    unscented_smoother,
)

F64 = torch.float64
FILTERS = {"extended": extended_kalman_filter, "unscented": unscented_kalman_filter}
SMOOTHERS = {"extended": extended_smoother, "unscented": unscented_smoother}
BOTH = pytest.mark.parametrize("kind", FILTERS)


def spd(n, g):
    root = torch.randn(n, n, dtype=F64, generator=g)
    return root @ root.mT / n + 0.1 * torch.eye(n, dtype=F64)


def linear(seed=0, b=3, t=12, n=3, p=2, a=2):
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, dtype=F64, generator=g)

    A, B, C = 0.5 * normal(t, n, n), normal(n, a), normal(p, n)
    shared = {"Q": spd(n, g), "R": spd(p, g), "m0": normal(n), "P0": spd(n, g)}
    same = NonlinearGaussian(
        transition=lambda z, u, t: z @ A[t].mT + u @ B.mT, observation=lambda z: z @ C.mT, **shared
    )
    return LinearGaussian(A=A, B=B, C=C, **shared), same, normal(b, t, p), normal(b, t, a)


def bent(b=2, t=15, seed=0):
    """A damped pendulum whose height is measured, and a mask of single sensors."""
    g = torch.Generator().manual_seed(seed)
    model = NonlinearGaussian(
        transition=lambda z, u, t: torch.stack(
            [z[..., 0] + 0.2 * z[..., 1], 0.9 * z[..., 1] - 0.2 * z[..., 0].sin()], -1
        ),
        observation=lambda z: torch.stack([z[..., 0].sin(), z[..., 0].cos() + 0.1 * z[..., 1]], -1),
        Q=0.01 * torch.eye(2, dtype=F64),
        R=0.05 * torch.eye(2, dtype=F64),
        m0=torch.tensor([0.5, 0.0], dtype=F64),
        P0=0.1 * torch.eye(2, dtype=F64),
    )
    return model, torch.randn(b, t, 2, dtype=F64, generator=g), torch.rand(b, t, 2, generator=g) > 0.4


def close(a, b, tolerance=1e-9):
    for name in vars(a):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=0, atol=tolerance)


@BOTH
def test_linear_functions_give_the_linear_filter_and_smoother(kind):
    model, same, y, u = linear()
    mask = torch.rand(*y.shape, generator=torch.Generator().manual_seed(1)) > 0.3
    lengths = torch.tensor([12, 7, 1])
    wanted = kalman_filter(model, y, mask, u, lengths)
    found = FILTERS[kind](same, y, mask, u, lengths)
    close(found, wanted)
    close(SMOOTHERS[kind](same, found, u), rts_smoother(model, wanted))


@pytest.mark.parametrize("points", [SigmaPoints(alpha=0.6), SigmaPoints(kappa=2.0), SigmaPoints(beta=0.0)])
def test_the_numbers_of_the_sigma_points_do_not_matter_for_linear_functions(points):
    model, same, y, u = linear()
    close(unscented_kalman_filter(same, y, u=u, points=points), kalman_filter(model, y, u=u))


@BOTH
def test_a_hidden_step_is_one_without_observation(kind):
    """The step from 3 to 5 over a hidden one is one step of the function applied twice, but for what both approximate."""
    model, y, _ = bent()
    mask = torch.ones(y.shape[:2], dtype=torch.bool)
    mask[:, 4:9] = False
    found = FILTERS[kind](model, y, mask)
    assert torch.equal(found.mean[:, 4:9], found.predicted_mean[:, 4:9])
    assert torch.equal(found.log_likelihood[:, 4:9], torch.zeros(2, 5, dtype=F64))
    poisoned = torch.where(mask[..., None], y, torch.nan)
    close(FILTERS[kind](model, poisoned, mask), found, 0.0)


@BOTH
def test_a_hidden_sensor_is_a_deleted_one(kind):
    model, y, _ = bent()
    mask = torch.tensor([True, False]).expand(y.shape)
    one = replace(model, observation=lambda z: z[..., :1].sin(), R=model.R[:1, :1])
    found = FILTERS[kind](model, torch.where(mask, y, torch.nan), mask)
    close(found, FILTERS[kind](one, y[..., :1]))


@BOTH
def test_a_shorter_sequence_is_a_cut_one(kind):
    model, y, mask = bent()
    found = FILTERS[kind](model, y, mask, None, torch.tensor([15, 6]))
    short = FILTERS[kind](model, y[1:, :6], mask[1:, :6])
    torch.testing.assert_close(found.mean[1:, :6], short.mean, rtol=0, atol=1e-12)
    assert not found.log_likelihood[1, 6:].any()
    smoothed, cut = SMOOTHERS[kind](model, found), SMOOTHERS[kind](model, short)
    torch.testing.assert_close(smoothed.mean[1:, :6], cut.mean, rtol=0, atol=1e-9)


@BOTH
def test_sequences_do_not_depend_on_each_other(kind):
    model, y, mask = bent()
    both, one = FILTERS[kind](model, y, mask), FILTERS[kind](model, y[1:], mask[1:])
    torch.testing.assert_close(both.mean[1:], one.mean, rtol=0, atol=1e-12)


def test_tangent_is_the_jacobian():
    def g(z):
        return torch.stack([z[..., 0] * z[..., 1], z[..., 1].sin(), z[..., 0] ** 2], -1)

    mean = torch.randn(4, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    value, J, W = tangent(g, mean, torch.eye(2, dtype=F64).expand(4, 2, 2))
    wanted = torch.stack([torch.autograd.functional.jacobian(g, row) for row in mean])
    torch.testing.assert_close(J, wanted, rtol=0, atol=1e-14)
    assert torch.equal(value, g(mean)) and not W.any()


@pytest.mark.parametrize("points", [SigmaPoints(), SigmaPoints(alpha=0.7), SigmaPoints(kappa=1.5)])
def test_means_of_quadratic_functions_are_exact(points):
    g = torch.Generator().manual_seed(0)
    mean, cov = torch.randn(5, 3, dtype=F64, generator=g), torch.stack([spd(3, g) for _ in range(5)])
    form, slope = torch.randn(2, 3, 3, dtype=F64, generator=g), torch.randn(2, 3, dtype=F64, generator=g)

    def quadratic(z):
        return torch.einsum("...i,pij,...j->...p", z, form, z) + z @ slope.mT

    value, J, W = regression(points)(quadratic, mean, cov)
    exact = quadratic(mean) + torch.einsum("pij,bij->bp", form, cov)
    torch.testing.assert_close(value, exact, rtol=1e-12, atol=1e-12)
    # E[dg dz'] = J P: of a quadratic function the slope at the mean
    at_mean = torch.einsum("pij,bj->bpi", form + form.mT, mean) + slope
    torch.testing.assert_close(J, at_mean, rtol=1e-10, atol=1e-10)
    assert bool((torch.linalg.eigvalsh(W) > -1e-12).all())


@pytest.mark.parametrize("alpha", [0.6, 1.0])
def test_variance_of_a_quadratic_function_of_one_number_is_exact(alpha):
    m, s = torch.tensor([[0.7], [-2.0]], dtype=F64), torch.tensor([[[0.3]], [[1.7]]], dtype=F64)
    _, J, W = regression(SigmaPoints(alpha=alpha))(lambda z: 1.5 * z**2 - z, m, s)
    # Var(a z^2 + b z) = (2 a m + b)^2 s + 2 a^2 s^2
    torch.testing.assert_close(J @ s @ J.mT + W, (3 * m - 1)[..., None] ** 2 * s + 4.5 * s**2, rtol=1e-12, atol=0)


@BOTH
def test_filters_track_a_pendulum_and_know_how_well(kind):
    """Over many sequences the smoothed error is smaller than the filtered one and as large as the covariances say."""
    model, _, _ = bent()
    g, b, t = torch.Generator().manual_seed(3), 200, 40

    def noise(cov):
        return torch.randn(b, 2, dtype=F64, generator=g) @ torch.linalg.cholesky(cov).mT

    z, states, seen = model.m0 + noise(model.P0), [], []
    for i in range(t):
        z = model.transition(z, None, i) + noise(model.Q) if i else z
        states.append(z)
        seen.append(model.observation(z) + noise(model.R))
    z, y = torch.stack(states, 1), torch.stack(seen, 1)
    filtered = FILTERS[kind](model, y)
    smoothed = SMOOTHERS[kind](model, filtered)
    errors = []
    for found in (filtered, smoothed):
        e = (found.mean - z)[..., None]
        errors.append(float(e.square().mean()))
        distance = (e.mT @ torch.linalg.solve(found.cov, e)).mean()
        assert 1.8 < float(distance) < 2.3  # chi-squared of two degrees of freedom
    assert errors[1] < 0.8 * errors[0]


@BOTH
def test_a_sequence_that_diverges_is_nan_and_the_others_are_not(kind):
    model = NonlinearGaussian(
        transition=lambda z, u, t: z + z**3,
        observation=lambda z: z,
        Q=torch.eye(1, dtype=F64),
        R=torch.eye(1, dtype=F64),
        m0=torch.tensor([[1e-3], [50.0]], dtype=F64),
        P0=1e-6 * torch.eye(1, dtype=F64),
    )
    y = torch.zeros(2, 12, 1, dtype=F64)
    mask = torch.ones(2, 12, dtype=torch.bool)
    mask[1] = False
    found = FILTERS[kind](model, y, mask)
    assert bool(found.mean[0].isfinite().all()) and bool(found.log_likelihood[0].isfinite().all())
    assert bool(found.mean[1, 0].isfinite().all()) and bool(found.mean[1, -1].isnan().all())
    alone = FILTERS[kind](replace(model, m0=model.m0[:1]), y[:1])
    torch.testing.assert_close(found.mean[:1], alone.mean)
    smoothed = SMOOTHERS[kind](model, found)
    assert bool(smoothed.mean[0].isfinite().all()) and bool(smoothed.mean[1].isnan().all())


@BOTH
def test_gradients(kind):
    """Of the log-likelihood with respect to a constant of the transition, against a difference."""
    base, y, mask = bent(t=6)

    def value(pull):
        model = replace(
            base,
            transition=lambda z, u, t: torch.stack(
                [z[..., 0] + 0.2 * z[..., 1], z[..., 1] - pull * z[..., 0].sin()], -1
            ),
        )
        return FILTERS[kind](model, y, mask).log_likelihood.sum()

    pull = torch.tensor(0.3, dtype=F64, requires_grad=True)
    (slope,) = torch.autograd.grad(value(pull), pull)
    difference = (value(pull.detach() + 1e-5) - value(pull.detach() - 1e-5)) / 2e-5
    torch.testing.assert_close(slope, difference, rtol=1e-6, atol=1e-8)


@BOTH
def test_noise_may_depend_on_the_state(kind):
    model, y, mask = bent()
    Q = 0.01 * torch.eye(2, dtype=F64)
    same = replace(model, Q=lambda z, t: Q.expand(*z.shape[:-1], 2, 2))
    close(FILTERS[kind](same, y, mask), FILTERS[kind](model, y, mask), 0.0)
    wide = replace(model, Q=lambda z, t: (1 + z[..., :1, None] ** 2) * Q)
    assert float((FILTERS[kind](wide, y, mask).cov - FILTERS[kind](model, y, mask).cov).abs().max()) > 1e-5


def test_sigma_points_that_fit_no_dimension():
    model, y, _ = bent()
    with pytest.raises(UserError, match="larger alpha"):
        unscented_kalman_filter(model, y, points=SigmaPoints(alpha=1e-3))
    with pytest.raises(UserError, match="kappa"):
        unscented_kalman_filter(model, y, points=SigmaPoints(kappa=-2.0))

"""The filter and the smoother against one dense Gaussian, conditioned without any recursion."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynarium.ssm import (
    Gaussian,
    LinearGaussian,
    emit,
    kalman_filter,
    predict_ahead,
    rts_smoother,
    sample_posterior,
)
from dynarium.ssm.filtering import observed_steps


def spd(*shape, generator):
    root = torch.randn(*shape, shape[-1], dtype=torch.float64, generator=generator)
    return root @ root.mT / shape[-1] + 0.1 * torch.eye(shape[-1], dtype=torch.float64)


def random_model(seed, b=2, t=6, n=3, p=2, a=2, varying=True, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=g)

    lead = (b, t) if varying else ()
    model = LinearGaussian(
        A=0.6 * normal(*lead, n, n),
        C=normal(*lead, p, n),
        Q=spd(*lead, n, generator=g),
        R=spd(*lead, p, generator=g),
        m0=normal(n),
        P0=spd(n, generator=g),
        B=normal(*lead, n, a),
        D=normal(*lead, p, a),
    )
    model = replace(model, **{f: getattr(model, f).to(dtype) for f in model.__dataclass_fields__})
    return model, normal(b, t, p).to(dtype), normal(b, t, a).to(dtype)


def joint(model, u, b, t):
    """Mean and covariance of (z_1 .. z_T, y_1 .. y_T) for each sequence, from the definition of the model."""
    n = model.A.shape[-1]

    def at(matrix, i, s):
        return matrix.expand(b, t, *matrix.shape[-2:])[i, s]

    means, covs = [], []
    for i in range(b):
        # z = F e + c with independent e_1 = z_1, e_t = transition noise
        mean_z, F = [model.m0], [torch.cat([torch.eye(n), torch.zeros(n, (t - 1) * n)], 1).to(model.m0)]
        for s in range(1, t):
            A = at(model.A, i, s)
            mean_z.append(A @ mean_z[-1] + at(model.B, i, s) @ u[i, s])
            row = A @ F[-1]
            row[:, s * n : (s + 1) * n] += torch.eye(n).to(model.m0)
            F.append(row)
        noise = torch.block_diag(model.P0, *(at(model.Q, i, s) for s in range(1, t)))
        F = torch.cat(F)
        cov_z = F @ noise @ F.T
        C = torch.block_diag(*(at(model.C, i, s) for s in range(t)))
        R = torch.block_diag(*(at(model.R, i, s) for s in range(t)))
        mean_z = torch.cat(mean_z)
        mean_y = C @ mean_z + torch.cat([at(model.D, i, s) @ u[i, s] for s in range(t)])
        means.append(torch.cat([mean_z, mean_y]))
        covs.append(torch.cat([torch.cat([cov_z, cov_z @ C.T], 1), torch.cat([C @ cov_z, C @ cov_z @ C.T + R], 1)]))
    return means, covs


def condition(mean, cov, wanted, given_, values):
    """Condition a Gaussian on some of its entries."""
    gain = torch.linalg.solve(cov[given_][:, given_], cov[given_][:, wanted]).T
    return mean[wanted] + gain @ (values - mean[given_]), cov[wanted][:, wanted] - gain @ cov[given_][:, wanted]


def close(a, b, tolerance=1e-10):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("mask_kind", ["none", "step", "dimension"])
@pytest.mark.parametrize(("varying", "p"), [(True, 2), (False, 2), (True, 1), (True, 3)])
def test_filter_and_smoother_equal_dense_conditioning(mask_kind, varying, p):
    b, t, n = 2, 5, 3
    model, y, u = random_model(1, b=b, t=t, n=n, p=p, varying=varying)
    g = torch.Generator().manual_seed(7)
    mask = None
    if mask_kind != "none":
        mask = torch.rand((b, t) if mask_kind == "step" else (b, t, p), generator=g) > 0.4
    seen = torch.ones(b, t, p, dtype=torch.bool) if mask is None else mask.view(b, t, -1).expand(b, t, p)
    filtered = kalman_filter(model, y, mask, u)
    smoothed = rts_smoother(model, filtered)
    means, covs = joint(model, u, b, t)
    for i in range(b):
        rows = t * n + seen[i].flatten().nonzero().squeeze(1)
        for s in range(t):
            z = torch.arange(s * n, (s + 1) * n)
            past = rows[rows < t * n + (s + 1) * p]
            mean, cov = condition(means[i], covs[i], z, past, y[i].flatten()[past - t * n])
            close(filtered.mean[i, s], mean)
            close(filtered.cov[i, s], cov)
            before = rows[rows < t * n + s * p]
            mean, cov = condition(means[i], covs[i], z, before, y[i].flatten()[before - t * n])
            close(filtered.predicted_mean[i, s], mean)
            close(filtered.predicted_cov[i, s], cov)
            mean, cov = condition(means[i], covs[i], z, rows, y[i].flatten()[rows - t * n])
            close(smoothed.mean[i, s], mean)
            close(smoothed.cov[i, s], cov)
            if s + 1 < t:
                pair = torch.arange(s * n, (s + 2) * n)
                _, cov = condition(means[i], covs[i], pair, rows, y[i].flatten()[rows - t * n])
                close(smoothed.cross_cov[i, s], cov[n:, :n])
        if len(rows):
            dense = torch.distributions.MultivariateNormal(means[i][rows], covs[i][rows][:, rows])
            close(filtered.log_likelihood[i].sum(), dense.log_prob(y[i].flatten()[rows - t * n]))


@pytest.mark.parametrize("k", [1, 3])
def test_predictions_k_steps_ahead_equal_dense_conditioning(k):
    b, t, n, p = 2, 6, 3, 2
    model, y, u = random_model(3, b=b, t=t)
    filtered = kalman_filter(model, y, u=u)
    states = predict_ahead(model, filtered, k, u)
    observations = emit(model, states, u, start=k)
    means, covs = joint(model, u, b, t)
    for i in range(b):
        for s in range(t - k):
            past = t * n + torch.arange((s + 1) * p)
            wanted = t * n + torch.arange((s + k) * p, (s + k + 1) * p)
            mean, cov = condition(means[i], covs[i], wanted, past, y[i].flatten()[: (s + 1) * p])
            close(observations.mean[i, s], mean)
            close(observations.cov[i, s], cov)
    assert states.mean.shape == (b, t - k, n)
    with pytest.raises(ValueError, match="k: expected 1"):
        predict_ahead(model, filtered, t)


def test_a_masked_step_is_a_deleted_step():
    model, y, _ = random_model(5, b=1, t=5, varying=False)
    model = replace(model, B=None, D=None)
    mask = torch.tensor([[True, True, False, True, True]])
    masked = kalman_filter(model, y, mask)
    # Deleting the observation of step 2: two transitions in one.
    A, Q = model.A, model.Q
    kept = [0, 1, 3, 4]
    longer = torch.stack([A, A, A @ A, A])
    noisier = torch.stack([Q, Q, A @ Q @ A.mT + Q, Q])
    deleted = kalman_filter(replace(model, A=longer, Q=noisier), y[:, kept])
    close(masked.mean[:, kept], deleted.mean)
    close(masked.cov[:, kept], deleted.cov)
    close(masked.log_likelihood[:, kept], deleted.log_likelihood)
    assert masked.log_likelihood[0, 2] == 0
    smoothed, without = rts_smoother(model, masked), rts_smoother(replace(model, A=longer, Q=noisier), deleted)
    close(smoothed.mean[:, kept], without.mean)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([float("nan"), float("inf"), 1e30, -7.0]), st.booleans())
def test_masked_content_cannot_matter(seed, junk, per_dimension):
    model, y, u = random_model(seed, dtype=torch.float32)
    g = torch.Generator().manual_seed(seed)
    mask = torch.rand(y.shape if per_dimension else y.shape[:2], generator=g) > 0.5
    hidden = ~(mask if per_dimension else mask[..., None].expand_as(y))
    a, b = (kalman_filter(model, torch.where(hidden, value, y), mask, u) for value in (0.0, junk))
    for name in a.__dataclass_fields__:
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    assert torch.equal(rts_smoother(model, a).mean, rts_smoother(model, b).mean)
    drawn = [sample_posterior(model, f, 2, torch.Generator().manual_seed(1)) for f in (a, b)]
    assert torch.equal(*drawn)


def test_masked_content_has_no_gradient():
    model, y, u = random_model(4)
    y = y.clone()
    mask = torch.ones(2, 6, dtype=torch.bool)
    mask[:, 2] = False
    y[:, 2] = float("nan")
    y.requires_grad_()
    kalman_filter(model, y, mask, u).log_likelihood.sum().backward()
    assert y.grad is not None and (y.grad[:, 2] == 0).all() and y.grad.isfinite().all()


def test_lengths_are_masks_of_the_tail():
    model, y, u = random_model(6, b=3, t=6)
    lengths = torch.tensor([6, 4, 1])
    filtered = kalman_filter(model, y, u=u, lengths=lengths)
    smoothed = rts_smoother(model, filtered)
    for i, length in enumerate(lengths.tolist()):
        alone = replace(
            model,
            **{f: getattr(model, f)[i : i + 1, :length] for f in "ACQRBD"},
        )
        short = kalman_filter(alone, y[i : i + 1, :length], u=u[i : i + 1, :length])
        close(filtered.log_likelihood[i, :length], short.log_likelihood[0])
        close(smoothed.mean[i, :length], rts_smoother(alone, short).mean[0])
        assert (filtered.log_likelihood[i, length:] == 0).all()


def test_smoothed_equals_filtered_at_the_end():
    model, y, u = random_model(8)
    filtered = kalman_filter(model, y, u=u)
    smoothed = rts_smoother(model, filtered)
    assert torch.equal(smoothed.mean[:, -1], filtered.mean[:, -1])
    assert torch.equal(smoothed.cov[:, -1], filtered.cov[:, -1])


@pytest.mark.parametrize("p", [1, 2, 3])
def test_gradients(p):
    model, y, _ = random_model(2, b=1, t=3, n=2, p=p, a=1)
    mask = torch.tensor([[True, False, True]])

    def outputs(A, C, y, root_q, root_r):
        changed = replace(model, A=A, C=C, Q=root_q @ root_q.mT, R=root_r @ root_r.mT, B=None, D=None)
        filtered = kalman_filter(changed, y, mask)
        smoothed = rts_smoother(changed, filtered)
        return filtered.log_likelihood, smoothed.mean, smoothed.cov, smoothed.cross_cov

    inputs = (model.A, model.C, y, torch.linalg.cholesky(model.Q), torch.linalg.cholesky(model.R))
    assert torch.autograd.gradcheck(outputs, tuple(x.detach().requires_grad_() for x in inputs))


def test_posterior_samples_have_the_smoothed_moments():
    model, y, u = random_model(9, b=1, t=4)
    filtered = kalman_filter(model, y, u=u)
    smoothed = rts_smoother(model, filtered)
    z = sample_posterior(model, filtered, samples=40_000, generator=torch.Generator().manual_seed(0))[:, 0]
    n = len(z)
    centred = z - smoothed.mean[0]
    error = smoothed.cov[0].diagonal(dim1=-2, dim2=-1).sqrt() / n**0.5
    assert ((centred.mean(0) / error).abs() < 4.5).all()
    cov = torch.einsum("sti,stj->tij", centred, centred) / n
    cross = torch.einsum("sti,stj->tij", centred[:, 1:], centred[:, :-1]) / n
    assert (cov - smoothed.cov[0]).abs().max() < 0.03 * smoothed.cov.abs().max()
    assert (cross - smoothed.cross_cov[0]).abs().max() < 0.03 * smoothed.cov.abs().max()


def test_float32_stays_positive_definite_over_a_long_horizon():
    t = 2000
    dt = 0.01
    A = torch.tensor([[1.0, dt], [0.0, 1.0]])
    model = LinearGaussian(
        A=A,
        C=torch.tensor([[1.0, 0.0]]),
        Q=1e-6 * torch.eye(2),
        R=torch.eye(1) * 1e-2,
        m0=torch.zeros(2),
        P0=20 * torch.eye(2),
    )
    y = torch.sin(torch.arange(t) * dt)[None, :, None] + 0.1 * torch.randn(
        1, t, 1, generator=torch.Generator().manual_seed(0)
    )
    filtered = kalman_filter(model, y)
    smoothed = rts_smoother(model, filtered)
    exact = replace(model, **{f: getattr(model, f).double() for f in ("A", "C", "Q", "R", "m0", "P0")})
    reference = rts_smoother(exact, kalman_filter(exact, y.double()))
    assert torch.linalg.eigvalsh(smoothed.cov).min() > 0
    assert torch.linalg.eigvalsh(filtered.cov).min() > 0
    close(smoothed.mean.double(), reference.mean, 2e-3)


def test_bad_arguments_say_what_was_wanted():
    model, y, u = random_model(0)
    with pytest.raises(ValueError, match="varies over 6 steps, not 4"):
        kalman_filter(model, y[:, :4], u=u[:, :4])
    with pytest.raises(ValueError, match="neither B nor D"):
        kalman_filter(replace(model, B=None, D=None), y, u=u)
    with pytest.raises(ValueError, match=r"mask: a shape that starts with \(2, 6\)"):
        observed_steps(torch.ones(2, 5, dtype=torch.bool), None, 2, 6)


def test_emit_of_shared_parameters():
    model, _, _ = random_model(0, varying=False)
    states = Gaussian(mean=torch.zeros(2, 4, 3, dtype=torch.float64), cov=torch.zeros(2, 4, 3, 3, dtype=torch.float64))
    observed = emit(model, states)
    close(observed.cov, model.R.expand(2, 4, 2, 2))

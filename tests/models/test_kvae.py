"""The KVAE: what is hidden cannot matter, the fast path is the slow path, the objective is the formula."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.distributions import Bernoulli, MultivariateNormal, Normal

from dynarium.errors import UserError
from dynarium.models.capabilities import Encodes, Forecasts, Imputes, Model, Reconstructs
from dynarium.models.kvae import KVAEConfig
from dynarium.objectives.schedules import Linear
from dynarium.ssm import emit, kalman_filter, predict_ahead
from dynarium.types import SequenceBatch
from videos import MASK, random_video

SMALL = KVAEConfig(frame=(1, 8, 8), channels=(8, 8), hidden=6, state=3)


def model_of(**changed):
    torch.manual_seed(0)
    model = replace(SMALL, **changed).build()
    with torch.no_grad():  # away from the symmetric start, so that modes and time matter
        model.A.add_(0.2 * torch.randn_like(model.A))
        model.C.add_(torch.randn_like(model.C))
        if model.first is not None:
            model.first.normal_()
    return model


batch_of = partial(random_video, t=6, side=8)


def test_capabilities():
    model = model_of()
    assert all(isinstance(model, capability) for capability in (Model, Encodes, Reconstructs, Imputes, Forecasts))


@pytest.mark.parametrize("modes", [1, 3])
@pytest.mark.parametrize("control", [0, 2])
def test_hidden_frames_cannot_matter(modes, control):
    model = model_of(modes=modes, control=control).eval()
    batch = replace(batch_of(control=control), mask=MASK)
    noise = torch.randint(256, batch.video.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
    hidden = ~MASK[..., None, None, None]
    other = replace(batch, video=torch.where(hidden, noise, batch.video))
    for name, frames in model.impute(batch).items():
        assert torch.equal(frames, model.impute(other)[name]), name
    for name, values in model.encode(batch).items():
        assert torch.equal(values, model.encode(other)[name]), name
    assert torch.equal(model.loss(batch, 0)[0], model.loss(other, 0)[0])
    action = torch.zeros(3, 4, control) if control else None
    assert torch.equal(model.forecast(batch, 4, action=action), model.forecast(other, 4, action=action))
    broken = replace(batch, video=torch.where(hidden, float("nan"), batch.video / 255))
    assert model.impute(broken)["smooth"].isfinite().all()
    assert model.loss(broken, 0)[0].isfinite()
    if modes > 1:
        seen = torch.where(hidden, batch.video, noise)
        assert not torch.equal(model.impute(batch)["smooth"], model.impute(replace(batch, video=seen))["smooth"])


def test_lengths_hide_the_tail():
    model, batch = model_of().eval(), batch_of()
    lengths = torch.tensor([6, 4, 2])
    mask = torch.arange(6) < lengths[:, None]
    by_length, by_mask = model.impute(replace(batch, length=lengths)), model.impute(replace(batch, mask=mask))
    assert torch.equal(by_length["smooth"], by_mask["smooth"])


@pytest.mark.parametrize("control", [0, 2])
def test_the_unrolled_path_is_the_fast_path_when_all_is_seen(control):
    model, batch = model_of(control=control), batch_of(control=control)
    a, _ = model.posterior_of(batch.video)
    fast, slow = (
        model.dynamics(a, None, batch.action),
        model.dynamics(a, torch.ones(3, 6, dtype=torch.bool), batch.action),
    )
    torch.testing.assert_close(fast.weights, slow.weights)
    torch.testing.assert_close(fast.A, slow.A)


def test_missing_inputs_are_predictions():
    """Where a_t is hidden, the LSTM reads C_t m_{t|t-1}: feeding it explicitly changes nothing."""
    model = model_of().eval()
    batch = replace(batch_of(), mask=MASK)
    inferred = model.infer(batch)
    refed = model.dynamics(inferred["a"], None)
    torch.testing.assert_close(refed.weights, inferred["weights"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("objective", ["elbo", "beta"])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_the_loss_is_its_formula(objective, likelihood):
    model = model_of(objective=objective, likelihood=likelihood).eval()
    batch = batch_of()
    loss, terms = model.loss(batch, 0)
    mean, variance = model.posterior_of(batch.video)
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(0))
    a = mean + variance.sqrt() * noise
    x, pixels = batch.video / 255, model.decode(a)
    p_x = Bernoulli(logits=pixels, validate_args=False) if likelihood == "bernoulli" else Normal(pixels, math.sqrt(0.1))
    log_x = p_x.log_prob(x).sum((2, 3, 4))
    log_q = Normal(mean, variance.sqrt()).log_prob(a).sum(-1)
    dynamics = model.dynamics(a)
    log_a = _marginal(dynamics, model, a)
    count = a.shape[0] * a.shape[1]
    wanted = (log_x.sum() - log_q.sum() + log_a) / count
    if objective == "beta":
        wanted = wanted + Normal(0.0, 1.0).log_prob(a).sum() / count
    torch.testing.assert_close(-loss, wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(terms["elbo"], terms["log_p_x"] - terms["log_q_a"] + terms["log_p_a"])
    torch.testing.assert_close(terms["kl_a"], terms["log_p_x"] - terms["elbo"])


@pytest.mark.parametrize("control", [0, 2])
def test_the_bound_is_the_objective_of_evaluation_and_sees_nothing_hidden(control):
    model = model_of(likelihood="gaussian", control=control).eval()
    for mask in (None, MASK):
        batch = replace(batch_of(control=control), mask=mask)
        count = 18 if mask is None else int(mask.sum())
        torch.testing.assert_close(model.bound(batch).sum() / count, model.loss(batch, 0)[1]["elbo"])
    broken = replace(batch, video=torch.where(MASK[..., None, None, None], batch.video / 255, float("nan")))
    assert torch.equal(model.bound(broken), model.bound(batch))
    weights = model.log_weights(batch, 5, torch.Generator().manual_seed(1))
    assert weights.shape == (5, 3) and (weights.std(0) > 0).all()


def _marginal(dynamics, model, a):
    """log p(a) of each sequence as one dense Gaussian in float64."""
    total = 0.0
    A, C = dynamics.A.detach().double(), dynamics.C.detach().double()
    n, p = A.shape[-1], C.shape[-2]
    for i in range(len(a)):
        covs = [[None] * a.shape[1] for _ in range(a.shape[1])]
        covs[0][0] = model.P0.double()
        for t in range(1, a.shape[1]):
            for s in range(t):
                covs[t][s] = A[i, t] @ covs[t - 1][s]
                covs[s][t] = covs[t][s].T
            covs[t][t] = A[i, t] @ covs[t - 1][t - 1] @ A[i, t].T + model.Q.double()
        blocks = [
            torch.cat(
                [C[i, t] @ covs[t][s] @ C[i, s].T + (model.R.double() if s == t else 0) for s in range(a.shape[1])], 1
            )
            for t in range(a.shape[1])
        ]
        cov = torch.cat(blocks)
        total += MultivariateNormal(torch.zeros(len(cov), dtype=torch.float64), 0.5 * (cov + cov.T)).log_prob(
            a[i].flatten().double()
        )
    assert n == A.shape[-1] and p == C.shape[-2]
    return total.float()


def test_the_exact_term_is_above_the_sampled_bound():
    """log p(a) from the filter is never below the expectation of the sampled-state bound it replaces."""
    model, batch = model_of(), batch_of()
    a, _ = model.posterior_of(batch.video)
    lgssm = model.linear_gaussian(model.dynamics(a))
    from dynarium.ssm import rts_smoother, sample_posterior

    filtered = kalman_filter(lgssm, a)
    smoothed = rts_smoother(lgssm, filtered)
    g = torch.Generator().manual_seed(0)
    z = sample_posterior(lgssm, filtered, 64, g)
    exact = filtered.log_likelihood.sum(1)
    # Under the joint posterior the integrand is constant and equals log p(a): sampled with independent marginals it is not.
    root = torch.linalg.cholesky(smoothed.cov)
    independent = smoothed.mean + (root @ torch.randn(64, *smoothed.mean.shape, 1, generator=g)).squeeze(-1)

    def joint(z):
        moved = (lgssm.A[:, 1:] @ z[:, :, :-1, :, None]).squeeze(-1)
        log = MultivariateNormal(moved, lgssm.Q).log_prob(z[:, :, 1:]).sum(-1)
        log = log + MultivariateNormal(lgssm.m0, lgssm.P0).log_prob(z[:, :, 0])
        return log + MultivariateNormal((lgssm.C @ z[..., None]).squeeze(-1), lgssm.R).log_prob(a).sum(-1)

    entropy = MultivariateNormal(smoothed.mean, smoothed.cov).entropy().sum(1)
    bound = joint(independent).mean(0) + entropy
    assert (bound < exact).all()
    assert (joint(z).std(0) > 0).all()


def test_loss_in_eval_is_deterministic_and_ignores_the_step():
    model, batch = model_of(mixture_learning=Linear(start=0.0, end=1.0, until=100)).eval(), batch_of()
    assert torch.equal(model.loss(batch, 0)[0], model.loss(batch, 99)[0])
    model.train()
    torch.manual_seed(0)
    first = model.loss(batch, 0)[0]
    assert not torch.equal(first, model.loss(batch, 0)[0])


def test_mixture_learning_scales_the_gradient_only():
    batch, grads, losses = batch_of(), {}, {}
    for value in (0.0, 0.5, 1.0):
        model = model_of(mixture_learning=Linear(start=value, end=value, until=1))
        torch.manual_seed(1)
        loss, _ = model.loss(batch, 5)
        loss.backward()
        losses[value] = loss.item()
        grads[value] = model.mixture.weight.grad.clone()
        assert model.A.grad.abs().sum() > 0
    assert losses[0.0] == pytest.approx(losses[1.0], rel=1e-6) == pytest.approx(losses[0.5], rel=1e-6)
    assert grads[0.0].abs().max() == 0
    torch.testing.assert_close(grads[0.5], 0.5 * grads[1.0], rtol=1e-3, atol=1e-5)


def test_masks_in_training_hide_and_count():
    model = model_of(missing=0.9, observe_first=2)
    batch = batch_of(b=8)
    _, terms = model.loss(batch, 0)
    assert all(value.isfinite() for value in terms.values())


def test_forecast_continues_the_filter():
    """The deterministic forecast equals the prediction of the masked future."""
    model, batch = model_of().eval(), batch_of(t=9)
    mask = torch.arange(9).expand(3, 9) < 5
    imputed = model.impute(replace(batch, mask=mask))["filter"][:, 5:]
    forecast = model.forecast(replace(batch, video=batch.video[:, :5]), 4)[0]
    torch.testing.assert_close(forecast, imputed, rtol=1e-4, atol=1e-5)


def test_forecast_with_actions_continues_the_filter():
    model, batch = model_of(control=2).eval(), batch_of(t=9, control=2)
    mask = torch.arange(9).expand(3, 9) < 5
    imputed = model.impute(replace(batch, mask=mask))["filter"][:, 5:]
    context = SequenceBatch(video=batch.video[:, :5], action=batch.action[:, :5])
    forecast = model.forecast(context, 4, action=batch.action[:, 5:])[0]
    torch.testing.assert_close(forecast, imputed, rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="action: 3 steps wanted for a horizon of 4, got 1"):
        model.forecast(context, 4, action=batch.action[:, 5:6])
    assert not torch.allclose(model.forecast(context, 4, action=-batch.action[:, 5:])[0], forecast)
    with pytest.raises(UserError, match="action: the context has none"):
        model.forecast(replace(context, action=None), 4, action=batch.action[:, 5:])


@pytest.mark.parametrize("dtype", [torch.int64, torch.float64])
def test_actions_of_any_number_type(dtype):
    model, batch = model_of(control=2).eval(), replace(batch_of(control=2), mask=MASK)
    action = batch.action.round()
    wanted, got = (replace(batch, action=a) for a in (action, action.to(dtype)))
    assert torch.equal(model.loss(wanted, 0)[0], model.loss(got, 0)[0])
    assert torch.equal(model.impute(wanted)["smooth"], model.impute(got)["smooth"])


def test_a_model_without_controls_ignores_actions():
    model, batch = model_of().eval(), replace(batch_of(control=2), mask=MASK)
    without = replace(batch, action=None)
    assert torch.equal(model.loss(batch, 0)[0], model.loss(without, 0)[0])
    assert torch.equal(model.impute(batch)["smooth"], model.impute(without)["smooth"])


def test_sampled_futures_have_the_predictive_moments(monkeypatch):
    """With one mode the future is Gaussian and known: samples have its means, covariances and correlations in time."""
    model, batch, steps, samples = model_of(modes=1, control=2).eval(), batch_of(b=1, t=8, control=2), 5, 20_000
    drawn, decode = [], model.frames
    monkeypatch.setattr(model, "frames", lambda a: (drawn.append(a), decode(a[:1]))[1].expand(len(a), -1, -1, -1, -1))
    context = SequenceBatch(video=batch.video[:, :steps], action=batch.action[:, :steps])
    model.forecast(
        context, 3, action=batch.action[:, steps:], samples=samples, generator=torch.Generator().manual_seed(0)
    )
    a, control = drawn[0], model._control(batch.action)
    lgssm = model.linear_gaussian(model.dynamics(model.posterior_of(batch.video)[0], None, batch.action))
    filtered = kalman_filter(lgssm, model.posterior_of(batch.video)[0], torch.arange(8)[None] < steps, control)
    for k in (1, 2, 3):
        ahead = emit(lgssm, predict_ahead(lgssm, filtered, k, control), start=k)
        mean, cov = ahead.mean[0, steps - 1], ahead.cov[0, steps - 1]
        assert ((a[:, k - 1].mean(0) - mean) / (cov.diagonal() / samples).sqrt()).abs().max() < 4
        assert (torch.cov(a[:, k - 1].T) - cov).abs().max() < 0.04 * cov.abs().max()
    A, C, P = lgssm.A[0, 0], lgssm.C[0, 0], filtered.predicted_cov[0, steps]
    across = torch.cov(a[:, ::2].flatten(1).T)[:2, 2:]
    assert (across - C @ P @ (A @ A).T @ C.T).abs().max() < 0.04 * cov.abs().max()


def test_samples_differ_and_repeat():
    model, batch = model_of().eval(), batch_of()

    def draw(seed):
        return model.forecast(batch, 5, samples=3, generator=torch.Generator().manual_seed(seed))

    first = draw(0)
    assert first.shape == (3, 3, 5, 1, 8, 8)
    assert torch.equal(first, draw(0))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, draw(1))
    assert torch.equal(*model.forecast(batch, 5, samples=2))


def test_bad_input_says_what_was_wanted():
    with pytest.raises(UserError, match="model.modes: expected at least 1, got 0"):
        KVAEConfig(modes=0)
    with pytest.raises(UserError, match=r"model.missing: expected a probability"):
        KVAEConfig(missing=1.0)
    with pytest.raises(UserError, match="needs the field 'video'; the data has state"):
        KVAEConfig().fitted({"state": (5, 2)})
    model = model_of()
    with pytest.raises(UserError, match=r"frames of shape \(1, 8, 8\) wanted, got \(1, 9, 8\)"):
        model.loss(SequenceBatch(video=torch.zeros(2, 3, 1, 9, 8, dtype=torch.uint8)), 0)
    fitted = KVAEConfig().fitted({"video": (20, 3, 48, 40), "action": (20, 5)})
    assert fitted.frame == (3, 48, 40) and fitted.control == 5
    assert fitted.build().frames(torch.zeros(1, 2, 2)).shape == (1, 2, 3, 48, 40)

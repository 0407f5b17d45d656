"""The deep Kalman filter: what is hidden cannot matter, the bound is one, and its terms are the formula."""

import math
from dataclasses import replace

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from dynarium.errors import UserError
from dynarium.models.capabilities import (
    BoundsLikelihood,
    Encodes,
    Forecasts,
    Imputes,
    Model,
    Reconstructs,
    WeighsSamples,
)
from dynarium.models.dkf import DKFConfig
from dynarium.models.kvae import KVAEConfig
from dynarium.objectives.schedules import Linear
from dynarium.types import SequenceBatch
from videos import MASK

SMALL = DKFConfig(frame=(1, 8, 8), channels=(8, 8), hidden=12, state=3, likelihood="gaussian")
KINDS = [("filter", "gated", 0), ("smooth", "gated", 2), ("smooth", "residual", 0), ("filter", "residual", 2)]


def model_of(seed=0, **changed):
    torch.manual_seed(seed)
    model = replace(SMALL, **changed).build().eval()
    with torch.no_grad():  # away from the start, so that every part matters
        for name in ("absent", "start", "first_mean", "first_log_variance"):
            getattr(model, name).normal_()
    return model


def batch_of(b=3, t=6, seed=0, control=0, side=8):
    g = torch.Generator().manual_seed(seed)
    video = torch.rand(b, t, 1, side, side, generator=g)
    return SequenceBatch(video=video, action=torch.randn(b, t, control, generator=g) if control else None)


def test_capabilities():
    capabilities = (Model, Encodes, Reconstructs, Imputes, Forecasts, BoundsLikelihood, WeighsSamples)
    assert all(isinstance(model_of(), capability) for capability in capabilities)
    assert isinstance(KVAEConfig(frame=(1, 8, 8)).build(), WeighsSamples)


@pytest.mark.parametrize(("inference", "transition", "control"), KINDS)
def test_shapes_and_determinism(inference, transition, control):
    model = model_of(inference=inference, transition=transition, control=control)
    batch = batch_of(control=control)
    assert model.encode(batch)["z"].shape == (3, 6, 3)
    assert model.reconstruct(batch).shape == batch.video.shape
    assert {name: x.shape for name, x in model.impute(batch).items()} == {inference: batch.video.shape}
    assert torch.equal(model.bound(batch), model.bound(batch)) and model.bound(batch).shape == (3,)
    assert model.log_weights(batch, 4).shape == (4, 3)
    action = torch.zeros(3, 5, control) if control else None
    mean = model.forecast(batch, 5, action=action, samples=2)
    assert mean.shape == (2, 3, 5, 1, 8, 8) and torch.equal(mean[0], mean[1])
    drawn = model.forecast(batch, 5, action=action, samples=2, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(drawn[0], drawn[1])
    if control:
        pushed = model.forecast(batch, 5, action=action + 1)
        torch.testing.assert_close(pushed[0, :, 0], mean[0, :, 0])
        assert not torch.allclose(pushed[0, :, 1], mean[0, :, 1])


@pytest.mark.parametrize(("inference", "transition", "control"), KINDS)
def test_hidden_frames_cannot_matter(inference, transition, control):
    model = model_of(inference=inference, transition=transition, control=control)
    batch = replace(batch_of(control=control), mask=MASK)
    hidden = ~MASK[..., None, None, None]
    action = torch.zeros(3, 4, control) if control else None
    for content in (batch_of(seed=5).video, math.nan):
        other = replace(batch, video=torch.where(hidden, content, batch.video))
        assert torch.equal(model.impute(batch)[inference], model.impute(other)[inference])
        assert torch.equal(model.encode(batch)["z"], model.encode(other)["z"])
        assert torch.equal(model.loss(batch, 0)[0], model.loss(other, 0)[0])
        assert torch.equal(model.bound(batch), model.bound(other))
        seeded = [torch.Generator().manual_seed(1) for _ in range(2)]
        weights = [model.log_weights(b, 2, g) for b, g in zip((batch, other), seeded, strict=True)]
        assert torch.equal(*weights)
        assert torch.equal(model.forecast(batch, 4, action=action), model.forecast(other, 4, action=action))
    seen = torch.where(hidden, batch.video, batch_of(seed=5).video)
    assert not torch.equal(model.impute(batch)[inference], model.impute(replace(batch, video=seen))[inference])


@pytest.mark.parametrize("inference", ["filter", "smooth"])
def test_what_follows_the_last_frame_is_the_forecast(inference):
    """Hiding the tail, cutting it off and forecasting it are the same question."""
    model, batch = model_of(inference=inference), batch_of()
    mask = (torch.arange(6) < 4).expand(3, 6)
    imputed = model.impute(replace(batch, mask=mask))[inference]
    short = SequenceBatch(video=batch.video[:, :4])
    torch.testing.assert_close(imputed[:, 4:], model.forecast(short, 2)[0], rtol=1e-4, atol=1e-5)
    shortened = replace(batch, length=torch.full((3,), 4))
    assert torch.equal(model.bound(shortened), model.bound(replace(batch, mask=mask)))
    drawn = model.log_weights(shortened, 400, torch.Generator().manual_seed(0))
    cut = model.log_weights(short, 400, torch.Generator().manual_seed(1))
    error = (drawn.var(0) / 400 + cut.var(0) / 400).sqrt()
    assert ((drawn.mean(0) - cut.mean(0)).abs() < 4 * error).all()


@pytest.mark.parametrize("inference", ["filter", "smooth"])
def test_what_a_posterior_may_see(inference):
    """q(z_t | z_{t-1}, ..) of the filter sees no later frame, that of the smoother no earlier one but through z_{t-1}."""
    model, batch = model_of(inference=inference), batch_of()
    other = replace(batch, video=batch.video.clone())
    other.video[:, 3] = 0.0
    control = torch.zeros(3, 6, 0)
    changed = model.summaries(batch.video, None, control) != model.summaries(other.video, None, control)
    wanted = torch.arange(6) >= 3 if inference == "filter" else torch.arange(6) <= 3
    assert torch.equal(changed.any(-1).any(0), wanted)


@pytest.mark.parametrize(("inference", "transition", "control"), KINDS)
def test_the_loss_is_its_formula(inference, transition, control):
    """A plain loop over the steps, with torch's own densities and divergences."""
    model = model_of(
        inference=inference, transition=transition, control=control, kl_weight=Linear(start=0.2, end=1.0, until=10)
    )
    batch = batch_of(control=control)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(3, 6, 3, generator=generator)
    u = torch.zeros(3, 6, control)
    if control:
        u[:, 1:] = batch.action[:, :-1]
    e = torch.relu(model.features(model.encoder(batch.video.flatten(0, 1)))).unflatten(0, (3, 6))
    inputs = torch.cat([e, u], -1)
    order = range(6) if inference == "filter" else range(5, -1, -1)
    h, hidden = [None] * 6, None
    for t in order:
        output, hidden = model.summary(inputs[:, t : t + 1], hidden)
        h[t] = output[:, 0]
    z, log_x, kl = model.start.expand(3, -1), 0.0, 0.0
    for t in range(6):
        prior = (model.first_mean, model.first_log_variance) if t == 0 else model.transition(z, u[:, t])
        mean, log_variance = model.posterior((torch.tanh(model.combined(z)) + h[t]) / 2).chunk(2, -1)
        q = Normal(mean, (log_variance / 2).exp())
        kl = kl + kl_divergence(q, Normal(prior[0], (prior[1] / 2).exp())).sum()
        z = mean + q.scale * noise[:, t]
        log_x = log_x + Normal(model.decode(z[:, None])[:, 0], math.sqrt(0.1)).log_prob(batch.video[:, t]).sum()
    loss, terms = model.loss(batch, 0)
    torch.testing.assert_close(loss, (kl - log_x) / 18, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.bound(batch).sum(), log_x - kl, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(terms["elbo"], -loss)


def test_the_divergence_agrees_with_sampling():
    """log q - log p of drawn paths averages to the closed-form divergences along them, step by step."""
    model, batch = model_of(), batch_of(b=1, t=4)
    h = model.summaries(batch.video, None, torch.zeros(1, 4, 0)).expand(20_000, -1, -1)
    noise = torch.randn(20_000, 4, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        path = model.path(h, None, torch.zeros(20_000, 4, 0), noise)
    q = Normal(path.mean, (path.log_variance / 2).exp())
    p = Normal(path.prior_mean, (path.prior_log_variance / 2).exp())
    closed = kl_divergence(q, p).sum(-1).mean(0)
    sampled = (q.log_prob(path.z) - p.log_prob(path.z)).sum(-1)
    error = sampled.std(0) / math.sqrt(20_000)
    assert ((sampled.mean(0) - closed).abs() < 4 * error).all()


def linear_gaussian_dkf(control):
    """A model whose transition and emission are affine: its exact evidence is that of one Gaussian."""
    model = model_of(frame=(1, 4, 4), channels=(4,), state=2, control=control, pixel_variance=0.3)
    with torch.no_grad():
        model.transition.gate[2].weight.zero_()
        model.transition.gate[2].bias.fill_(-1e4)
        model.transition.spread.weight.zero_()
        model.transition.linear.weight.add_(0.3 * torch.randn_like(model.transition.linear.weight))
        model.transition.linear.bias.normal_()
        model.posterior.bias[2:].fill_(1.0)  # a wide q makes good weights
    return model


def linear_gaussian_kvae(control):
    config = KVAEConfig(
        frame=(1, 4, 4), channels=(4,), modes=1, state=3, control=control, likelihood="gaussian", pixel_variance=0.3
    )
    torch.manual_seed(1)
    model = replace(config, initial_variance=0.1, emission_variance=1.0).build().eval()
    with torch.no_grad():
        model.posterior.bias[2:].fill_(4.0)  # a wide q makes good weights
        model.A.add_(0.3 * torch.randn_like(model.A))
        model.C.add_(0.5 * torch.randn_like(model.C))
    return model


def affine(decode, n):
    """Return matrix and offset of an affine decoder."""
    with torch.no_grad():
        offset = decode(torch.zeros(1, 1, n)).flatten().double()
        return decode(torch.eye(n)[None])[0].flatten(1).double().T - offset[:, None], offset


def evidence(video, A, pushes, first, Q, D, offset, noise):
    """Return log p(x) of x_t = D z_t + offset + N(0, noise), z_t = A z_{t-1} + push_t + N(0, Q), as one dense Gaussian."""
    b, t = video.shape[:2]
    means, covs = [first[0].expand(b, -1)], [[first[1]]]
    for i in range(1, t):
        means.append(means[-1] @ A.T + pushes[:, i])
        row = [A @ block for block in covs[-1]]
        row.append(row[-1] @ A.T + Q)
        for s in range(i):
            covs[s].append(row[s].T)
        covs.append(row)
    cov = torch.cat([torch.cat([D @ block @ D.T for block in row], 1) for row in covs])
    for i in range(t):
        part = slice(i * len(D), (i + 1) * len(D))
        cov[part, part] += noise
    mean = torch.stack(means, 1) @ D.T + offset
    return MultivariateNormal(mean.flatten(1), 0.5 * (cov + cov.T)).log_prob(video.double().flatten(1))


@pytest.mark.parametrize("control", [0, 1])
def test_bounds_of_a_linear_gaussian_dkf_lie_below_its_evidence_and_close_in_on_it(control):
    model, batch = linear_gaussian_dkf(control), batch_of(t=2, control=control, side=4)
    D, offset = affine(model.decode, 2)
    weight, bias = model.transition.linear.weight.detach().double(), model.transition.linear.bias.detach().double()
    _, log_variance = model.transition(torch.zeros(2), torch.zeros(control))
    pushes = torch.zeros(3, 2, 2, dtype=torch.float64) + bias
    if control:
        pushes[:, 1] += batch.action[:, 0].double() @ weight[:, 2:].T
    first = model.first_mean.detach().double(), model.first_log_variance.detach().double().exp().diag()
    Q = log_variance.detach().double().exp().diag()
    exact = evidence(batch.video, weight[:, :2], pushes, first, Q, D, offset, 0.3 * torch.eye(16))
    check_bounds(model, batch, exact)


def test_bounds_of_a_linear_gaussian_kvae_lie_below_its_evidence_and_close_in_on_it():
    model, batch = linear_gaussian_kvae(1), batch_of(t=2, control=1, side=4)
    D, offset = affine(model.decode, 2)
    A, B, C = (x[0].detach().double() for x in (model.A, model.B, model.C))
    pushes = torch.zeros(3, 2, 3, dtype=torch.float64)
    pushes[:, 1] = batch.action[:, 0].double() @ B.T
    first = model.m0.double(), model.P0.double()
    noise = 0.3 * torch.eye(16) + D @ model.R.double() @ D.T
    exact = evidence(batch.video, A, pushes, first, model.Q.double(), D @ C, offset, noise)
    check_bounds(model, batch, exact)


def check_bounds(model, batch, exact, draws=20_000):
    """The mean log-weight is below, and log-mean-exp of ever more draws rises to, the evidence."""
    weights = model.log_weights(batch, draws, torch.Generator().manual_seed(0)).double()
    elbo = weights.mean(0)
    tight = weights.logsumexp(0) - math.log(draws)
    ten = (weights.unflatten(0, (-1, 10)).logsumexp(1) - math.log(10)).mean(0)
    assert (elbo < ten).all() and (ten < exact).all()
    relative = (weights - tight).exp()
    assert (relative.std(0) / draws**0.5 < 0.1).all()  # enough draws for the last comparison to mean something
    assert ((tight - exact).abs() < 5 * relative.std(0) / draws**0.5 + 1e-3).all()


def test_training_raises_the_bound():
    torch.manual_seed(0)
    model = replace(SMALL, control=1, missing=0.3, kl_weight=Linear(start=0.0, end=1.0, until=20)).build()
    side = torch.arange(8)
    place = (torch.arange(6) + torch.arange(16)[:, None]) % 8
    video = (side == place[..., None]).float()[:, :, None, None, :].expand(-1, -1, 1, 8, -1)
    batch = SequenceBatch(video=video, action=torch.zeros(16, 6, 1))
    before = model.eval().bound(batch).mean()
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    model.train()
    for step in range(60):
        optimiser.zero_grad()
        model.loss(batch, step)[0].backward()
        optimiser.step()
    assert model.eval().bound(batch).mean() > before + 50


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"state": 0}, "model.state"), ({"missing": 1.0}, "model.missing"), ({"pixel_variance": 0.0}, "pixel_variance")],
)
def test_bad_options(changed, message):
    with pytest.raises(UserError, match=message):
        replace(SMALL, **changed)


def test_missing_actions_are_named():
    with pytest.raises(UserError, match="action"):
        model_of(control=2).bound(batch_of())

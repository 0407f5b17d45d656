"""SRVP: the loss is the bound of the model step by step; later and hidden frames cannot matter."""

from dataclasses import replace

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from dynarium.errors import UserError
from dynarium.models import MODELS
from dynarium.models.capabilities import Encodes, Forecasts, ForeseesChance, Model, Reconstructs
from dynarium.models.srvp import SRVPConfig
from dynarium.models.video import encoded_steps
from videos import bars, losses_of, random_video, roughened, seeded

SMALL = SRVPConfig(
    frame=(1, 32, 32), width=3, embedding=6, state=3, latent=2, content=4, hidden=5, context=2, substeps=2
)


def model_of(**options):
    torch.manual_seed(0)
    return roughened(replace(SMALL, **options).build())


def test_capabilities():
    torch.manual_seed(0)
    model, batch = MODELS["srvp"]().fitted({"video": (5, 1, 32, 32)}).build(), random_video()
    for wanted in (Model, Encodes, Reconstructs, Forecasts):
        assert isinstance(model, wanted)
    loss, _ = model.loss(batch, 0)
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())
    model = model_of().eval()
    assert torch.equal(model.loss(batch, 0)[0], model.loss(batch, 9)[0])
    assert model.encode(batch)["y"].shape == (3, 5, 3)
    assert model.reconstruct(batch).shape == batch.video.shape
    frames = model.forecast(batch, 3, samples=2, generator=seeded())
    assert frames.shape == (2, 3, 3, 1, 32, 32) and not torch.equal(frames[0], frames[1])
    assert torch.equal(frames, model.forecast(batch, 3, samples=2, generator=seeded()))
    mean = model.forecast(batch, 3, samples=2)
    assert torch.equal(mean[0], mean[1])
    with torch.autocast("cpu", torch.bfloat16):
        assert model.forecast(batch, 1).dtype == torch.float32


@pytest.mark.parametrize("actions", ["none", "raw"])
def test_the_loss_is_the_bound_step_by_step(actions):
    model = model_of(actions=actions, control=2 if actions == "raw" else 0).double().eval()
    batch = random_video(control=2 if actions == "raw" else 0)
    x = batch.video.double() / 255
    g = seeded()
    first, noise = torch.randn(3, 3, generator=g, dtype=x.dtype), torch.randn(3, 4, 2, generator=g, dtype=x.dtype)
    h, skips = encoded_steps(model.encoder, x, 2)
    mean, log_variance, _ = model.first(h[:, [1, 0]])
    q = Normal(mean[:, -1], (0.5 * log_variance[:, -1]).exp())
    kl = kl_divergence(q, Normal(torch.zeros_like(q.mean), 1.0)).sum()
    y, residuals, states = q.mean + q.stddev * first, [], []
    states.append(y)
    mean, log_variance, _ = model.posterior(h)
    for t in range(1, 5):
        u = batch.action[:, t - 1].double() if actions == "raw" else x.new_zeros(3, 0)
        q = Normal(mean[:, t], (0.5 * log_variance[:, t]).exp())
        m, v = model.prior(torch.cat([y, u], 1)).chunk(2, 1)
        kl = kl + kl_divergence(q, Normal(m, (0.5 * v).exp())).sum()
        z, before = q.mean + q.stddev * noise[:, t - 1], y
        for _ in range(2):
            y = y + 0.5 * model.motion(torch.cat([y, z, u], 1))
        states.append(y)
        residuals.append(y - before)
    w = model.summary(model.element(h[:, :2]).mean(1))
    error = 0.0
    for t, y in enumerate(states):
        frame = model.decoder(torch.cat([y, w], 1), [s[3:] for s in skips], [0]).sigmoid()
        error = error + (frame - x[:, t]).square().mean()
    wanted = error + 1e-4 * kl / 3 + 1e-3 * torch.stack(residuals).square().mean()
    found, _ = model.loss(replace(batch, video=x), 0)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-9)


def test_a_forecast_goes_on_from_the_states_of_the_context():
    """At the means: the first forecast state is the moved last one."""
    model, batch = model_of(context=5).eval(), random_video()
    y = model.encode(batch)["y"][:, -1]
    nothing = y.new_zeros(3, 0)
    y, _ = model.moved(y, model.prior_of(y, nothing)[0], nothing)
    h, skips = encoded_steps(model.encoder, batch.video.float() / 255)
    frame = model.read_off(y[:, None], model.content(h, None), [s[-3:] for s in skips])
    torch.testing.assert_close(model.forecast(batch, 1)[0], frame)


def test_later_and_hidden_frames_cannot_matter(monkeypatch):
    model, batch = model_of(context=4).eval(), random_video()
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[:, 2:4] = False
    other = torch.where(mask[..., None, None, None], batch.video, 255 - batch.video)
    asks = (
        lambda b: model.forecast(b, 2, samples=2, generator=seeded()),
        lambda b: model.encode(b)["y"],
        lambda b: model.loss(b, 0)[0],
        lambda b: model.beliefs(b).prior_mean,
    )
    for ask in asks:
        seen = ask(replace(batch, mask=mask))
        assert torch.equal(seen, ask(replace(batch, video=other, mask=mask)))
        assert not torch.equal(seen, ask(batch))
    many = model.forecast(batch, 2, samples=5, generator=seeded())
    monkeypatch.setattr("dynarium.models.srvp.FRAMES_AT_ONCE", 12)
    torch.testing.assert_close(model.forecast(batch, 2, samples=5, generator=seeded()), many, rtol=1e-4, atol=1e-5)
    cold = model.forecast(batch, 2, samples=5, generator=seeded(), temperature=0.0)
    assert cold.std(0).mean() < many.std(0).mean()


def test_priors_after_the_given_frames_have_not_seen_theirs():
    model, batch = model_of(context=4, hidden=16).eval(), random_video()
    assert isinstance(model, ForeseesChance)
    changed = batch.video.clone()
    changed[:, 2:] = 255 - changed[:, 2:]
    later = replace(batch, video=changed)
    prior, other = (model.beliefs(b, context=2).prior_mean for b in (batch, later))
    assert torch.equal(prior[:, :2], other[:, :2]) and not torch.equal(prior[:, 2], other[:, 2])
    prior, other = (model.beliefs(b).prior_mean for b in (batch, later))
    assert not torch.equal(prior[:, 1], other[:, 1]), "four frames are given"
    assert torch.equal(prior, model.beliefs(batch, context=4).prior_mean)
    assert torch.equal(model.beliefs(batch, context=9).prior_mean, model.beliefs(batch, context=5).prior_mean)
    with pytest.raises(UserError, match="context: expected at least 1 frame, got 0"):
        model.beliefs(batch, context=0)


def test_the_order_of_the_context_is_not_content():
    model = model_of()
    h = torch.randn(2, 4, 6)
    torch.testing.assert_close(model.content(h, None), model.content(h.flip(1), None))


def test_actions_and_the_loss():
    model, batch = model_of(actions="raw", control=2).eval(), random_video(control=2)
    later = torch.randn(3, 3, 2)
    changed = later.clone()
    changed[:, 0] += 1
    one, other = (model.forecast(batch, 3, action=a) for a in (later, changed))
    assert torch.equal(one[:, :, 0], other[:, :, 0]) and not torch.equal(one[:, :, 1], other[:, :, 1])
    with pytest.raises(UserError, match="action"):
        model.loss(replace(batch, action=None), 0)
    torch.manual_seed(0)
    losses = losses_of(replace(SMALL, width=4).build(), bars(), 40)
    assert losses[-1] < 0.4 * losses[0]


def test_impossible_options_are_said():
    with pytest.raises(UserError, match="square frames with a side"):
        replace(SMALL, frame=(1, 48, 48))
    with pytest.raises(UserError, match="residual"):
        replace(SMALL, residual=-1.0)
    with pytest.raises(UserError, match="needs the field 'action'"):
        replace(SMALL, actions="raw").build()

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Normal, kl_divergence

from dots import dot_clips
from dynarium.errors import UserError
from dynarium.models.capabilities import Decodes, Encodes, Forecasts, Imagines, Imputes, Model, Prepares, Reconstructs
from dynarium.models.rssm import RSSMConfig
from dynarium.nn.menet import MeNet


@pytest.fixture(scope="module")
def batch():
    return dot_clips(6, steps=5)


def built(batch, **options):
    torch.manual_seed(0)
    model = replace(RSSMConfig(belief=12, encoder=MeNet(width=1)), **options).build()
    model.prepare([batch])
    return model


def test_the_size_is_the_published_one():
    assert sum(p.numel() for p in RSSMConfig().build().parameters()) == 5_004_064


def test_capabilities(batch):
    model = built(batch, free_nats=0.0)
    for wanted in (Model, Encodes, Reconstructs, Imputes, Forecasts, Imagines, Decodes, Prepares):
        assert isinstance(model, wanted)
    loss, _ = model.loss(batch, 0)
    loss.backward()
    # The prior and the posterior too: the states are reparameterised.
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())
    model.eval()
    assert model.encode(batch)["h"].shape == (6, 5, 12)
    assert model.reconstruct(batch).shape == batch.video.shape
    action = torch.randn(6, 3, 2)
    frames = model.forecast(batch, 3, action=action, samples=2)
    assert frames.shape == (2, 6, 3, 1, 28, 28) and torch.equal(frames[0], frames[1])
    drawn = model.forecast(batch, 3, action=action, samples=2, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(drawn[0], drawn[1])
    start = model.embed(batch.video)[:, 0]
    imagined = model.imagine(start, batch.action[:, :3].requires_grad_())
    assert model.decode(imagined).shape == (6, 3, 1, 28, 28)
    assert imagined.shape == (6, 3, 12) and torch.autograd.grad(imagined.sum(), model.inputs.weight)[0].any()


def test_the_loss_is_the_bound_step_by_step(batch):
    model = built(batch, pixel_variance=0.5).double().eval()
    x = model.normalization.frames((batch.video.float() / 255).double())
    u = batch.action.double() / model.normalization.action_scale
    e = model.encoder(x.flatten(0, 1)).unflatten(0, (6, 5))
    noise = torch.randn(6, 5, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    h, loss = e[:, 0], 0.0
    for t in range(5):
        if t:
            h = model.cell(F.relu(model.inputs(torch.cat([s, u[:, t - 1]], -1))), h)
        hidden = F.relu(model.evidence(torch.cat([e[:, t], h], -1)))
        posterior = Normal(model.posterior_mean(hidden[:, :12]), F.softplus(model.posterior_std(hidden[:, 12:])) + 0.1)
        raw = model.prior(h)
        prior = Normal(raw[:, :12], F.softplus(raw[:, 12:]) + 0.1)
        s = posterior.mean + posterior.stddev * noise[:, t]
        frames = model.decoder(torch.cat([s, h], -1))
        loss = loss + (frames - x[:, t]).square().sum((1, 2, 3)).mean() + kl_divergence(posterior, prior).sum(-1).mean()
    found, _ = model.loss(batch, 0)
    assert found.item() == pytest.approx(loss.item() / 5, rel=1e-9)


def test_hidden_frames_cannot_matter(batch):
    model = built(batch).eval()
    mask = torch.ones(6, 5, dtype=torch.bool)
    mask[:, 2:4] = False
    other = batch.video.clone()
    other[:, 2:4] = 255
    for ask in (lambda b: model.impute(b)["filter"], lambda b: model.encode(b)["s"], lambda b: model.loss(b, 0)[0]):
        seen, changed = ask(replace(batch, mask=mask)), ask(replace(batch, video=other, mask=mask))
        assert torch.equal(seen, changed)
        assert not torch.equal(seen, ask(batch))


def test_what_is_missing_is_said(batch):
    with pytest.raises(UserError, match="needs the field 'action'"):
        RSSMConfig().fitted({"video": (6, 1, 28, 28)})
    with pytest.raises(UserError, match="needs the field 'action'"):
        built(batch).loss(replace(batch, action=None), 0)
    with pytest.raises(UserError, match="min_std"):
        RSSMConfig(min_std=0.0)

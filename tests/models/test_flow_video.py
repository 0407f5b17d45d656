"""Flow matching: the loss is the formula, the flow is the Euler scheme, later and hidden frames cannot matter."""

from dataclasses import replace

import pytest
import torch

from dynarium.errors import UserError
from dynarium.models import MODELS
from dynarium.models.capabilities import Forecasts, Model, Reconstructs
from dynarium.models.flow_video import FlowVideoConfig
from videos import bars, losses_of, random_video, roughened, seeded

SMALL = FlowVideoConfig(frame=(1, 32, 32), memory=2, width=8, patch=8, steps=3)


def model_of(**options):
    torch.manual_seed(0)
    return roughened(replace(SMALL, **options).build(), 0.1)


def test_capabilities(monkeypatch):
    model, batch = model_of(), random_video()
    for wanted in (Model, Reconstructs, Forecasts):
        assert isinstance(model, wanted)
    loss, _ = model.loss(batch, 0)
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())
    model.eval()
    assert torch.equal(model.loss(batch, 0)[0], model.loss(batch, 9)[0])
    frames = model.forecast(batch, 3, samples=5, generator=seeded())
    assert frames.shape == (5, 3, 3, 1, 32, 32) and frames.min() >= 0 and frames.max() <= 1
    assert not torch.equal(frames[0], frames[1])
    monkeypatch.setattr("dynarium.models.flow_video.FRAMES_AT_ONCE", 6)
    torch.testing.assert_close(model.forecast(batch, 3, samples=5, generator=seeded()), frames, rtol=1e-4, atol=1e-5)
    mean = model.forecast(batch, 3, samples=2)
    assert torch.equal(mean[0], mean[1])
    cold = model.forecast(batch, 3, samples=2, generator=seeded(), temperature=0.0)
    torch.testing.assert_close(cold, mean)


def test_the_loss_is_the_formula():
    model, batch = model_of(actions="raw", control=2).eval(), random_video(control=2)
    x = 2 * (batch.video.float() / 255) - 1
    g = seeded()
    noise, time = torch.randn(12, 1, 32, 32, generator=g).unflatten(0, (3, 4)), torch.rand(12, generator=g)
    time, total = time.unflatten(0, (3, 4)), 0.0
    for t in range(1, 5):
        tau = time[:, t - 1, None, None, None]
        past = torch.cat([x[:, max(0, t - 2)], x[:, t - 1]], 1)
        at = (1 - tau) * noise[:, t - 1] + tau * x[:, t]
        v = model.velocity(at, time[:, t - 1], past, batch.action[:, t - 1])
        total = total + (v - (x[:, t] - noise[:, t - 1])).square().mean()
    assert model.loss(batch, 0)[0].item() == pytest.approx(total.item() / 4, rel=1e-4)


def test_a_flow_whose_end_is_known_arrives_whatever_the_steps(monkeypatch):
    model, batch = model_of(steps=4), random_video(t=2)
    target = torch.rand(3, 1, 32, 32)
    monkeypatch.setattr(model.end, "forward", lambda x, time, beside, further: target)
    past, u = torch.zeros(3, 2, 32, 32), torch.zeros(3, 0)
    torch.testing.assert_close(model.carried(torch.randn(3, 1, 32, 32), past, u), target)
    # On the straight way to it the velocity is the same everywhere.
    start = torch.randn(3, 1, 32, 32)
    on_its_way = start + 0.5 * (target - start)
    torch.testing.assert_close(model.velocity(on_its_way, torch.full((3,), 0.5), past, u), target - start)
    torch.testing.assert_close(model.reconstruct(batch)[:, 1], (target + 1) / 2)
    torch.testing.assert_close(model.forecast(batch, 1)[0, :, 0], (target + 1) / 2)


def test_reconstruction_knows_the_frame():
    model, batch = model_of().eval(), random_video()
    found = model.reconstruct(batch)
    assert torch.equal(found[:, 0], batch.video[:, 0] / 255) and torch.equal(found, model.reconstruct(batch))
    other = batch.video.clone()
    other[:, 4] = 255 - other[:, 4]
    changed = model.reconstruct(replace(batch, video=other))
    assert torch.equal(found[:, :4], changed[:, :4]) and not torch.equal(found[:, 4], changed[:, 4])
    assert not torch.equal(found, model.reconstruct(batch, generator=seeded()))


def test_later_and_hidden_frames_cannot_matter():
    model, batch = model_of(memory=4).eval(), random_video()
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[:, 2:4] = False
    other = torch.where(mask[..., None, None, None], batch.video, 255 - batch.video)
    for ask in (lambda b: model.forecast(b, 2, samples=2, generator=seeded()), lambda b: model.loss(b, 0)[0]):
        seen = ask(replace(batch, mask=mask))
        assert torch.equal(seen, ask(replace(batch, video=other, mask=mask)))
        assert not torch.equal(seen, ask(batch))
    past = model.past(torch.arange(5.0).view(1, 5, 1, 1, 1))
    assert past[0, :, :, 0, 0].tolist() == [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 2], [0, 1, 2, 3], [1, 2, 3, 4]]


def test_actions_and_the_loss():
    model, batch = model_of(actions="raw", control=2).eval(), random_video(control=2)
    later = torch.randn(3, 2, 2)
    one, other = (model.forecast(batch, 2, action=a) for a in (later, later + 1))
    assert torch.equal(one[:, :, 0], other[:, :, 0]) and not torch.equal(one[:, :, 1], other[:, :, 1])
    torch.manual_seed(0)
    losses = losses_of(replace(SMALL, width=16).build(), bars(), 30)
    assert sum(losses[-5:]) < 0.3 * sum(losses[:5])


def test_options():
    assert MODELS["flow-video"]().fitted({"video": (5, 3, 48, 40)}).frame == (3, 48, 40)
    with pytest.raises(UserError, match="multiples of 16"):
        replace(SMALL, frame=(1, 40, 32))
    with pytest.raises(UserError, match="even number"):
        replace(SMALL, width=3)
    with pytest.raises(UserError, match="needs the field 'action'"):
        replace(SMALL, actions="raw").build()

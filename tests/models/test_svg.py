"""SVG: the fast loss is the loop's, later and hidden frames cannot matter, the switches do what they say."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Normal, kl_divergence

from dynarium.errors import UserError
from dynarium.models import MODELS
from dynarium.models.capabilities import Encodes, Forecasts, Model, Reconstructs
from dynarium.models.svg import SVGConfig
from dynarium.models.video import decoded_steps, encoded_steps
from dynarium.objectives.schedules import Linear
from videos import bars, losses_of, random_video, roughened, seeded

SMALL = SVGConfig(frame=(1, 32, 32), width=3, embedding=6, latent=2, hidden=5, context=2)
PRIORS = ("learned", "fixed", "none")


def model_of(**options):
    torch.manual_seed(0)
    return roughened(replace(SMALL, **options).build())


def test_sizes_are_the_published_ones():
    def count(**options):
        return sum(p.numel() for p in SVGConfig(**options).build().parameters())

    assert count() == 12_614_057
    assert count(frame=(4, 56, 56), control=4, actions="embedded") == 12_640_876
    actions = replace(SMALL, control=4, actions="embedded", action_width=32).build().actions
    assert sum(p.numel() for p in actions.parameters()) == 1_216


@pytest.mark.parametrize("name", ["svg-lp", "svg-fp", "svg-deterministic"])
def test_capabilities(name):
    model = replace(MODELS[name](), frame=(1, 32, 32), width=2, embedding=6, hidden=5, latent=2).build()
    batch = random_video()
    for wanted in (Model, Encodes, Reconstructs, Forecasts):
        assert isinstance(model, wanted)
    loss, terms = model.loss(batch, 0)
    loss.backward()
    assert all(p.grad is not None for p in model.parameters()) and terms["mse"].isfinite()
    model.eval()
    assert torch.equal(model.loss(batch, 0)[0], model.loss(batch, 9)[0])
    assert model.encode(batch)["h"].shape == (3, 5, 6)
    assert model.reconstruct(batch).shape == batch.video.shape
    frames = model.forecast(batch, 3, samples=2, generator=seeded())
    assert frames.shape == (2, 3, 3, 1, 32, 32) and frames.min() >= 0 and frames.max() <= 1
    assert torch.equal(frames, model.forecast(batch, 3, samples=2, generator=seeded()))
    assert torch.equal(frames[0], frames[1]) is (name == "svg-deterministic")


def literal_loss(model, batch, noise, beta):
    """Return the loss as the authors' loop computes it: two encodings a step, cells, concatenated skips."""
    config, x = model.config, batch.video.double() / 255

    def normalised(layer, y):
        norm = layer.norm
        return F.leaky_relu(F.batch_norm(y, None, None, norm.weight, norm.bias, True), norm.slope)

    def encoder(y):
        skips = []
        for stage in model.encoder.stages:
            y = normalised(stage, stage.conv(y))
            skips.append(y)
        return normalised(model.encoder.last, model.encoder.last.conv(y)).flatten(1).tanh(), skips

    def decoder(g, skips):
        y = normalised(model.decoder.first, model.decoder.first.conv(g[:, :, None, None]))
        for stage, skip in zip(model.decoder.stages, skips[::-1], strict=True):
            y = stage.conv(torch.cat([y, skip], 1))
            y = y if stage.norm is None else normalised(stage, y)
        return y.sigmoid()

    def cells(network, state, y):
        y, new = network.embed(y), []
        for k in range(network.lstm.num_layers):
            weights = [getattr(network.lstm, f"{n}_l{k}") for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            h, c = state[k] if state else (torch.zeros_like(y), torch.zeros_like(y))
            i, f, o, g = (F.linear(y, weights[0], weights[2]) + F.linear(h, weights[1], weights[3])).chunk(4, 1)
            i, f, o, g = i, f, o, g  # in PyTorch's order: input, forget, cell, output
            c = f.sigmoid() * c + i.sigmoid() * o.tanh()
            y = g.sigmoid() * c.tanh()
            new.append((y, c))
        return y, new

    states, total, skip = {"predictor": None, "posterior": None, "prior": None}, 0.0, None
    for t in range(1, x.shape[1]):
        h, skips = encoder(x[:, t - 1])
        target, _ = encoder(x[:, t])
        used = t <= config.context if config.skips == "mended" else t < config.context
        if config.last_frame_skip or used:
            skip = skips
        if config.actions == "raw":
            h = torch.cat([h, batch.action[:, t - 1].double()], 1)
        elif config.actions == "embedded":
            h = torch.cat([h, model.actions(batch.action[:, t - 1].double())], 1)
        if model.posterior is not None:
            y, states["posterior"] = cells(model.posterior, states["posterior"], target)
            q = Normal(model.posterior.mean(y), (0.5 * model.posterior.log_variance(y)).exp())
            p = Normal(torch.zeros_like(q.mean), torch.ones_like(q.mean))
            if model.prior is not None:
                y, states["prior"] = cells(model.prior, states["prior"], h)
                p = Normal(model.prior.mean(y), (0.5 * model.prior.log_variance(y)).exp())
            h = torch.cat([h, q.mean + q.stddev * noise[:, t - 1]], 1)
            total = total + beta * kl_divergence(q, p).sum() / len(x)
        y, states["predictor"] = cells(model.predictor, states["predictor"], h)
        frame = decoder(model.predictor.output(y).tanh(), skip)
        total = total + F.mse_loss(frame, x[:, t])
    return total


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"prior": "fixed", "skips": "paper"},
        {"prior": "none", "last_frame_skip": True},
        {"actions": "raw", "control": 2, "predictor_layers": 1, "posterior_layers": 2},
        {"actions": "embedded", "control": 2, "last_frame_skip": True, "action_width": 3},
    ],
)
def test_the_loss_is_that_of_the_loop(options):
    # Without autocast's float32 casts: the reference is the same formula in double precision.
    model = model_of(beta=Linear(start=0.5, end=2.0, until=10), **options).double()
    batch = random_video(control=2 if "control" in options else 0)
    batch = replace(batch, video=batch.video.double() / 255, action=None if batch.action is None else batch.action)
    torch.manual_seed(1)
    noise = torch.randn(3, 4, 2, dtype=torch.float64)
    torch.manual_seed(1)
    found, _ = model.loss(batch, 5)
    wanted = literal_loss(model, replace(batch, video=batch.video * 255), noise, 1.25)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-6)
    of = [model.encoder.stages[0].conv.weight, model.predictor.embed.weight, model.decoder.stages[1].conv.weight]
    for ours, theirs in zip(torch.autograd.grad(found, of), torch.autograd.grad(wanted, of), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("last", [False, True])
def test_one_step_of_a_forecast_is_the_teacher_forced_prediction(prior, last):
    """At the means: the prediction of the frame after the context, with the prior's mean for the unseen latent."""
    model = model_of(prior=prior, last_frame_skip=last, context=3).eval()
    batch = random_video(t=4)
    given = replace(batch, video=batch.video[:, :3])
    # A hidden last frame has the prior for posterior: its reconstruction is what the forecast shows.
    x, _ = model._fields(batch)
    mask = torch.tensor([[True, True, True, False]]).expand(3, -1)
    h, skips = encoded_steps(model.encoder, x)
    beliefs = model.believed(h, h[:, :-1], mask)
    frames = decoded_steps(
        model.decoder, model._predicted(h[:, :-1], beliefs and beliefs.mean), skips, model.sources(3)
    )
    torch.testing.assert_close(model.forecast(given, 1)[0, :, 0], frames[:, -1])
    # And every later frame continues from it as from a frame that was seen.
    two = model.forecast(given, 2)[0]
    if last:
        longer = replace(batch, video=torch.cat([x[:, :3], two[:, :1]], 1))
        h, skips = encoded_steps(model.encoder, longer.video)
        beliefs = model.believed(h, h[:, :-1], mask)
        _, state = model.predictor(h[:, :-1] if beliefs is None else torch.cat([h[:, :-1], beliefs.mean], -1))
        z = None
        if beliefs is not None:
            z = model.prior(h)[0][:, -1:] if prior == "learned" else torch.zeros_like(beliefs.mean[:, -1:])
        g, _ = model.predictor(h[:, -1:] if z is None else torch.cat([h[:, -1:], z], -1), state)
        frame = decoded_steps(model.decoder, g, [s[-3:] for s in skips], [0])
        torch.testing.assert_close(two[:, 1:], frame)


def test_later_and_hidden_frames_cannot_matter():
    model, batch = model_of().eval(), random_video()
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[:, 2:4] = False
    mask[0, 0] = False
    other = torch.where(mask[..., None, None, None], batch.video, 255 - batch.video)
    asks = (
        lambda b: model.forecast(b, 2, samples=2, generator=seeded()),
        lambda b: model.encode(b)["z"],
        lambda b: model.loss(b, 0)[0],
        lambda b: model.beliefs(b).prior_mean,
    )
    for ask in asks:
        seen = ask(replace(batch, mask=mask))
        assert torch.equal(seen, ask(replace(batch, video=other, mask=mask)))
        assert not torch.equal(seen, ask(batch))
    # The past of a step does not know what comes after it.
    changed = batch.video.clone()
    changed[:, 4] = 255 - changed[:, 4]
    before, after = model.beliefs(batch), model.beliefs(replace(batch, video=changed))
    assert torch.equal(before.mean[:, :3], after.mean[:, :3]) and not torch.equal(before.mean[:, 3], after.mean[:, 3])
    assert torch.equal(before.prior_mean, after.prior_mean)


def test_sequences_and_samples_do_not_disturb_each_other(monkeypatch):
    model, batch = model_of().eval(), random_video()
    alone = torch.cat([model.forecast(batch.select(torch.tensor([k])), 2) for k in range(3)], 1)
    torch.testing.assert_close(model.forecast(batch, 2), alone, rtol=1e-4, atol=1e-5)
    many = model.forecast(batch, 2, samples=5, generator=seeded())
    monkeypatch.setattr("dynarium.models.svg.FRAMES_AT_ONCE", 6)
    torch.testing.assert_close(model.forecast(batch, 2, samples=5, generator=seeded()), many, rtol=1e-4, atol=1e-5)


def test_temperature_scales_the_prior_alone():
    model, batch = model_of().eval(), random_video(t=1)
    mean = model.forecast(batch, 2, samples=2)
    assert torch.equal(mean[0], mean[1])
    cold = model.forecast(batch, 2, samples=2, generator=seeded(), temperature=0.0)
    torch.testing.assert_close(cold, mean)
    spread = [
        model.forecast(batch, 2, samples=4, generator=seeded(), temperature=heat).std(0).mean() for heat in (0.5, 1, 2)
    ]
    assert 0 < spread[0] < spread[1] < spread[2]


def test_posterior_sampling():
    model, batch = model_of().eval(), random_video()
    mean = model.reconstruct(batch)
    assert torch.equal(mean, model.reconstruct(batch))
    assert torch.equal(mean[:, 0], batch.video[:, 0] / 255)
    drawn = model.reconstruct(batch, generator=seeded())
    assert not torch.equal(mean, drawn) and torch.equal(drawn, model.reconstruct(batch, generator=seeded()))


def test_skips_come_of_the_frame_that_the_switch_names():
    assert model_of(context=3).sources(5) == [0, 1, 2, 2, 2]
    assert model_of(context=3, skips="paper").sources(5) == [0, 1, 1, 1, 1]
    assert model_of(context=3, last_frame_skip=True).sources(5) == [0, 1, 2, 3, 4]
    batch = random_video(t=3)
    for skips, chosen in (("mended", 2), ("paper", 1)):
        model = model_of(skips=skips, prior="none").eval()
        h, found = encoded_steps(model.encoder, batch.video.float() / 255)
        g = model.predictor(h)[0][:, -1:]
        frame = decoded_steps(model.decoder, g, [s[3 * chosen : 3 * chosen + 3] for s in found], [0])
        torch.testing.assert_close(model.forecast(batch, 1)[0], frame)


def test_batch_statistics_are_those_of_each_step():
    ours, papers = model_of(prior="none").eval(), model_of(prior="none", statistics="batch").eval()
    batch = random_video()
    assert not torch.allclose(ours.reconstruct(batch), papers.reconstruct(batch))
    training = model_of(prior="none")
    torch.testing.assert_close(papers.loss(batch, 0)[0], training.loss(batch, 0)[0])
    with pytest.raises(UserError, match="at least 2 sequences"):
        papers.forecast(random_video(b=1), 2)
    before = [buffer.clone() for buffer in papers.buffers()]
    papers.forecast(batch, 2)
    assert all(torch.equal(a, b) for a, b in zip(before, papers.buffers(), strict=True))


@pytest.mark.parametrize("backbone", ["dcgan", "vgg"])
def test_statistics_of_the_frame_leave_sequences_alone(backbone):
    """In training and in answers a sequence's neighbours say nothing, and one sequence is enough."""
    model = model_of(statistics="frame", backbone=backbone, prior="none", frame=(1, 64, 64), width=4)
    batch, other = random_video(side=64), random_video(side=64, seed=1)
    mixed = replace(batch, video=torch.cat([batch.video[:1], other.video[1:]]))
    for mode in (model.train(), model.eval()):
        one, two = mode.reconstruct(batch), mode.reconstruct(mixed)
        torch.testing.assert_close(one[0], two[0])
        assert not torch.allclose(one[1], two[1])
        torch.testing.assert_close(mode.forecast(batch, 3)[0, 0], mode.forecast(mixed, 3)[0, 0])
    model.train().loss(replace(batch, video=batch.video[:1]), 0)[0].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_actions_lead_into_the_frame_after_them():
    for actions in ("raw", "embedded"):
        model = model_of(actions=actions, control=2, prior="none").eval()
        batch = random_video(control=2)
        later = torch.randn(3, 3, 2)
        frames = model.forecast(batch, 3, action=later)
        changed = later.clone()
        changed[:, 1] += 1.0
        other = model.forecast(batch, 3, action=changed)
        assert torch.equal(frames[:, :, :2], other[:, :, :2]) and not torch.equal(frames[:, :, 2], other[:, :, 2])
        with pytest.raises(UserError, match="action"):
            model.loss(replace(batch, action=None), 0)


def test_the_loss_falls():
    torch.manual_seed(0)
    losses = losses_of(replace(SMALL, width=4).build(), bars(), 30)
    assert losses[-1] < 0.3 * losses[0]


def test_low_precision_is_close():
    model, batch = model_of(), random_video()
    torch.manual_seed(0)
    full = model.loss(batch, 0)[0]
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        low = model.loss(batch, 0)[0]
    assert low.dtype == torch.float32 and math.isclose(full.item(), low.item(), rel_tol=0.02)
    model.eval()
    with torch.autocast("cpu", torch.bfloat16):
        assert model.forecast(batch, 2).dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"frame": (1, 48, 48)}, "side of 32, 56, 64, 128"),
        ({"frame": (1, 64, 32)}, "square"),
        ({"frame": (1, 56, 56), "backbone": "vgg"}, "vgg takes square frames with a side of 64, 128"),
        ({"context": 1, "skips": "paper"}, "context of at least 2"),
        ({"latent": 0}, "model.latent"),
    ],
)
def test_impossible_options_are_said(options, said):
    with pytest.raises(UserError, match=said):
        replace(SMALL, **options)


def test_impossible_data_is_said():
    with pytest.raises(UserError, match="actions: 'raw' needs the field 'action'"):
        replace(SMALL, actions="raw").fitted({"video": (5, 1, 32, 32)}).build()
    with pytest.raises(UserError, match="at least 2 frames"):
        model_of().loss(random_video(t=1), 0)
    with pytest.raises(UserError, match="at least 2 sequences"):
        model_of().loss(random_video(b=1), 0)
    with pytest.raises(UserError, match="at least 2 frames wanted with model.skips='paper'"):
        model_of(skips="paper").forecast(random_video(t=1), 2)

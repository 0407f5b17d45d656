"""AE-RNN and VAE-RNN: what is hidden cannot matter, the fast path is the slow path, the objective is the formula."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.distributions import Bernoulli, Normal

from dynarium.errors import UserError
from dynarium.models import MODELS
from dynarium.models.capabilities import Encodes, Forecasts, Imputes, Model, Reconstructs
from dynarium.models.kvae import KVAEConfig
from dynarium.models.pixel_rnn import PixelRNNConfig
from dynarium.types import SequenceBatch
from videos import MASK, random_video

SMALL = PixelRNNConfig(frame=(1, 8, 8), channels=(8, 8), hidden=6)
BOTH = pytest.mark.parametrize("variational", [False, True])


def model_of(**changed):
    torch.manual_seed(0)
    model = replace(SMALL, **changed).build()
    with torch.no_grad():  # codes that move, so that time matters
        model.posterior.weight.mul_(5)
        model.lstm.weight_ih_l0.mul_(3)
        model.first.normal_()
    return model


batch_of = partial(random_video, t=6, side=8)


@BOTH
def test_capabilities(variational):
    model = model_of(variational=variational)
    assert all(isinstance(model, capability) for capability in (Model, Encodes, Reconstructs, Imputes, Forecasts))
    assert MODELS["vae-rnn" if variational else "ae-rnn"]().variational is variational


def test_as_many_parameters_as_the_kvae():
    def size(config):
        return sum(parameter.numel() for parameter in config.build().parameters())

    for variational in (False, True):
        assert size(PixelRNNConfig(variational=variational)) == pytest.approx(size(KVAEConfig()), rel=0.02)


@BOTH
@pytest.mark.parametrize("control", [0, 2])
def test_hidden_frames_cannot_matter(variational, control):
    model = model_of(variational=variational, control=control, bidirectional=True, missing=0.5)
    batch = replace(batch_of(control=control), mask=MASK)
    noise = torch.randint(256, batch.video.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
    hidden = ~MASK[..., None, None, None]
    other = replace(batch, video=torch.where(hidden, noise, batch.video))
    as_float = replace(batch, video=batch.video / 255)
    broken = replace(batch, video=torch.where(hidden, float("nan"), batch.video / 255))
    action = torch.zeros(3, 4, control) if control else None

    def answers(asked):
        model.eval()
        given = model.impute(asked) | model.encode(asked) | {"loss": model.loss(asked, 0)[0]}
        for seed in (None, 0):
            g = None if seed is None else torch.Generator().manual_seed(seed)
            given[f"forecast {seed}"] = model.forecast(asked, 4, action=action, samples=2, generator=g)
        model.train().zero_grad()
        torch.manual_seed(3)
        loss, _ = model.loss(asked, 0)
        loss.backward()
        return given | {"training": loss.detach()} | {n: p.grad.clone() for n, p in model.named_parameters()}

    for reference, changed in ((batch, other), (as_float, broken)):
        wanted, got = answers(reference), answers(changed)
        for name, values in wanted.items():
            assert torch.equal(values, got[name]), name
            assert got[name].isfinite().all(), name
    seen = replace(batch, video=torch.where(hidden, batch.video, noise))
    for name, frames in model.eval().impute(batch).items():
        assert not torch.equal(frames, model.impute(seen)[name]), name


@BOTH
def test_the_filter_sees_the_past_and_the_smoother_all(variational):
    model = model_of(variational=variational, bidirectional=True, missing=0.5).eval()
    batch, t = replace(batch_of(), mask=MASK), 4
    later = replace(batch, video=torch.cat([batch.video[:, :t], 255 - batch.video[:, t:]], dim=1))
    before, after = model.impute(batch), model.impute(later)
    assert torch.equal(before["filter"][:, :t], after["filter"][:, :t])
    hidden = ~MASK[:, :t] & MASK[:, t:].any(1, keepdim=True)  # in gaps that something comes after
    assert (before["smooth"] != after["smooth"])[:, :t][hidden].any(dim=(1, 2, 3)).all()
    assert torch.equal(before["smooth"][:, :t][~hidden], after["smooth"][:, :t][~hidden])


@BOTH
def test_a_model_of_one_direction_only_filters(variational):
    assert list(model_of(variational=variational).impute(batch_of())) == ["filter"]
    assert list(model_of(bidirectional=True, missing=0.1).impute(batch_of())) == ["smooth", "filter"]


@BOTH
def test_lengths_hide_the_tail(variational):
    model, batch = model_of(variational=variational).eval(), batch_of()
    lengths = torch.tensor([6, 4, 2])
    mask = torch.arange(6) < lengths[:, None]
    by_length, by_mask = replace(batch, length=lengths), replace(batch, mask=mask)
    assert torch.equal(model.impute(by_length)["filter"], model.impute(by_mask)["filter"])
    assert torch.equal(model.loss(by_length, 0)[0], model.loss(by_mask, 0)[0])


@pytest.mark.parametrize("control", [0, 2])
def test_the_unrolled_path_is_the_fast_path_when_all_is_seen(control):
    model, batch = model_of(variational=True, control=control), batch_of(control=control)
    a, _ = model.posterior_of(batch.video)
    fast = model.predict(a, None, batch.action)
    slow = model.predict(a, torch.ones(3, 6, dtype=torch.bool), batch.action)
    for name in ("a", "mean", "variance", "hidden"):
        torch.testing.assert_close(getattr(fast, name), getattr(slow, name))
    torch.testing.assert_close(fast.state, slow.state)


@BOTH
def test_missing_inputs_are_predictions(variational):
    """Where a_t is hidden, the LSTM reads its own prediction: feeding that explicitly changes nothing."""
    model = model_of(variational=variational).eval()
    inferred = model.infer(replace(batch_of(), mask=MASK))
    again = model.predict(inferred["a"])
    torch.testing.assert_close(again.mean[~MASK], inferred["a"][~MASK])
    torch.testing.assert_close(again.hidden, inferred["state"][..., :6])


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("mask", [None, MASK])
def test_the_bound_is_its_formula(likelihood, mask):
    """Step by step: log p(x | a) + log p(a_t | a_<t) - log q(a | x) where observed; a hidden code is drawn from its prior."""
    model = model_of(variational=True, likelihood=likelihood).eval()
    batch = replace(batch_of(), mask=mask)
    loss, terms = model.loss(batch, 0)
    dark = batch.video if mask is None else batch.video * mask[..., None, None, None]
    mean, variance = model.posterior_of(dark)
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(0))
    total, count = 0.0, 0
    for i in range(3):
        past, state = model.first[None], None
        for t in range(6):
            hidden, state = model.lstm(past, state)
            m, raw = model.predictor(hidden).chunk(2, dim=-1)
            prior = Normal(m[0], (torch.nn.functional.softplus(raw[0]) + 1e-6).sqrt())
            if mask is not None and not mask[i, t]:
                past = (prior.loc + prior.scale * noise[i, t])[None]
                continue
            posterior = Normal(mean[i, t], variance[i, t].sqrt())
            a = posterior.loc + posterior.scale * noise[i, t]
            pixels = model.decode(a[None, None])[0, 0]
            p_x = Bernoulli(logits=pixels) if likelihood == "bernoulli" else Normal(pixels, 0.1**0.5)
            log_x = p_x.log_prob(batch.video[i, t] / 255).sum()
            total, count = total + log_x + prior.log_prob(a).sum() - posterior.log_prob(a).sum(), count + 1
            past = a[None]
    torch.testing.assert_close(-loss, total / count, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(terms["elbo"], -loss.detach())


def test_the_objective_of_the_ae_is_its_formula():
    model, batch = model_of().eval(), batch_of()
    a, _ = model.posterior_of(batch.video)
    nexts = model.predict(a).mean
    x = batch.video / 255
    wanted = sum(Bernoulli(logits=model.decode(code)).log_prob(x).sum() for code in (a, nexts)) / 18
    torch.testing.assert_close(-model.loss(batch, 0)[0], wanted)
    weighted = model_of(reconstruction_weight=0.25)
    loss, terms = weighted.loss(batch, 0)
    torch.testing.assert_close(-loss.detach(), 0.25 * terms["log_p_x"] + terms["log_p_x_predicted"])


def test_the_smoother_leaves_the_bound_alone():
    """The smoother of a VAE-RNN learns from the codes; encoder, decoder and recurrent network do not see its score."""
    model = model_of(variational=True, bidirectional=True, missing=0.5)
    torch.manual_seed(1)
    _, terms = model.loss(batch_of(), 0)
    batch = batch_of()
    a, _ = model.posterior_of(batch.video)
    score = model._smoother_score(a, batch.video, None, MASK)
    score.backward()
    assert terms["log_p_smooth"] != 0
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None and parameter.grad.abs().sum() > 0) == name.startswith("smooth"), name


@BOTH
def test_loss_in_eval_is_deterministic_and_ignores_the_step(variational):
    model = model_of(variational=variational, bidirectional=True, missing=0.5).eval()
    batch = batch_of()
    assert torch.equal(model.loss(batch, 0)[0], model.loss(batch, 99)[0])
    model.train()
    torch.manual_seed(0)
    assert not torch.equal(model.loss(batch, 0)[0], model.loss(batch, 0)[0])


@BOTH
@pytest.mark.parametrize("control", [0, 2])
def test_forecast_continues_the_filter(variational, control):
    """The deterministic forecast equals the prediction of the masked future, after a context with gaps too."""
    model, batch = model_of(variational=variational, control=control).eval(), batch_of(t=9, control=control)
    for seen in (torch.ones(3, 5, dtype=torch.bool), MASK[:, :5]):
        mask = torch.cat([seen, torch.zeros(3, 4, dtype=torch.bool)], dim=1)
        imputed = model.impute(replace(batch, mask=mask))["filter"][:, 5:]
        context = SequenceBatch(
            video=batch.video[:, :5], mask=seen, action=None if batch.action is None else batch.action[:, :5]
        )
        following = None if batch.action is None else batch.action[:, 5:]
        torch.testing.assert_close(model.forecast(context, 4, action=following)[0], imputed, rtol=1e-4, atol=1e-5)
        if control:
            assert not torch.allclose(model.forecast(context, 4, action=-batch.action[:, 5:])[0], imputed)


def test_samples_of_the_vae_differ_and_repeat():
    model, batch = model_of(variational=True).eval(), batch_of()

    def draw(seed):
        return model.forecast(batch, 5, samples=3, generator=torch.Generator().manual_seed(seed))

    first = draw(0)
    assert first.shape == (3, 3, 5, 1, 8, 8)
    assert torch.equal(first, draw(0))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, draw(1))
    assert torch.equal(*model.forecast(batch, 5, samples=2))


def test_the_first_sampled_code_has_the_predictive_moments(monkeypatch):
    """With a posterior that is a point, and a first frame that is hidden: a_2 is drawn from a mixture over draws of a_1."""
    model, samples = model_of(variational=True).eval(), 20_000
    drawn, decode = [], model.frames
    monkeypatch.setattr(model, "frames", lambda a: (drawn.append(a), decode(a[:1]))[1].expand(len(a), -1, -1, -1, -1))
    point = torch.full((1, 2, 2), 0.3)
    monkeypatch.setattr(model, "posterior_of", lambda video: (point, torch.zeros_like(point)))
    context = batch_of(b=1, t=2)
    model.forecast(context, 1, samples=samples, generator=torch.Generator().manual_seed(0))
    hidden = replace(context, mask=torch.zeros(1, 2, dtype=torch.bool))
    model.forecast(hidden, 1, samples=samples, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        predicted = model.predict(torch.full((1, 3, 2), 0.3))
    mean, variance = predicted.mean[0, 2], predicted.variance[0, 2]
    a, freer = drawn[0][:, 0], drawn[1][:, 0]
    assert ((a.mean(0) - mean) / (variance / samples).sqrt()).abs().max() < 4
    torch.testing.assert_close(a.var(0), variance, rtol=0.05, atol=0)
    assert (freer.var(0) > a.var(0)).any()


def test_the_ae_has_nothing_to_draw():
    model, batch = model_of().eval(), batch_of()
    sampled = model.forecast(batch, 3, samples=2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(sampled, model.forecast(batch, 3, samples=2))


@BOTH
def test_it_learns(variational):
    """A dot that moves one column a step: all terms of the objective rise within 25 steps, the smoother's too."""
    torch.manual_seed(0)
    model = replace(SMALL, variational=variational, bidirectional=True, missing=0.4, observe_first=2).build()
    video = torch.zeros(16, 6, 1, 8, 8, dtype=torch.uint8)
    for i in range(16):
        for t in range(6):
            video[i, t, 0, i % 8, (i // 8 * 3 + t) % 8] = 255
    optimizer, seen = torch.optim.Adam(model.parameters(), 2e-2), []
    for step in range(25):
        loss, terms = model.loss(SequenceBatch(video=video), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(terms)
    for name in ("log_p_x", "log_p_smooth", "log_p_a" if variational else "log_p_x_predicted"):
        assert sum(terms[name] for terms in seen[-3:]) > sum(terms[name] for terms in seen[:3]), name


def test_bfloat16_autocast():
    for config in ({"variational": True}, {"bidirectional": True, "missing": 0.5}):
        model, batch = model_of(**config), batch_of()
        with torch.autocast("cpu", torch.bfloat16):
            loss, _ = model.loss(batch, 0)
        loss.backward()
        assert loss.dtype == torch.float32 and loss.isfinite()


def test_bad_input_says_what_was_wanted():
    with pytest.raises(UserError, match="model.hidden: expected at least 1, got 0"):
        PixelRNNConfig(hidden=0)
    with pytest.raises(UserError, match="model.code_variance: expected a variance above 0"):
        PixelRNNConfig(code_variance=0.0)
    with pytest.raises(UserError, match="model.missing: expected a probability in"):
        PixelRNNConfig(missing=1.0)
    with pytest.raises(UserError, match="model.missing: expected a probability above 0 for a bidirectional model"):
        PixelRNNConfig(bidirectional=True)
    with pytest.raises(UserError, match="vae-rnn needs the field 'video'; the data has state"):
        PixelRNNConfig(variational=True).fitted({"state": (5, 2)})
    with pytest.raises(UserError, match=r"frames of shape \(1, 8, 8\) wanted, got \(1, 9, 8\)"):
        model_of().loss(SequenceBatch(video=torch.zeros(2, 3, 1, 9, 8, dtype=torch.uint8)), 0)
    with pytest.raises(UserError, match="action: the model was made for 2 of them, the batch has none"):
        model_of(control=2).loss(batch_of(), 0)
    fitted = PixelRNNConfig().fitted({"video": (20, 3, 48, 40), "action": (20, 5)})
    assert fitted.frame == (3, 48, 40) and fitted.control == 5
    assert fitted.build().frames(torch.zeros(1, 2, 2)).shape == (1, 2, 3, 48, 40)

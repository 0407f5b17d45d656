from dataclasses import replace

import pytest
import torch

from dynarium.errors import UserError
from dynarium.models import MODELS
from dynarium.models.capabilities import Model, PredictsNext
from dynarium.models.one_step_transformer import OneStepTransformerConfig
from signals import random_signals

TINY = OneStepTransformerConfig(inputs=2, outputs=1, steps=12, layers=2, heads=2, width=8)


def built(**options):
    torch.manual_seed(0)
    model = replace(TINY, **options).build()
    # Weights of ordinary size: the small ones of a fresh model would hide differences.
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model.double().eval()


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 2_439_809),
        ({"width": 768, "heads": 12, "steps": 1024}, 85_743_361),
        ({"layers": 8, "steps": 400}, 1_626_753),
        ({"layers": 4, "steps": 400}, 839_297),
        ({"layers": 8, "steps": 800}, 1_677_953),
    ],
)
def test_published_sizes(options, count):
    with torch.device("meta"):
        model = MODELS["one-step-transformer"](**options).build()
    assert sum(p.numel() for p in model.parameters()) == count


@pytest.mark.parametrize("positions", ["learned", "rotary"])
@pytest.mark.parametrize("normalisation", ["past", "none"])
@pytest.mark.parametrize("current_input", [True, False])
@pytest.mark.parametrize("lags", [0, 3])
def test_a_prediction_sees_inputs_up_to_it_and_outputs_before_it(positions, normalisation, current_input, lags):
    options = {"positions": positions, "normalisation": normalisation, "current_input": current_input, "lags": lags}
    model, batch = built(**options), random_signals(t=12)
    before, _ = model.predict_next(batch)
    for name in ("action", "observation"):
        changed = getattr(batch, name).clone()
        changed[:, 6] += 5
        after, _ = model.predict_next(replace(batch, **{name: changed}))
        first = 6 if name == "action" and current_input else 7
        assert torch.equal(after[:, :first], before[:, :first])
        assert (after[:, first] != before[:, first]).all()


def test_the_leak_leaks():
    model, batch = built(normalisation="whole-trajectory-leak"), random_signals(t=12)
    before, _ = model.predict_next(batch)
    changed = batch.observation.clone()
    changed[:, -1] += 5
    after, _ = model.predict_next(replace(batch, observation=changed))
    assert (after[:, :-1] != before[:, :-1]).any()


def test_predictions_scale_and_shift_with_the_signals():
    model, batch = built(probabilistic=True), random_signals(t=12)
    mean, deviation = model.predict_next(batch)
    scaled = replace(batch, action=batch.action * 8 - 3, observation=batch.observation * 0.25 + 7)
    other, other_deviation = model.predict_next(scaled)
    # Two outputs must have been seen before there is a scale.
    torch.testing.assert_close(other[:, 3:], mean[:, 3:] * 0.25 + 7)
    torch.testing.assert_close(other_deviation[:, 3:], deviation[:, 3:] * 0.25)


@pytest.mark.parametrize("normalisation", ["past", "none", "whole-trajectory-leak"])
@pytest.mark.parametrize("probabilistic", [False, True])
def test_the_loss_is_its_formula(normalisation, probabilistic):
    model, batch = built(normalisation=normalisation, probabilistic=probabilistic, burn_in=3), random_signals(t=12)
    loss, _ = model.loss(batch, 0)
    mean, deviation = model.predict_next(batch)
    unit = batch.observation.std(1, correction=0, keepdim=True)
    target = (batch.observation / unit)[:, 3:]
    if probabilistic:
        expected = (
            -torch.distributions.Normal(mean / unit, deviation / unit).log_prob(batch.observation / unit)[:, 3:].mean()
        )
    else:
        expected = ((mean / unit)[:, 3:] - target).square().mean()
    torch.testing.assert_close(loss, expected)


def test_tokens_hold_the_steps_before_their_own():
    model, tokens = built(lags=2), torch.rand(3, 12, 3, dtype=torch.float64)
    entered = []
    model.embed.register_forward_hook(lambda module, arguments, output: entered.append(arguments[0]))
    model(tokens)
    assert torch.equal(entered[0][:, 7], tokens[:, 5:8].flatten(1))
    assert (entered[0][:, 1, :3] == 0).all() and torch.equal(entered[0][:, 1, 3:], tokens[:, :2].flatten(1))


@pytest.mark.parametrize("lags", [0, 3])
def test_hidden_outputs_cannot_matter(lags):
    mask = torch.ones(3, 12, dtype=torch.bool)
    mask[:, 4:6] = False
    model, batch = built(lags=lags), random_signals(t=12, mask=mask, length=torch.tensor([12, 9, 12]))
    spoilt, inputs = batch.observation.clone(), batch.action.clone()
    spoilt[:, 4:6] = torch.nan
    spoilt[1, 9:] = inputs[1, 9:] = torch.nan
    changed = replace(batch, observation=spoilt, action=inputs)
    assert torch.equal(model.predict_next(changed)[0][:, :9], model.predict_next(batch)[0][:, :9])
    loss, _ = model.loss(changed, 0)
    assert loss.isfinite() and loss == model.loss(batch, 0)[0]


def test_capabilities_and_gradients():
    model = replace(TINY, probabilistic=True, dropout=0.1).build()
    assert isinstance(model, Model) and isinstance(model, PredictsNext)
    loss, terms = model.train().loss(random_signals(t=20), 0)
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    assert set(terms) == {"mse", "nll"}


def test_signals_enter_and_leave_in_full_precision():
    model, batch = built().float(), random_signals(t=12)
    with torch.autocast("cpu", torch.bfloat16):
        mean, _ = model.predict_next(batch)
        inside = model.blocks[0].mlp.inner(torch.zeros(1, 1, 8))
    assert mean.dtype == torch.float32 and inside.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"action": None}, "action: wanted to identify a system from; the batch has observation"),
        ({"action": torch.zeros(3, 12, 1)}, "action: 2 channels wanted, got 1"),
        (
            {"action": torch.full((3, 12, 2), torch.nan)},
            "action: finite numbers wanted, got NaN or infinity in sequence 0 at step 0",
        ),
        (
            {"action": torch.zeros(3, 13, 2), "observation": torch.zeros(3, 13, 1)},
            "at most the model's 12 steps wanted, got 13",
        ),
    ],
)
def test_bad_input(change, message):
    with pytest.raises(UserError, match=message):
        built().predict_next(replace(random_signals(t=12), **change))


def test_signals_of_different_lengths():
    batch = random_signals(t=12)
    object.__setattr__(batch, "action", torch.zeros(3, 11, 2))  # past the shape check, which runs in the tests only
    with pytest.raises(UserError, match="action: as many steps as the 12 of the observation wanted, got 11"):
        built().predict_next(batch)


def test_bad_options():
    with pytest.raises(UserError, match="model.layers: expected at least 1, got 0"):
        OneStepTransformerConfig(layers=0)
    with pytest.raises(UserError, match="one-step-transformer needs the field 'action'; the data has observation"):
        OneStepTransformerConfig().fitted({"observation": (12, 1)})
    assert OneStepTransformerConfig().fitted({"observation": (12, 3), "action": (12, 2)}).outputs == 3

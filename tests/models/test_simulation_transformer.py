from dataclasses import replace

import pytest
import torch

from dynarium.errors import UserError
from dynarium.models import MODELS
from dynarium.models.capabilities import Identifies, Model
from dynarium.models.simulation_transformer import SimulationTransformerConfig
from dynarium.types import SequenceBatch
from signals import cut, random_signals

TINY = SimulationTransformerConfig(inputs=2, outputs=1, context=9, horizon=5, layers=2, heads=2, width=8)
VARIANTS = [
    {},
    {"positions": "rotary"},
    {"patch": 4},
    {"patch": 4, "patching": "recurrent", "positions": "rotary"},
    {"lags": 2, "positions": "rotary"},
    {"lags": 11, "patch": 4},
    {"lags": 2, "patch": 4, "patching": "recurrent"},
]


def built(**options):
    torch.manual_seed(0)
    model = replace(TINY, **options).build()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model.double().eval()


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 5_577_729),
        ({"bias": True}, 5_604_097),
        ({"inputs": 7, "outputs": 14, "context": 200, "horizon": 800, "width": 192, "bias": True}, 12_638_222),
        ({"inputs": 7, "outputs": 14, "context": 200, "horizon": 800, "width": 384, "bias": True}, 50_049_038),
    ],
)
def test_published_sizes(options, count):
    with torch.device("meta"):
        model = MODELS["simulation-transformer"](**options).build()
    assert sum(p.numel() for p in model.parameters()) == count


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_later_input_cannot_change_an_earlier_output(variant):
    model, (context, action) = built(**variant), cut(random_signals())
    before, _ = model.simulate(context, action)
    changed = action.clone()
    changed[:, 2] += 5
    after, _ = model.simulate(context, changed)
    assert torch.equal(after[:, :2], before[:, :2])
    assert (after[:, 2] != before[:, 2]).all()
    for name in ("action", "observation"):
        moved = getattr(context, name).clone()
        moved[:, 0] += 5
        assert (model.simulate(replace(context, **{name: moved}), action)[0] != before).all()


@pytest.mark.parametrize("normalisation", ["context", "none"])
def test_the_answer_is_out_of_reach(normalisation):
    model, batch = built(normalisation=normalisation), random_signals()
    seen = {}

    def keep(module, arguments, output):
        seen[module] = output

    for part in (model.embed_context.linear, model.head):
        part.register_forward_hook(keep)
    model.loss(batch, 0)
    first = dict(seen)
    spoilt = batch.observation.clone()
    spoilt[:, 9:] = 1e3 * torch.rand(3, 5, 1, dtype=torch.float64)
    model.loss(replace(batch, observation=spoilt), 0)
    assert all(torch.equal(seen[part], first[part]) for part in first)


def test_the_leak_leaks():
    model, batch = built(normalisation="whole-trajectory-leak"), random_signals()
    outputs = []
    model.head.register_forward_hook(lambda module, arguments, output: outputs.append(output))
    model.loss(batch, 0)
    spoilt = batch.observation.clone()
    spoilt[:, 9:] *= 3
    model.loss(replace(batch, observation=spoilt), 0)
    assert (outputs[0] != outputs[1]).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_outputs_scale_and_shift_with_the_signals(variant):
    model, (context, action) = built(probabilistic=True, **variant), cut(random_signals())
    mean, deviation = model.simulate(context, action)
    scaled = replace(context, action=context.action * 8 - 3, observation=context.observation * 0.25 + 7)
    other, other_deviation = model.simulate(scaled, action * 8 - 3)
    torch.testing.assert_close(other, mean * 0.25 + 7)
    torch.testing.assert_close(other_deviation, deviation * 0.25)


def test_the_network_is_that_of_the_paper():
    """A literal transcription in float64, with PyTorch's own transformer layers, whose parameters are copied."""
    model, batch = built(normalisation="none", bias=True, mlp_bias=True), random_signals()
    options = {"dim_feedforward": 32, "dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}
    memory = model.embed_context.linear(torch.cat([batch.action[:, :9], batch.observation[:, :9]], -1))
    memory = memory + model.position_context.weight
    for block in model.encoder:
        layer = torch.nn.TransformerEncoderLayer(8, 2, **options).double()
        copy_attention(layer.self_attn, block.attention)
        copy_rest(layer, block, (layer.norm1, block.norm_self), (layer.norm2, block.norm_mlp))
        memory = layer(memory)
    memory = model.norm_memory(memory)
    x = model.embed_query(batch.action[:, 9:]) + model.position_query.weight
    for block in model.decoder:
        layer = torch.nn.TransformerDecoderLayer(8, 2, **options).double()
        copy_attention(layer.self_attn, block.attention)
        copy_attention(layer.multihead_attn, block.cross)
        norms = ((layer.norm1, block.norm_self), (layer.norm2, block.norm_cross), (layer.norm3, block.norm_mlp))
        copy_rest(layer, block, *norms)
        later = torch.ones(5, 5, dtype=torch.bool).triu(1)
        x = layer(x, memory, tgt_mask=later)
    mean, _ = model.simulate(*cut(batch))
    torch.testing.assert_close(mean, model.head(model.norm(x)), rtol=1e-10, atol=1e-10)


def copy_attention(theirs, ours):
    parts = [part for part in (ours.query, ours.mixed) if part is not None]
    theirs.in_proj_weight.data = torch.cat([part.weight for part in parts])
    theirs.in_proj_bias.data = torch.cat([part.bias for part in parts])
    theirs.out_proj.load_state_dict(ours.out.state_dict())


def copy_rest(layer, block, *norms):
    for theirs, ours in ((layer.linear1, block.mlp.inner), (layer.linear2, block.mlp.out), *norms):
        theirs.load_state_dict(ours.state_dict())


def test_tokens_hold_the_steps_before_their_own():
    """The last of two tokens of 4 steps holds those and 2 more; each input to come comes with the 2 before it."""
    model, batch = built(lags=2, patch=4, normalisation="none"), random_signals()
    past = torch.cat([batch.action[:, :9], batch.observation[:, :9]], -1)
    tokens, _ = model.embed_context(past)
    torch.testing.assert_close(tokens[:, -1], model.embed_context.linear(past[:, 3:].flatten(1)))
    asked = []
    model.embed_query.register_forward_hook(lambda module, arguments, output: asked.append(arguments[0]))
    model.simulate(*cut(batch))
    assert torch.equal(asked[0][:, 0], batch.action[:, 7:10].flatten(1))
    assert torch.equal(asked[0][:, 4], batch.action[:, 11:14].flatten(1))


@pytest.mark.parametrize("probabilistic", [False, True])
def test_the_loss_is_its_formula(probabilistic):
    model, batch = built(probabilistic=probabilistic), random_signals()
    loss, _ = model.loss(batch, 0)
    mean, deviation = model.simulate(*cut(batch))
    unit, target = batch.observation.std(1, correction=0, keepdim=True), batch.observation[:, 9:]
    if probabilistic:
        expected = -torch.distributions.Normal(mean / unit, deviation / unit).log_prob(target / unit).mean()
    else:
        expected = ((mean - target) / unit).square().mean()
    torch.testing.assert_close(loss, expected)


def test_training_draws_lengths_and_windows():
    model, batch = built(least_context=4, least_horizon=2).train(), random_signals(t=20)
    shapes = set()
    model.head.register_forward_hook(lambda module, arguments, output: shapes.add(output.shape[1]))
    pasts = set()
    model.embed_context.register_forward_hook(lambda module, arguments, output: pasts.add(arguments[0].shape[1]))
    for _ in range(60):
        model.loss(batch, 0)
    assert shapes == {2, 3, 4, 5} and pasts == {4, 5, 6, 7, 8, 9}


@pytest.mark.parametrize("variant", VARIANTS)
def test_sequences_of_unequal_lengths_are_as_if_alone(variant):
    model, (context, action) = built(**variant), cut(random_signals())
    lengths = [9, 6, 4]
    together, _ = model.simulate(replace(context, length=torch.tensor(lengths)), action)
    for i, length in enumerate(lengths):
        one = SequenceBatch(
            action=context.action[i : i + 1, :length], observation=context.observation[i : i + 1, :length]
        )
        torch.testing.assert_close(together[i : i + 1], model.simulate(one, action[i : i + 1])[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("variant", VARIANTS)
def test_hidden_steps_cannot_matter(variant):
    mask = torch.ones(3, 14, dtype=torch.bool)
    mask[:, 3:5], mask[:, 12] = False, False
    mask[2] = False
    model, batch = built(**variant), random_signals(mask=mask)
    spoilt = torch.where(mask[..., None], batch.observation, torch.nan)
    loss, _ = model.loss(replace(batch, observation=spoilt), 0)
    assert loss.isfinite() and loss == model.loss(batch, 0)[0]


@pytest.mark.parametrize("variant", VARIANTS)
def test_capabilities_and_gradients(variant):
    model = replace(TINY, probabilistic=True, dropout=0.1, initialisation="gpt", **variant).build()
    assert isinstance(model, Model) and isinstance(model, Identifies)
    loss, terms = model.train().loss(random_signals(), 0)
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    assert set(terms) == {"mse", "nll"}


def test_signals_enter_and_leave_in_full_precision():
    model, (context, action) = built().float(), cut(random_signals())
    with torch.autocast("cpu", torch.bfloat16):
        mean, _ = model.simulate(context, action)
        entered, _ = model.embed_context(torch.zeros(1, 9, 3))
        inside = model.decoder[0].mlp.inner(torch.zeros(1, 1, 8))
    assert mean.dtype == entered.dtype == torch.float32 and inside.dtype == torch.bfloat16


def test_training_in_bfloat16_follows_the_losses_of_float32():
    losses = {}
    for precision in ("float32", "bfloat16"):
        torch.manual_seed(0)
        model = replace(TINY, inputs=1, context=32, horizon=16, width=32, initialisation="gpt").build()
        optimiser, losses[precision] = torch.optim.AdamW(model.parameters(), lr=1e-3), []
        for step in range(20):
            u, gain = torch.randn(32, 48, 1), 2 + torch.rand(32, 1, 1)
            batch = SequenceBatch(action=u, observation=gain * u + u.roll(1, 1))
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                loss, _ = model.loss(batch, step)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses[precision].append(loss.item())
    full, half = (torch.tensor(found) for found in losses.values())
    torch.testing.assert_close(half, full, rtol=0.01, atol=0)
    assert (half != full).any() and full[-1] < 0.5 * full[0]


def test_bad_input():
    model, (context, action) = built(), cut(random_signals())
    with pytest.raises(UserError, match="context: at most the model's 9 steps wanted, got 10"):
        model.simulate(*cut(random_signals(), 10))
    with pytest.raises(UserError, match="action: at most the model's 5 steps wanted, got 6"):
        model.simulate(*cut(random_signals(), 8))
    with pytest.raises(UserError, match="action: 2 channels wanted, got 1"):
        model.simulate(context, action[..., :1])
    with pytest.raises(UserError, match="action: inputs for the 3 sequences of the context wanted, got 2"):
        model.simulate(context, action[:2])
    with pytest.raises(
        UserError, match="observation: finite numbers wanted, got NaN or infinity in sequence 1 at step 2"
    ):
        spoilt = context.observation.clone()
        spoilt[1, 2] = torch.inf
        model.simulate(replace(context, observation=spoilt), action)
    with pytest.raises(UserError, match="observation: 9 steps of context and 5 to simulate wanted, got 10 in all"):
        model.loss(random_signals(t=10), 0)
    with pytest.raises(UserError, match="model.lags: expected at least 0, got -1"):
        replace(TINY, lags=-1)
    with pytest.raises(UserError, match="model.least_context: expected 1 .. 9, got 10"):
        replace(TINY, least_context=10)

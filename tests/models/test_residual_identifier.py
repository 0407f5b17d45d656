from dataclasses import replace

import pytest
import torch

from dynarium.errors import UserError
from dynarium.models import MODELS
from dynarium.models.capabilities import Identifies, Model
from dynarium.models.residual_identifier import ResidualIdentifierConfig
from dynarium.models.sequence_identifier import SequenceIdentifierConfig
from dynarium.models.simulation_transformer import SimulationTransformerConfig
from dynarium.ssm.averaging import averaged_output_error
from signals import cut, random_signals

LENGTHS = {"context": 24, "horizon": 6}
NETWORKS = {
    "lstm": SequenceIdentifierConfig(cell="lstm", layers=1, width=8, **LENGTHS),
    "transformer": SimulationTransformerConfig(layers=1, heads=2, width=8, positions="rotary", **LENGTHS),
}
TINY = ResidualIdentifierConfig(inputs=2, outputs=1, orders=(1, 2), network=NETWORKS["lstm"])


def built(name="lstm", spread=0.5, **options):
    torch.manual_seed(0)
    network = replace(NETWORKS[name], **options)
    model = replace(TINY, network=network).build()
    if spread:
        torch.nn.init.normal_(model.network.head.weight, std=spread)
    return model.double().eval()


def test_registered():
    assert MODELS["residual-identifier"]().network.cell == "lstm"


def test_a_fresh_model_answers_as_classical_identification_does():
    context, action = cut(random_signals(t=30), 24)
    u, y = torch.cat([context.action, action], 1), context.observation
    middle_u, middle_y = context.action.mean(1, keepdim=True), y.mean(1, keepdim=True)
    of_u, of_y = context.action.std(1, correction=0, keepdim=True), y.std(1, correction=0, keepdim=True)
    found = averaged_output_error((u - middle_u) / of_u, (y - middle_y) / of_y, (1, 2), 4)
    mean, deviation = built(spread=0).simulate(context, action)
    torch.testing.assert_close(mean, middle_y + of_y * found.mean[:, 24:])
    assert deviation is None


@pytest.mark.parametrize("name", NETWORKS)
def test_the_answer_is_out_of_reach(name):
    model, batch, outputs = built(name), random_signals(t=30), []
    model.network.head.register_forward_hook(lambda module, arguments, output: outputs.append(output))
    model.loss(batch, 0)
    spoilt = batch.observation.clone()
    spoilt[:, 24:] = 1e3 * torch.rand(3, 6, 1, dtype=torch.float64)
    model.loss(replace(batch, observation=spoilt), 0)
    assert torch.equal(outputs[0], outputs[1])


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_scale_and_shift_with_the_signals(name):
    model, (context, action) = built(name, probabilistic=True), cut(random_signals(t=30), 24)
    mean, deviation = model.simulate(context, action)
    scaled = replace(context, action=context.action * 8 - 3, observation=context.observation * 0.25 + 7)
    other, other_deviation = model.simulate(scaled, action * 8 - 3)
    torch.testing.assert_close(other, mean * 0.25 + 7, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(other_deviation, deviation * 0.25, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_capabilities_gradients_and_hidden_steps(name):
    mask = torch.ones(3, 34, dtype=torch.bool)
    mask[:, 3] = False
    batch = random_signals(t=34, mask=mask, length=torch.tensor([34, 31, 34]))
    network = replace(NETWORKS[name], probabilistic=True, least_context=20, least_horizon=3, context_noise=0.5)
    model = replace(TINY, network=network).build()
    assert isinstance(model, Model) and isinstance(model, Identifies)
    torch.nn.init.normal_(model.network.head.weight)
    seen = batch.observed()[..., None]
    answers = []
    for hidden in (torch.nan, 100.0):
        torch.manual_seed(0)
        spoilt = replace(batch, observation=torch.where(seen, batch.observation, hidden))
        loss, _ = model.train().loss(spoilt, 0)
        answers.append(loss.item())
    assert answers[0] == answers[1]
    loss.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())


def test_noise_is_on_the_past_alone_and_the_same_in_every_evaluation():
    batch = random_signals(t=30)
    quiet, noisy = built(), built(context_noise=0.5)

    def loss(model):
        return model.loss(batch, 0)[0].item()

    assert loss(noisy) == loss(noisy) != loss(quiet)
    noisy.train()
    assert loss(noisy) != loss(noisy)


def test_bad_input():
    with pytest.raises(UserError, match="model.orders: expected numbers of at least 1"):
        replace(TINY, orders=())
    with pytest.raises(UserError, match="model.context_noise: expected a number of at least 0, got -1"):
        replace(NETWORKS["lstm"], context_noise=-1)
    model, (context, action) = built(), cut(random_signals(t=30), 24)
    with pytest.raises(UserError, match="action: 2 channels wanted, got 1"):
        model.simulate(context, action[..., :1])

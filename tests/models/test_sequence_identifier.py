from dataclasses import replace

import pytest
import torch

from dynarium.errors import UserError
from dynarium.models import MODELS
from dynarium.models.capabilities import Identifies, Model
from dynarium.models.sequence_identifier import SequenceIdentifierConfig
from signals import cut, random_signals

TINY = SequenceIdentifierConfig(inputs=2, outputs=1, context=9, horizon=5, layers=2, width=8, states=6)
CELLS = ["lstm", "state-space"]


def built(**options):
    torch.manual_seed(0)
    model = replace(TINY, **options).build()
    torch.nn.init.normal_(model.head.weight, std=0.5)
    return model.double().eval()


def test_registered():
    assert MODELS["lstm-identifier"]().cell == "lstm"
    assert MODELS["state-space-identifier"]().cell == "state-space"


@pytest.mark.parametrize("cell", CELLS)
def test_a_later_input_cannot_change_an_earlier_output(cell):
    model, (context, action) = built(cell=cell), cut(random_signals())
    before, _ = model.simulate(context, action)
    changed = action.clone()
    changed[:, 2] += 5
    after, _ = model.simulate(context, changed)
    torch.testing.assert_close(after[:, :2], before[:, :2], rtol=1e-12, atol=1e-12)
    assert (after[:, 2:] != before[:, 2:]).all()
    for name in ("action", "observation"):
        for step in (0, 8):
            moved = getattr(context, name).clone()
            moved[:, step] += 5
            assert (model.simulate(replace(context, **{name: moved}), action)[0] != before).all()


@pytest.mark.parametrize("cell", CELLS)
def test_the_answer_is_out_of_reach(cell):
    model, batch, outputs = built(cell=cell), random_signals(), []
    model.head.register_forward_hook(lambda module, arguments, output: outputs.append(output))
    model.loss(batch, 0)
    spoilt = batch.observation.clone()
    spoilt[:, 9:] = 1e3 * torch.rand(3, 5, 1, dtype=torch.float64)
    model.loss(replace(batch, observation=spoilt), 0)
    assert torch.equal(outputs[0], outputs[1])


@pytest.mark.parametrize("cell", CELLS)
def test_outputs_scale_and_shift_with_the_signals(cell):
    model, (context, action) = built(cell=cell, probabilistic=True), cut(random_signals())
    mean, deviation = model.simulate(context, action)
    scaled = replace(context, action=context.action * 8 - 3, observation=context.observation * 0.25 + 7)
    other, other_deviation = model.simulate(scaled, action * 8 - 3)
    torch.testing.assert_close(other, mean * 0.25 + 7)
    torch.testing.assert_close(other_deviation, deviation * 0.25)


def test_the_lstm_is_fed_as_the_module_says():
    model, (context, action) = built(cell="lstm", normalisation="none", layers=1), cut(random_signals())
    cell = torch.nn.LSTMCell(8, 8).double()
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in model.lstm.state_dict().items()})
    state, expected = None, []
    for t in range(14):
        u = context.action[:, t] if t < 9 else action[:, t - 9]
        known = torch.full((3, 1), float(1 <= t <= 9), dtype=torch.float64)
        y = context.observation[:, t - 1] if 1 <= t <= 9 else torch.zeros(3, 1, dtype=torch.float64)
        state = cell(model.embed(torch.cat([u, y, known], -1)), state)
        expected.append(model.head(model.norm(state[0])))
    torch.testing.assert_close(model.simulate(context, action)[0], torch.stack(expected[9:], 1))


@pytest.mark.parametrize("cell", CELLS)
def test_capabilities_and_gradients(cell):
    mask = torch.ones(3, 16, dtype=torch.bool)
    mask[:, 3] = False
    batch = random_signals(t=16, mask=mask, length=torch.tensor([16, 12, 16]))
    model = replace(TINY, cell=cell, probabilistic=True, least_context=5, least_horizon=2).build()
    assert isinstance(model, Model) and isinstance(model, Identifies)
    spoilt = torch.where(batch.observed()[..., None], batch.observation, torch.nan)
    loss, _ = model.train().loss(replace(batch, observation=spoilt), 0)
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_any_number_of_steps():
    mean, _ = built().simulate(*cut(random_signals(t=60), 25))
    assert mean.shape == (3, 35, 1) and mean.isfinite().all()


def test_bad_input():
    model, (context, action) = built(), cut(random_signals())
    with pytest.raises(UserError, match="action: 2 channels wanted, got 1"):
        model.simulate(context, action[..., :1])
    with pytest.raises(UserError, match="model.dropout: expected a probability in \\[0, 1\\), got 1"):
        replace(TINY, dropout=1.0)

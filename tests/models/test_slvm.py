from dataclasses import replace

import pytest
import torch

from dynarium.data import make_dataset
from dynarium.data.episodes import EpisodeConfig, EpisodeSource
from dynarium.errors import UserError
from dynarium.models.capabilities import Encodes, Forecasts, Model
from dynarium.models.per_task import PerTaskConfig
from dynarium.models.slvm import SLVMConfig
from dynarium.systems.multitask import MultiTask
from dynarium.systems.sets import gravity_ball
from dynarium.types import SequenceBatch

TINY = SLVMConfig(
    frame=(1, 16, 16), rolled=6, decoded=4, latent=3, code=2, hidden=8, channels=(4, 4), context_channels=(4, 4)
)


@pytest.fixture(scope="module")
def batch(tmp_path_factory) -> SequenceBatch:
    world = MultiTask(worlds=(gravity_ball(0), gravity_ball(8)), side=16)
    dataset = make_dataset(world, tmp_path_factory.mktemp("data") / "g", sizes={"train": 32}, steps=8)
    return next(EpisodeSource(dataset, "train", EpisodeConfig(shots=3, queries=4), batch_size=8).batches(0))


def built(**options):
    torch.manual_seed(0)
    return replace(TINY, **options).build().eval()


@pytest.mark.parametrize("dynamics", ["residual", "lstm"])
@pytest.mark.parametrize("conditioning", ["none", "context"])
def test_capabilities(batch, dynamics, conditioning):
    model = built(dynamics=dynamics, conditioning=conditioning)
    assert isinstance(model, Model) and isinstance(model, Encodes) and isinstance(model, Forecasts)
    loss, terms = model.train().loss(batch, 0)
    loss.backward()
    # The posterior over the code, the prior from the context, the dynamics: everything learns.
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    assert ("kl_code" in terms) == (conditioning == "context")
    model.eval()
    assert model.encode(batch)["z"].shape == (8, 8, 3)
    frames = model.forecast(batch, 5, samples=2)
    assert frames.shape == (2, 8, 5, 1, 16, 16)
    assert torch.equal(frames[0], frames[1])
    random = model.forecast(batch, 5, samples=2, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(random[0], random[1])


def test_the_loss_is_the_bound_term_by_term(batch):
    model = built()
    frames = batch.video[:, :6].float() / 255
    with torch.no_grad():
        loss, _ = model.loss(batch, 0)
        mean, log_variance = model.first_state(model.encoder(frames[:, :3].flatten(1, 2))).chunk(2, -1)
        summaries = model.summary(model.context((batch.context.video[:, :6].float() / 255).flatten(1, 2)))
        mine = model.summary(model.context(frames.flatten(1, 2)))
        total = torch.zeros(())
        for i in range(8):
            of_episode = [s for s, e in zip(summaries, batch.context.episode, strict=True) if e == batch.episode[i]]
            code = {}
            for name, members in {"prior": of_episode, "posterior": [*of_episode, mine[i]]}.items():
                pooled = torch.nn.functional.silu(sum(members) / len(members))
                m, v = model.code(pooled).chunk(2, -1)
                code[name] = torch.distributions.Normal(m, (0.5 * v).exp())
            z, logits = mean[i], []
            gain_1, gain_2, shift_1, shift_2 = model.dynamics.modulation(code["prior"].mean).chunk(4)
            for _ in range(6):
                logits.append(model.decoder(z[None])[0])
                h = torch.nn.functional.silu((1 + gain_1) * model.dynamics.first(z) + shift_1)
                h = torch.nn.functional.silu((1 + gain_2) * model.dynamics.second(h) + shift_2)
                z = z + model.dynamics.last(h)
            total += -torch.distributions.Bernoulli(logits=torch.stack(logits)).log_prob(frames[i]).sum()
            first = torch.distributions.Normal(mean[i], (0.5 * log_variance[i]).exp())
            total += torch.distributions.kl_divergence(first, torch.distributions.Normal(0.0, 1.0)).sum()
            total += torch.distributions.kl_divergence(code["posterior"], code["prior"]).sum()
    torch.testing.assert_close(loss, total / 8, rtol=1e-5, atol=1e-3)


def test_training_decodes_a_part_without_bias(batch):
    model = built(conditioning="none", state_weight=TINY.state_weight)
    model._drawn = lambda mean, log_variance: mean  # the only noise left is which frames are decoded
    whole = model.train().config
    with torch.no_grad():
        model.config = replace(whole, decoded=6)
        exact = model.loss(batch, 0)[0]
        model.config = replace(whole, decoded=2)
        torch.manual_seed(0)
        drawn = torch.stack([model.loss(batch, 0)[0] for _ in range(400)])
    assert drawn.std() > 0
    assert abs(drawn.mean() - exact) < 4 * drawn.std() / 20


def test_the_code_depends_on_the_episode_and_not_on_order_or_number(batch):
    model = built()
    code = model.code_of(batch)[0]
    assert torch.equal(code[0], code[3]) and not torch.allclose(code[0], code[7])
    shuffled = replace(batch, context=batch.context.select(torch.randperm(6)))
    torch.testing.assert_close(model.code_of(shuffled)[0], code)
    twice = replace(batch, context=batch.context.select(torch.arange(6).repeat(2)))
    torch.testing.assert_close(model.code_of(twice)[0], code)


def test_what_is_hidden_cannot_matter(batch):
    model = built()
    mask = torch.ones(8, 8, dtype=torch.bool)
    mask[:, 1] = mask[:, 4] = False
    hidden = replace(batch, mask=mask, context=replace(batch.context, mask=mask[:6]))
    other = batch.video.clone()
    other[:, [1, 4]] = 77
    context = batch.context.video.clone()
    context[:, [1, 4]] = 99
    changed = replace(hidden, video=other, context=replace(hidden.context, video=context))
    for ask in (lambda b: model.loss(b, 0)[0], lambda b: model.forecast(b, 3), lambda b: model.encode(b)["z"]):
        assert torch.equal(ask(hidden), ask(changed))


def test_frames_after_the_context_cannot_matter(batch):
    model = built(conditioning="none")
    other = replace(batch, video=torch.cat([batch.video[:, :3], 255 - batch.video[:, 3:]], 1))
    assert torch.equal(model.encode(batch)["z"], model.encode(other)["z"])


def test_errors_name_what_is_wanted(batch):
    with pytest.raises(UserError, match="the batch has none"):
        built().loss(replace(batch, context=None), 0)
    with pytest.raises(UserError, match="3 frames wanted"):
        built(conditioning="none").forecast(replace(batch, video=batch.video[:, :2], state=None), 3)
    with pytest.raises(UserError, match=r"model\.rolled"):
        SLVMConfig(rolled=2)
    with pytest.raises(UserError, match="6 frames wanted, the sequences of the data have 5"):
        TINY.fitted({"video": (5, 1, 16, 16)})


def test_per_task_is_one_model_a_task(batch):
    torch.manual_seed(0)
    bank = PerTaskConfig(model=replace(TINY, conditioning="none"), tasks=2).build().eval()
    mixed = batch.select(torch.tensor([0, 5, 2, 7, 1]))
    frames, z = bank.forecast(mixed, 4), bank.encode(mixed)["z"]
    for i in range(5):
        model, alone = bank.models[int(mixed.task[i])], mixed.select(torch.tensor([i]))
        torch.testing.assert_close(frames[:, i : i + 1], model.forecast(alone, 4))
        torch.testing.assert_close(z[i : i + 1], model.encode(alone)["z"])
    loss, _ = bank.loss(mixed, 0)
    each = [bank.models[int(mixed.task[i])].loss(mixed.select(torch.tensor([i])), 0)[0] for i in range(5)]
    torch.testing.assert_close(loss, sum(each) / 5)


def test_a_batch_of_one_task_teaches_that_model_alone(batch):
    bank = PerTaskConfig(model=replace(TINY, conditioning="none"), tasks=2).build()
    bank.loss(batch.select((batch.task == 1).nonzero()[:, 0]), 0)[0].backward()
    assert all(p.grad is None for p in bank.models[0].parameters())
    assert all(p.grad is not None for p in bank.models[1].parameters())

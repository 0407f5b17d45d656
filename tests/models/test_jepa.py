from dataclasses import replace

import pytest
import torch

from dots import dot_clips
from dynarium import config
from dynarium.errors import UserError
from dynarium.models import MODELS
from dynarium.models.capabilities import Encodes, Imagines, Model, Prepares
from dynarium.models.jepa import JEPAConfig
from dynarium.models.jepa_terms import AcrossSequences, Decoding, InverseDynamics, SIGReg, VICReg, WithinTrajectory
from dynarium.nn.encoders import Pixels
from dynarium.nn.impala import Impala
from dynarium.nn.menet import MeNet
from dynarium.objectives.schedules import Constant, Linear

METHODS = [name for name in MODELS if name.startswith("jepa-")] + ["reconstruction"]
SMALL = {"embedding": 16, "encoder": MeNet(width=1)}


@pytest.fixture(scope="module")
def batch():
    return dot_clips(8)


def shapes(batch):
    return {name: tuple(value.shape[1:]) for name, value in batch.present().items()}


def built(batch, options=None, **changes):
    torch.manual_seed(0)
    model = replace(options or JEPAConfig(), **(SMALL | changes)).fitted(shapes(batch)).build()
    model.prepare([batch])
    return model


@pytest.mark.parametrize("name", METHODS)
def test_every_method_learns_with_all_that_it_has(name, batch):
    options = MODELS[name]()
    assert config.from_dict(config.to_dict(options)) == options
    model = built(batch, options)
    for wanted in (Model, Encodes, Imagines, Prepares):
        assert isinstance(model, wanted)
    loss, terms = model.loss(batch, 0)
    loss.backward()
    moved = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    everything = {n for n, _ in model.named_parameters()}
    assert loss.isfinite() and all(term.isfinite() for term in terms.values())
    assert all(p.grad is not None for p in model.parameters())  # data-parallel training wants none to be unused
    assert moved == (set() if name == "jepa-random" else everything)


def test_sizes_are_the_published_ones(batch):
    model = JEPAConfig(inverse_dynamics=InverseDynamics()).build()
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    assert counts == {"normalization": 0, "encoder": 384_768, "gru": 792_576, "inverse": 2_050}


def test_the_loss_is_the_study_s_written_out(batch):
    model = built(
        batch,
        prediction=20.0,
        regularizer=VICReg(std=9.0, cov=2.0),
        inverse_dynamics=InverseDynamics(weight=3.0, between="rollout"),
        temporal=0.5,
    ).double()
    x = (batch.video.float() / 255).double()
    x = (x - x.mean()) / x.std(unbiased=False)
    actions = batch.action[:, :5].double()
    actions = actions / batch.action.double().square().mean((0, 1)).sqrt()
    e = model.encoder(x.flatten(0, 1)).unflatten(0, (8, 6))
    p = model.gru.gru(actions, e[None, :, 0].contiguous())[0]
    std = cov = 0.0
    for t in range(1, 6):
        std += (1 - (e[:, t].var(0) + 1e-4).sqrt()).relu().mean() / 5
        c = e[:, t].T.cov()
        cov += (c.square().sum() - c.diagonal().square().sum()) / 16 / 5
    before = torch.cat([e[:, :1], p[:, :-1]], 1)
    read = model.inverse(torch.cat([before, e[:, 1:]], -1))
    wanted = 20 * (p - e[:, 1:]).square().mean() + 9 * std + 2 * cov + 3 * (read - actions).square().mean()
    wanted = wanted + 0.5 * (e[:, 1:] - e[:, :-1]).square().mean()
    loss, _ = model.loss(batch, 0)
    torch.testing.assert_close(loss, wanted)


def test_targets_and_stop_gradient(batch):
    model = built(batch, regularizer=None, stop_gradient=True, predictor="identity")
    assert model.loss(batch, 0)[0] > 0
    model = built(batch, regularizer=None, target=Constant(value=0.9))
    first = [p.clone() for p in model.target.parameters()]
    with torch.no_grad():
        for p in model.encoder.parameters():
            p.add_(1.0)
    model.loss(batch, 0)[0].backward()
    for before, after in zip(first, model.target.parameters(), strict=True):
        torch.testing.assert_close(after, before + 0.1)
        assert after.grad is None
    frozen = [p.clone() for p in model.target.parameters()]
    model.eval().loss(batch, 0)
    assert all(torch.equal(a, b) for a, b in zip(frozen, model.target.parameters(), strict=True))


@pytest.mark.parametrize(
    "options",
    [
        {"head": (24, 20)},
        {"head": (784,), "encoder": Pixels()},
        {"projector": (20, 12)},
        {"projector": (12,), "projector_frozen": True, "predict_projected": True},
        {"projector": (12,), "predict_projected": True, "target": Constant(value=0.99)},
        {"encoding_regularizer": VICReg()},
        {"predictor": "mlp"},
        {"predictor": "identity"},
        {"layers": 2},
        {"encoder": Impala(channels=(8, 8), groups=4)},
        {"decoding": Decoding(detached=True, width=1)},
    ],
    ids=lambda options: "-".join(options),
)
def test_options(options, batch):
    model = built(batch, **options)
    loss, terms = model.loss(batch, 0)
    loss.backward()
    assert loss.isfinite() and terms["prediction"] > 0
    assert model.encode(batch)["z"].shape == (8, 6, 16)
    assert ("encoding_std" in terms) == ("encoding_regularizer" in options)
    if "decoding" in options:
        assert model.decode(model.embed(batch.video)).shape == batch.video.shape


@pytest.mark.parametrize("reach", [1, 2, 5])
def test_predictions_from_every_frame(reach, batch):
    model = built(batch, reach=reach).eval()
    e, action = model.embed(batch.video), batch.action[:, :5]
    errors = [
        (model.imagine(e[:, s], action[:, s : s + reach]) - e[:, s + 1 : s + 1 + reach]).square()
        for s in range(6 - reach)
    ]
    _, terms = model.loss(batch, 0)
    torch.testing.assert_close(terms["prediction"], torch.stack(errors).mean())
    with pytest.raises(UserError, match="model.reach: expected at most the 5 actions"):
        built(batch, reach=6).loss(batch, 0)


def test_the_weight_of_the_predictions_grows_in_training(batch):
    growth = Linear(start=0.25, end=1.0, begin=10, until=20)
    grows, whole = (built(batch, prediction=8.0, regularizer=None, growth=g) for g in (growth, Constant(value=1.0)))
    full = whole.loss(batch, 0)[0].item()
    for step, share in ((0, 0.25), (15, 0.625), (99, 1.0)):
        assert grows.train().loss(batch, step)[0].item() == pytest.approx(share * full, rel=1e-5)
    grows.load_state_dict(whole.state_dict())  # the statistics of the batch normalisation among them
    grows.eval(), whole.eval()
    assert grows.loss(batch, 0)[0].item() == pytest.approx(whole.loss(batch, 0)[0].item()), "as at the end"


def test_a_detached_decoder_teaches_the_encoder_nothing(batch):
    for detached in (True, False):
        model = built(batch, prediction=0.0, regularizer=None, decoding=Decoding(detached=detached, width=1))
        model.loss(batch, 0)[0].backward()
        assert all((p.grad is None or not p.grad.any()) == detached for p in model.encoder.parameters())


def test_imagination(batch):
    model = built(batch).eval()
    z = model.embed(batch.video)
    action = batch.action[:, :4].clone().requires_grad_()
    imagined = model.imagine(z[:, 0], action)
    assert imagined.shape == (8, 4, 16)
    # What is done later changes nothing before, and plans can follow the gradient.
    assert torch.equal(model.imagine(z[:, 0], action[:, :2]), imagined[:, :2])
    assert torch.autograd.grad(imagined[:, -1].sum(), action)[0].abs().sum((0, 2)).min() > 0
    # Pixels are normalised by the model: uint8 and floating point mean the same.
    torch.testing.assert_close(model.embed(batch.video.float() / 255), z)


def test_evaluation_is_deterministic_and_tells_a_collapse(batch):
    model = built(batch, MODELS["jepa-sigreg"]()).eval()
    loss, terms = model.loss(batch, 0)
    assert torch.equal(loss, model.loss(batch, 7)[0])
    assert 1 <= terms["effective_rank"] <= 16 and terms["feature_std"] > 1e-3
    with torch.no_grad():
        model.encoder.layers[-1].weight.zero_()
    _, terms = model.loss(batch, 0)
    assert terms["feature_std"] < 1e-6 and terms["effective_rank"] < 1.01


def test_diagnostics_are_in_full_precision_under_autocast(batch):
    """A correlation of bfloat16 products has two digits."""
    model = built(batch, MODELS["jepa-sigreg"]()).eval()
    z = torch.randn(8, 6, 16, generator=torch.Generator().manual_seed(0))
    plain = model._diagnostics(z, z[:, 1:] + 0.1, z[:, 1:])
    with torch.autocast("cpu", torch.bfloat16):
        found = model._diagnostics(z, z[:, 1:] + 0.1, z[:, 1:])
    assert all(torch.equal(found[name], plain[name]) for name in plain) and "feature_correlation" in plain


def test_training_learns_the_dot_better_than_copying():
    torch.manual_seed(0)
    model = built(dot_clips(8), MODELS["jepa-vicreg"](), embedding=32)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(30):
        optimizer.zero_grad()
        loss, terms = model.loss(dot_clips(32, steps=4, seed=step), step)
        loss.backward()
        optimizer.step()
        if step == 0:
            first = terms
    assert terms["copying_ratio"] < 0.8 * first["copying_ratio"]
    assert terms["feature_std"] > 1.2 * first["feature_std"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SIGReg(directions=0), r"regularizer\.directions: expected at least 1, got 0"),
        (lambda: SIGReg(knots=1), r"regularizer\.knots: expected at least 2, got 1"),
        (lambda: AcrossSequences(temperature=0.0), r"regularizer\.temperature: expected a positive number, got 0"),
        (lambda: WithinTrajectory(temperature=-1.0), r"regularizer\.temperature"),
        (lambda: Decoding(width=0), r"decoding\.width"),
    ],
)
def test_options_out_of_range_are_named(make, words):
    with pytest.raises(UserError, match=rf"model\.{words}"):
        make()


@pytest.mark.parametrize("regularizer", [VICReg(), SIGReg(), AcrossSequences()], ids=lambda r: type(r).__name__)
def test_one_sequence_is_compared_with_nothing(regularizer):
    one = dot_clips(1)
    with pytest.raises(UserError, match=r"training\.batch_size: expected at least 2 sequences in every batch.* got 1"):
        built(dot_clips(2), regularizer=regularizer).loss(one, 0)
    loss, terms = built(dot_clips(2), regularizer=VICReg(over="frames")).loss(one, 0)
    assert loss.isfinite() and terms["feature_std"] < 1e-6


def test_what_is_missing_is_said(batch):
    with pytest.raises(UserError, match="needs the field 'action'"):
        JEPAConfig().fitted({"video": (6, 1, 28, 28)})
    with pytest.raises(UserError, match="needs the field 'state'"):
        MODELS["jepa-supervised"]().fitted({"video": (6, 1, 28, 28), "action": (6, 2)})
    with pytest.raises(UserError, match="no model.projector"):
        JEPAConfig(predict_projected=True)
    with pytest.raises(UserError, match="model.reach: expected at least 1, and no"):
        JEPAConfig(projector=(8,), predict_projected=True, reach=2)
    with pytest.raises(UserError, match="no decoder"):
        built(batch).decode(torch.zeros(1, 1, 16))
    with pytest.raises(UserError, match="mask"):
        built(batch).loss(replace(batch, mask=torch.arange(6).expand(8, 6) < 3), 0)
    with pytest.raises(UserError, match="2 values a step wanted, got 3"):
        built(batch).imagine(torch.zeros(1, 16), torch.zeros(1, 4, 3))

"""Switching linear dynamics against exact linear-Gaussian inference, enumeration of all paths, and a system that is known."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from dynarium.data.generate import draw, seeded
from dynarium.errors import UserError
from dynarium.metrics.segmentation import matched
from dynarium.models.capabilities import (
    BoundsLikelihood,
    Encodes,
    ForecastsObservations,
    HasModes,
    HasVectorField,
    Model,
    Prepares,
    Segments,
)
from dynarium.models.slds import SLDSConfig, raw_root, root_of
from dynarium.models.slds_learning import EMConfig
from dynarium.models.slds_posterior import Posterior, States, expected_log_transition, infer_modes, infer_states
from dynarium.ssm import LinearGaussian, kalman_filter, rts_smoother
from dynarium.systems.nascar import Nascar
from dynarium.types import SequenceBatch

F64 = torch.float64


def model_of(seed=0, **options):
    torch.manual_seed(seed)
    model = SLDSConfig(**({"modes": 2, "state": 2, "observation": 3} | options)).build().eval()
    k, n = model.config.modes, model.config.state
    model.assign(
        A=0.7 * torch.eye(n, dtype=F64) + 0.2 * torch.randn(k, n, n, dtype=F64),
        b=torch.randn(k, n, dtype=F64),
        S=0.1 + torch.rand(model.config.observation, dtype=F64),
    )
    if model.W is not None:
        model.assign(W=torch.randn(k, n, dtype=F64))
    return model


def sampled(model, n=4, steps=20, seed=0, **fields):
    y, x, z = model.sample(n, steps, torch.Generator().manual_seed(seed))
    return SequenceBatch(observation=y, state=x, mode=z, **fields)


def as_linear_gaussian(model):
    """The plain system as exact inference sees it: the offsets b and d are the effects of a control that is always 1."""
    p = model.potentials
    return LinearGaussian(
        A=p.A[0],
        Q=p.Q_root[0] @ p.Q_root[0].mT,
        C=p.C,
        R=p.S.diag(),
        m0=p.m0,
        P0=p.P0_root @ p.P0_root.mT,
        B=p.b[0][:, None],
        D=p.d[:, None],
    )


@pytest.fixture(scope="module")
def track():
    fields = draw(Nascar(), 24, 200, seeded(0))
    return SequenceBatch(observation=fields["observation"], mode=fields["mode"])


def test_capabilities():
    model = model_of()
    for capability in (
        Model,
        Prepares,
        Encodes,
        Segments,
        ForecastsObservations,
        BoundsLikelihood,
        HasModes,
        HasVectorField,
    ):
        assert isinstance(model, capability)


def test_one_mode_is_the_kalman_smoother():
    model = model_of(modes=1)
    mask = torch.rand(4, 20, generator=torch.Generator().manual_seed(3)) > 0.3
    batch = sampled(model, mask=mask, length=torch.tensor([20, 12, 1, 7]))
    linear, ones = as_linear_gaussian(model), torch.ones(4, 20, 1, dtype=F64)
    filtered = kalman_filter(linear, batch.observation, mask=batch.observed(), u=ones)
    smoothed = rts_smoother(linear, filtered)
    torch.testing.assert_close(model.bound(batch), filtered.log_likelihood.sum(1))
    found = model.infer(model.sequences(batch)).states
    for i, n in enumerate(batch.length.tolist()):
        torch.testing.assert_close(found.mean[i, :n], smoothed.mean[i, :n])
        torch.testing.assert_close(found.cov[i, :n], smoothed.cov[i, :n])
    ahead = model.forecast_observations(replace(batch, length=None, mask=None), 3)[0]
    state = kalman_filter(linear, batch.observation, u=ones).mean[:, -1]
    for step in range(3):
        state = state @ model.A[0].mT + model.b[0]
        torch.testing.assert_close(ahead[:, step], state @ model.C.mT + model.d)


def test_the_gradient_of_the_loss_of_one_mode_is_that_of_the_likelihood():
    model = model_of(modes=1)
    batch = sampled(model)
    model.loss(batch, 0)[0].backward()
    found = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    model.zero_grad()
    likelihood = kalman_filter(as_linear_gaussian(model), batch.observation, u=torch.ones(4, 20, 1, dtype=F64))
    (-likelihood.log_likelihood.mean()).backward()
    for name in ("A", "b", "Q_root", "C", "d", "log_S", "m0", "P0_root"):
        torch.testing.assert_close(found[name], getattr(model, name).grad, msg=name)


@pytest.mark.parametrize("recurrent", [False, True])
def test_the_bound_lies_below_the_likelihood(recurrent):
    """Without recurrence against all paths; with it against importance sampling from the model."""
    model = model_of(recurrent=recurrent)
    model.assign(Q=torch.eye(2, dtype=F64).repeat(2, 1, 1), R=torch.zeros(2, 2, dtype=F64), S=torch.ones(3, dtype=F64))
    batch = sampled(model, n=3, steps=3)
    bound = model.bound(batch)
    if recurrent:
        many, g = 200_000, torch.Generator().manual_seed(1)
        _, x, _ = model.sample(many, 3, g)
        mean = x @ model.C.mT + model.d
        residual = batch.observation[:, None] - mean
        log_y = -0.5 * (residual.square() / model.log_S.exp() + (2 * math.pi * model.log_S.exp()).log()).sum((-1, -2))
        likelihood = log_y.logsumexp(1) - math.log(many)
    else:
        p, scores = model.potentials, []
        for path in itertools.product(range(2), repeat=3):
            z = torch.tensor(path)
            linear = replace(as_linear_gaussian(model), A=p.A[z], B=p.b[z][..., None], Q=(p.Q_root @ p.Q_root.mT)[z])
            ones = torch.ones(3, 3, 1, dtype=F64)
            score = p.log_initial[z[0]] + p.R.log_softmax(-1)[z[:-1], z[1:]].sum()
            scores.append(score + kalman_filter(linear, batch.observation, u=ones).log_likelihood.sum(1))
        likelihood = torch.stack(scores).logsumexp(0)
    slack = 0.05 if recurrent else 1e-9
    assert (bound < likelihood + slack).all()
    assert (bound > likelihood - 1.5).all()


def test_coordinate_ascent_never_goes_down():
    model = model_of(recurrent=False)
    sequences = model.sequences(sampled(model))
    p = model.potentials
    with torch.no_grad():
        states = infer_states(
            p, infer_modes(p, model.infer(sequences).states, sequences), sequences.y[..., :2], sequences
        )
        start = States(
            mean=torch.zeros_like(states.mean),
            cov=states.cov,
            cross_cov=states.cross_cov,
            entropy=states.entropy,
        )
        states, bounds = start, []
        for _ in range(15):
            modes = infer_modes(p, states, sequences)
            bounds.append(Posterior(states=states, modes=modes).total(p, sequences))
            states = infer_states(p, modes, states.mean, sequences)
            bounds.append(Posterior(states=states, modes=modes).total(p, sequences))
    rises = torch.stack(bounds).diff(dim=0)
    assert (rises > -1e-9).all() and (rises[0] > 1.0).all()


def test_newton_finds_where_the_slope_is_zero():
    model = model_of(recurrent=True)
    sequences = model.sequences(sampled(model, length=torch.tensor([20, 20, 9, 20])))
    p = model.potentials
    posterior = model.infer(sequences)
    with torch.no_grad():
        mean = infer_states(p, posterior.modes, posterior.states.mean, sequences).mean
    x = mean.clone().requires_grad_()
    zero = torch.zeros_like(posterior.states.cov)
    states = States(
        mean=x, cov=zero, cross_cov=torch.zeros_like(posterior.states.cross_cov), entropy=x.new_zeros(len(x))
    )
    Posterior(states=states, modes=posterior.modes).total(p, sequences).sum().backward()
    assert x.grad.abs().max() < 1e-3


def test_expected_transitions_are_bounds_and_exact_for_known_states():
    model = model_of(recurrent=True, modes=3)
    g = torch.Generator().manual_seed(0)
    mean, root = torch.randn(1, 2, 2, generator=g, dtype=F64), 0.3 * torch.randn(1, 2, 2, 2, generator=g, dtype=F64)
    cov, cross = root @ root.mT, torch.zeros(1, 1, 2, 2, dtype=F64)
    known = States(mean=mean, cov=0 * cov, cross_cov=cross, entropy=torch.zeros(1, dtype=F64))
    with torch.no_grad():
        exact = expected_log_transition(model.potentials, known)[0, 0]
        torch.testing.assert_close(exact, model.next_modes(mean[0, 0]).log())
        bound = expected_log_transition(model.potentials, replace(known, cov=cov))[0, 0]
        x = mean[0, 0] + torch.randn(100_000, 2, generator=g, dtype=F64) @ root[0, 0].mT
        sampled_mean = model.next_modes(x).log().mean(0)
    assert (bound < sampled_mean + 0.02).all() and (bound > sampled_mean - 0.5).all()


def test_hidden_content_cannot_matter():
    model = model_of(modes=3)
    mask = torch.rand(4, 20, generator=torch.Generator().manual_seed(2)) > 0.3
    length = torch.tensor([20, 15, 20, 11])
    batch = sampled(model, mask=mask, length=length)
    spoilt = batch.observation.clone()
    spoilt[~batch.observed()] = torch.nan
    noisy = replace(batch, observation=spoilt)
    assert torch.equal(model.bound(batch), model.bound(noisy))
    assert torch.equal(model.segment(batch), model.segment(noisy))
    assert torch.equal(model.smooth(batch)[0], model.smooth(noisy)[0])
    assert torch.equal(model.loss(batch, 0)[0], model.loss(noisy, 0)[0])
    cut = SequenceBatch(observation=batch.observation[3:, :11], mask=mask[3:, :11])
    torch.testing.assert_close(model.bound(batch.select(torch.tensor([3]))), model.bound(cut), atol=1e-4, rtol=0)


def test_a_sensor_that_is_nan_is_a_deleted_one():
    model = model_of(modes=1)
    batch = sampled(model, mask=torch.rand(4, 20, generator=torch.Generator().manual_seed(3)) > 0.2)
    sensors = torch.rand(4, 20, 3, generator=torch.Generator().manual_seed(4)) > 0.3
    holes = replace(batch, observation=torch.where(sensors, batch.observation, torch.nan))
    linear, ones = as_linear_gaussian(model), torch.ones(4, 20, 1, dtype=F64)
    filtered = kalman_filter(linear, batch.observation, mask=batch.mask[..., None] & sensors, u=ones)
    torch.testing.assert_close(model.bound(holes), filtered.log_likelihood.sum(1))
    smoothed = rts_smoother(linear, filtered)
    torch.testing.assert_close(model.encode(holes)["x"], smoothed.mean)
    torch.testing.assert_close(model.smooth(holes)[0], smoothed.mean @ model.C.mT + model.d)
    # A sensor that is never there leaves the model of the others.
    last = torch.where(torch.arange(3) < 2, batch.observation, torch.nan)
    fewer = SLDSConfig(modes=1, state=2, observation=2).build()
    weights = model.state_dict()
    fewer.load_state_dict({k: v[:2] if k in ("C", "d", "log_S") else v for k, v in weights.items()})
    torch.testing.assert_close(
        model.bound(replace(batch, observation=last)),
        fewer.bound(replace(batch, observation=batch.observation[..., :2])),
    )


@pytest.mark.parametrize("recurrent", [False, True])
def test_learning_from_what_is_there(recurrent):
    """Hidden steps and sensors, and what lies beyond a sequence's end, leave no trace in the parameters."""
    truth = model_of(modes=2, observation=4, recurrent=recurrent)
    g = torch.Generator().manual_seed(5)
    mask, length = torch.rand(12, 30, generator=g) > 0.2, torch.randint(12, 31, (12,), generator=g)
    batch = sampled(truth, n=12, steps=30, mask=mask, length=length)
    sensors = (torch.rand(12, 30, 4, generator=g) > 0.1) & batch.observed()[..., None]
    holes = replace(batch, observation=torch.where(sensors, batch.observation, torch.nan))
    # the same sequences in a longer batch, with rubbish behind them
    junk = torch.full((12, 5, 4), 1e3, dtype=F64)
    longer = SequenceBatch(
        observation=torch.cat([holes.observation, junk], 1),
        mask=torch.cat([mask, torch.ones(12, 5, dtype=torch.bool)], 1),
        length=length,
    )
    em = EMConfig(iterations=5, restarts=2, restart_iterations=3, tolerance=0.0)
    fits = []
    for given in (holes, longer):
        torch.manual_seed(0)
        model = replace(truth.config, em=em).build()
        bounds = model.prepare([given])
        assert np.isfinite(bounds).all() and (recurrent or (np.diff(bounds) > -1e-9).all())
        fits.append(model)
    for name, value in fits[0].named_parameters():
        torch.testing.assert_close(value, dict(fits[1].named_parameters())[name], rtol=1e-6, atol=1e-6, msg=name)


def test_em_of_one_mode_raises_the_exact_likelihood():
    truth = model_of(modes=1, observation=4)
    mask = torch.rand(30, 40, generator=torch.Generator().manual_seed(2)) > 0.1
    batch = sampled(truth, n=30, steps=40, mask=mask)
    model = SLDSConfig(modes=1, state=2, observation=4, em=EMConfig(iterations=60, tolerance=0.0)).build()
    bounds = torch.tensor(model.prepare([batch]))
    assert (bounds.diff() > -1e-10).all()
    exact = kalman_filter(as_linear_gaussian(model), batch.observation, mask=mask, u=torch.ones(30, 40, 1, dtype=F64))
    assert exact.log_likelihood.sum() / mask.sum() >= bounds[-1]
    assert model.bound(batch).sum() > truth.bound(batch).sum()


def test_em_without_recurrence_is_monotone_and_finds_the_modes(track):
    em = EMConfig(iterations=12, tolerance=0.0, restarts=2, restart_iterations=10)
    model = SLDSConfig(modes=4, state=2, observation=10, recurrent=False, em=em).build()
    bounds = torch.tensor(model.prepare([track]))
    assert len(bounds) == 12 and (bounds.diff() > -1e-9).all() and bounds[-1] > bounds[0] + 0.05
    fields = draw(Nascar(), 10, 200, seeded(1))
    path, truth = model.segment(SequenceBatch(observation=fields["observation"]))[:, 1:], fields["mode"][:, :-1]
    assert (matched(path.flatten(), truth.flatten())[path] == truth).float().mean() > 0.97


def test_recurrence_learns_where_modes_change(track):
    em = EMConfig(iterations=6, restarts=2, restart_iterations=10)
    bounds = {}
    for recurrent in (False, True):
        model = SLDSConfig(modes=4, state=2, observation=10, recurrent=recurrent, em=em).build()
        model.prepare([track])
        bounds[recurrent] = float(model.bound(track).sum()) / track.mode.numel()
    assert bounds[True] > bounds[False] + 0.03
    _, mode = model.vector_field(model.encode(track)["x"].flatten(0, 1)[::7])
    assert len(mode.unique()) == 4


def test_samples_follow_the_model():
    model = model_of(modes=2, recurrent=True)
    batch = sampled(model, n=1, steps=30)
    _, x, z = model.sample(20_000, 3, torch.Generator().manual_seed(0))
    share = torch.nn.functional.one_hot(z[:, 2], 2).double().mean(0)
    rows = torch.arange(len(z))
    torch.testing.assert_close(share, model.next_modes(x[:, 1])[rows, z[:, 1]].mean(0), atol=0.02, rtol=0)
    noise = x[:, 2] - (torch.einsum("bij,bj->bi", model.A[z[:, 2]], x[:, 1]) + model.b[z[:, 2]])
    Q = (root_of(model.Q_root) @ root_of(model.Q_root).mT)[0]
    torch.testing.assert_close(noise.mT.cov(), Q, atol=0.01, rtol=0)
    futures = model.forecast_observations(batch, 4, samples=3, generator=torch.Generator().manual_seed(0))
    assert futures.shape == (3, 1, 4, 3) and not torch.equal(futures[0], futures[1])
    means = model.forecast_observations(batch, 4, samples=2)
    assert torch.equal(means[0], means[1])


def test_more_states_than_sensors():
    """A pendulum of which only the position is seen: its velocity is found in what came before."""
    t = 0.3 * torch.arange(40)
    phase = 6 * torch.rand(20, 1, generator=torch.Generator().manual_seed(0))
    y = torch.sin(t + phase)[..., None].double()
    y = y + 0.01 * torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=F64)
    model = SLDSConfig(modes=1, state=2, observation=1, em=EMConfig(iterations=50)).build()
    model.prepare([SequenceBatch(observation=y)])
    ahead = model.forecast_observations(SequenceBatch(observation=y[:, :30]), 10)[0]
    assert (ahead - y[:, 30:]).square().mean() < 0.002


def test_roots_and_errors():
    cov = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=F64)
    root = root_of(raw_root(cov))
    torch.testing.assert_close(root @ root.mT, cov)
    with pytest.raises(UserError, match="slds needs the field 'observation'; the data has video"):
        SLDSConfig().fitted({"video": (3, 1, 8, 8)})
    with pytest.raises(UserError, match="observation: 3 dimensions wanted, got 2"):
        model_of().loss(SequenceBatch(observation=torch.zeros(1, 4, 2)), 0)
    with pytest.raises(UserError, match=r"model.modes: expected at least 1, got 0"):
        SLDSConfig(modes=0)
    with pytest.raises(UserError, match=r"model.em.min_variance"):
        EMConfig(min_variance=0.0)

"""The switching KVAE: what is hidden cannot matter, the divergence is that of whole paths, one regime is the plain system."""

import itertools
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.distributions import MultivariateNormal

from dynarium.errors import UserError
from dynarium.models.capabilities import Encodes, Forecasts, Imputes, Model, Reconstructs
from dynarium.models.kvae import KVAEConfig
from dynarium.models.switching_kvae import SwitchingKVAEConfig
from dynarium.objectives.schedules import Constant
from dynarium.ssm import kalman_filter
from dynarium.ssm.mean_field import collapse, mean_field_bound
from dynarium.types import SequenceBatch
from videos import MASK, random_video

SMALL = SwitchingKVAEConfig(frame=(1, 8, 8), channels=(8, 8), hidden=6, state=3, modes=3, offset=False)


def model_of(**changed):
    torch.manual_seed(0)
    model = replace(SMALL, **changed).build()
    with torch.no_grad():  # away from the start, so that regimes and time matter
        model.C.add_(torch.randn_like(model.C))
        model.log_root.add_(0.3 * torch.randn_like(model.log_root))
        if model.evidence is not None:
            model.evidence.weight.normal_()
        if model.memory is not None:
            model.initial.normal_()
            model.switch.normal_()
        if model.pull is not None:
            model.pull.weight.mul_(5)
    return model


batch_of = partial(random_video, t=6, side=8)


def test_capabilities():
    model = model_of()
    assert all(isinstance(model, capability) for capability in (Model, Encodes, Reconstructs, Imputes, Forecasts))


@pytest.mark.parametrize("transition", ["recurrent", "markov"])
def test_the_divergence_is_that_of_whole_paths(transition):
    """KL(q || p), the marginals and the filter's marginals, by enumeration of all paths."""
    model, t, k = model_of(transition=transition).double(), 4, 3
    a = torch.randn(2, t, 2, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        chain = model.track(a).chain
        q = chain.posterior()
        divergence, causal = chain.divergence(q), model.track(a).bank.weights
    paths = torch.tensor(list(itertools.product(range(k), repeat=t)))
    log_p = chain.log_initial[paths[:, 0]].repeat(2, 1)
    for i in range(t - 1):
        log_p = log_p + chain.log_transition[:, i][:, paths[:, i], paths[:, i + 1]]
    torch.testing.assert_close(log_p.logsumexp(1), torch.zeros(2).double(), rtol=0, atol=1e-12)
    tilt = torch.stack([chain.potential[:, i, paths[:, i]] for i in range(t)], -1)
    log_q = (log_p + tilt.sum(-1)).log_softmax(1)
    torch.testing.assert_close(divergence, (log_q.exp() * (log_q - log_p)).sum(1), rtol=1e-10, atol=1e-10)
    assert (divergence > 0.01).all()
    for i in range(t):
        chosen = torch.nn.functional.one_hot(paths[:, i], k).double()
        torch.testing.assert_close(q.probability[:, i], log_q.exp() @ chosen, rtol=1e-10, atol=1e-10)
        so_far = (log_p + tilt[..., : i + 1].sum(-1)).softmax(1)
        torch.testing.assert_close(causal[:, i], so_far @ chosen, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("modes", [1, 3])
@pytest.mark.parametrize(("control", "offset"), [(0, False), (2, True)])
def test_hidden_frames_cannot_matter(modes, control, offset):
    """Noise in place of hidden frames changes no digit of any answer."""
    model = model_of(modes=modes, control=control, offset=offset).eval()
    batch = replace(batch_of(control=control), mask=MASK)
    noise = torch.randint(256, batch.video.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
    hidden = ~MASK[..., None, None, None]
    broken = replace(batch, video=torch.where(hidden, float("nan"), batch.video / 255))
    whole = replace(batch, video=batch.video / 255)
    action = torch.zeros(3, 4, control) if control else None
    for one, other in ((batch, replace(batch, video=torch.where(hidden, noise, batch.video))), (whole, broken)):
        for name, frames in model.impute(one).items():
            assert torch.equal(frames, model.impute(other)[name]), name
        for name, values in model.encode(one).items():
            assert torch.equal(values, model.encode(other)[name]), name
        assert torch.equal(model.regimes(one), model.regimes(other))
        (loss, terms), (same, same_terms) = model.loss(one, 0), model.loss(other, 0)
        assert torch.equal(loss, same)
        assert torch.equal(terms["kl_regimes"], same_terms["kl_regimes"])
        assert torch.equal(model.forecast(one, 4, action=action), model.forecast(other, 4, action=action))
        draws = [
            model.forecast(x, 4, action=action, samples=2, generator=torch.Generator().manual_seed(0))
            for x in (one, other)
        ]
        assert torch.equal(*draws)
    if modes > 1:
        seen = replace(batch, video=torch.where(hidden, batch.video, noise))
        assert not torch.equal(model.encode(batch)["weights"], model.encode(seen)["weights"])
        assert not torch.equal(model.impute(batch)["smooth"], model.impute(seen)["smooth"])


def test_masks_in_training_cannot_leak():
    model, batch = model_of(missing=0.5, observe_first=1), batch_of(b=8)
    a = model.posterior_of(batch.video)[0].detach()
    mask = torch.rand(8, 6, generator=torch.Generator().manual_seed(1)) > 0.5
    a.requires_grad_()
    chain = model.track(a, mask).chain
    chain.posterior().probability.square().sum().backward()
    assert (a.grad[~mask] == 0).all() and (a.grad[mask].abs().sum() > 0)
    _, terms = model.loss(batch, 0)
    assert all(value.isfinite() for value in terms.values())


def test_the_filter_knows_the_past_only():
    model, batch = model_of().eval(), batch_of()
    later = replace(batch, video=torch.cat([batch.video[:, :3], batch_of(seed=4).video[:, 3:]], 1))
    one, other = model.infer(batch), model.infer(later)
    for name in ("weights_filter", "z_filter", "a_filter"):
        torch.testing.assert_close(one[name][:, :3], other[name][:, :3])
        assert not torch.allclose(one[name][:, 3:], other[name][:, 3:])
    assert not torch.allclose(one["weights"][:, :3], other["weights"][:, :3])
    torch.testing.assert_close(one["weights"][:, -1], one["weights_filter"][:, -1])


def test_lengths_are_cuts():
    model, batch = model_of().eval(), batch_of()
    whole = replace(batch, length=torch.tensor([4, 4, 4]))
    cut = replace(batch, video=batch.video[:, :4])
    torch.testing.assert_close(model.impute(whole)["smooth"][:, :4], model.impute(cut)["smooth"], rtol=1e-4, atol=1e-5)
    a = torch.randn(3, 6, 2, generator=torch.Generator().manual_seed(1))
    mask = torch.arange(6).expand(3, 6) < 4
    chain, short = model.track(a, mask).chain, model.track(a[:, :4]).chain
    torch.testing.assert_close(chain.divergence(chain.posterior()), short.divergence(short.posterior()))


def test_missing_inputs_are_predictions():
    """The chain is the same when the predictions are given in place of what is hidden, where nothing tilts it."""
    model = model_of().eval()
    inferred = model.infer(replace(batch_of(), mask=MASK))
    tracked = model.track(inferred["a"], MASK)
    assert (tracked.chain.potential[~MASK] == 0).all() and (tracked.chain.potential[MASK] != 0).any(-1).all()
    with torch.no_grad():
        memory = model.memory(inferred["a"])[0]
        torch.testing.assert_close(tracked.chain.log_transition, model._transition(memory, 3, 6)[:, :-1])


def test_the_potentials_are_predictive_densities_collapsed_by_moments():
    """One step of the bank of filters against densities and moments of the mixture, written out."""
    model = model_of(transition="markov", regimes="mean-field").double()
    a = torch.randn(1, 2, 2, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        tracked, regimes = model.track(a), model.matrices()
        learned = model.evidence(model.memory(a)[0][0, 1])
    prior = tracked.bank.weights[0, 0] @ tracked.chain.log_transition[0, 0].exp()
    log_density, means, covs = [], [], []
    for k in range(3):
        m = regimes.A[k] @ tracked.bank.mean[0, 0]
        P = regimes.A[k] @ tracked.bank.cov[0, 0] @ regimes.A[k].T + regimes.root[k] @ regimes.root[k].T
        S = regimes.C[k] @ P @ regimes.C[k].T + regimes.R
        log_density.append(MultivariateNormal(regimes.C[k] @ m, S).log_prob(a[0, 1]))
        K = P @ regimes.C[k].T @ torch.linalg.inv(S)
        means.append(m + K @ (a[0, 1] - regimes.C[k] @ m))
        covs.append(P - K @ S @ K.T)
    tilt = torch.stack(log_density) + learned
    torch.testing.assert_close(tracked.chain.potential[0, 1], tilt - tilt.max())
    weights = (prior.log() + tilt).softmax(0)
    torch.testing.assert_close(tracked.bank.weights[0, 1], weights)
    mean = sum(w * m for w, m in zip(weights, means, strict=True))
    second = sum(w * (P + torch.outer(m, m)) for w, m, P in zip(weights, means, covs, strict=True))
    torch.testing.assert_close(tracked.bank.mean[0, 1], mean)
    torch.testing.assert_close(tracked.bank.cov[0, 1], second - torch.outer(mean, mean))


@pytest.mark.parametrize("control", [0, 2])
@pytest.mark.parametrize("regimes", ["filter", "mean-field", "gumbel-softmax"])
def test_one_regime_is_the_kvae_with_one_mode(control, regimes):
    options = {"frame": (1, 8, 8), "channels": (8, 8), "state": 3, "modes": 1, "control": control}
    torch.manual_seed(0)
    plain = KVAEConfig(**options).build()
    switching = SwitchingKVAEConfig(**options, regimes=regimes, offset=False).build()
    missing, extra = switching.load_state_dict(plain.state_dict(), strict=False)
    assert set(missing) == {"log_root", "initial", "switch"} and not extra
    batch = replace(batch_of(control=control), mask=MASK)
    for model in (plain, switching):
        torch.manual_seed(3)
        model.train().loss(batch, 10**6)[0].backward()
    for name, wanted in plain.named_parameters():
        torch.testing.assert_close(switching.get_parameter(name).grad, wanted.grad, rtol=1e-3, atol=1e-4)
    plain.eval(), switching.eval()
    torch.testing.assert_close(switching.loss(batch, 0)[0], plain.loss(batch, 0)[0], rtol=1e-5, atol=1e-5)
    assert switching.loss(batch, 0)[1]["kl_regimes"] == 0
    for name, frames in plain.impute(batch).items():
        torch.testing.assert_close(switching.impute(batch)[name], frames, rtol=1e-4, atol=1e-5)
    action = torch.randn(3, 4, control) if control else None
    wanted = plain.forecast(batch, 4, action=action)
    torch.testing.assert_close(switching.forecast(batch, 4, action=action), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("regimes", ["filter", "mean-field", "gumbel-softmax"])
@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_gradients_reach_everything(regimes, missing):
    model = model_of(regimes=regimes, missing=missing, observe_first=1, control=2, offset=True, tau=Constant(value=0.7))
    model.loss(batch_of(control=2), 0)[0].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("regimes", ["filter", "mean-field", "gumbel-softmax"])
def test_loss_in_eval_is_deterministic_and_ignores_the_step(regimes):
    model, batch = model_of(regimes=regimes).eval(), batch_of()
    assert torch.equal(model.loss(batch, 0)[0], model.loss(batch, 99)[0])
    loss, terms = model.loss(batch, 0)
    torch.testing.assert_close(-loss, terms["elbo"])
    parts = terms["log_p_x"] - terms["log_q_a"] + terms["log_p_a"] - terms["kl_regimes"]
    torch.testing.assert_close(terms["elbo"], parts)
    model.train()
    torch.manual_seed(0)
    assert not torch.equal(model.loss(batch, 0)[0], model.loss(batch, 0)[0])


def test_the_objective_is_below_the_sum_over_all_paths():
    """log p(a) by all K^T paths, each filtered exactly, is above L(a) - KL."""
    model, t, k = model_of(transition="markov").double(), 4, 3
    a = torch.randn(2, t, 2, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        chain = model.track(a).chain
        q = chain.posterior()
        exact = []
        for path in itertools.product(range(k), repeat=t):
            s = torch.tensor(path)
            log_p = chain.log_initial[s[0]] + chain.log_transition[0, torch.arange(t - 1), s[:-1], s[1:]].sum()
            weights = torch.nn.functional.one_hot(s, k).double().expand(2, t, k)
            exact.append(log_p + kalman_filter(collapse(model.matrices(), weights), a).log_likelihood.sum(1))
        bound = mean_field_bound(model.matrices(), q.probability, a) - chain.divergence(q)
    assert (bound < torch.stack(exact).logsumexp(0)).all()


def test_the_filter_objective_is_a_density():
    """log_p_a - kl_regimes is the log of sum_k p(k | past) N(a_t; ..), step by step, and that integrates to 1."""
    model = model_of(offset=True).eval()
    batch = replace(batch_of(), mask=MASK)
    _, terms = model.loss(batch, 0)
    mean, variance = model.posterior_of(batch.video)
    a = mean + variance.sqrt() * torch.randn(mean.shape, generator=torch.Generator().manual_seed(0))
    wanted = model.track(a, MASK).bank.log_likelihood.sum() / MASK.sum()
    torch.testing.assert_close(terms["log_p_a"] - terms["kl_regimes"], wanted)
    model = model.double()
    with torch.no_grad():
        model.P0.div_(20)
        past = torch.randn(1, 2, 2, generator=torch.Generator().manual_seed(1)).double()
        at = torch.linspace(-40, 40, 401).double()
        grid = torch.stack(torch.meshgrid(at, at, indexing="ij"), -1).view(-1, 1, 2)
        a = torch.cat([past.expand(len(grid), -1, -1), grid], 1)
        density = model.track(a).bank.log_likelihood[:, 2].exp()
    torch.testing.assert_close(density.sum() * (at[1] - at[0]) ** 2, torch.ones(()).double(), rtol=1e-3, atol=0)


def test_regimes_begin_alike_where_they_are_read_and_apart_where_they_move():
    """A state that one regime has learned must make sense to the others, or they are never tried."""
    model = SwitchingKVAEConfig().build()
    assert all(torch.equal(C, model.C[0]) for C in model.C) and torch.linalg.matrix_rank(model.C[0]) == 2
    for i, j in itertools.combinations(range(model.config.modes), 2):
        assert not torch.equal(model.A[i], model.A[j]) and not torch.equal(model.B[i], model.B[j])


@pytest.mark.parametrize("transition", ["recurrent", "markov"])
@pytest.mark.parametrize("control", [0, 2])
def test_forecast_continues_the_filter(control, transition):
    """The deterministic forecast is the filter's estimate of a hidden future."""
    model = model_of(transition=transition, control=control, offset=True).eval()
    batch = batch_of(t=9, control=control)
    mask = torch.arange(9).expand(3, 9) < 5
    imputed = model.impute(replace(batch, mask=mask))["filter"][:, 5:]
    action = batch.action[:, 5:] if control else None
    context = SequenceBatch(video=batch.video[:, :5], action=batch.action[:, :5] if control else None)
    forecast = model.forecast(context, 4, action=action)[0]
    torch.testing.assert_close(forecast, imputed, rtol=1e-4, atol=1e-5)
    if control:
        assert not torch.allclose(model.forecast(context, 4, action=-action)[0], forecast)
        with pytest.raises(UserError, match="action: 3 steps wanted for a horizon of 4, got 1"):
            model.forecast(context, 4, action=action[:, :1])


def test_samples_differ_repeat_and_centre_on_the_mean(monkeypatch):
    model, batch = model_of(transition="markov").eval(), batch_of(b=1)

    def draw(seed, samples=3):
        return model.forecast(batch, 5, samples=samples, generator=torch.Generator().manual_seed(seed))

    assert draw(0).shape == (3, 1, 5, 1, 8, 8)
    assert torch.equal(draw(0), draw(0)) and not torch.equal(draw(0), draw(1))
    assert not torch.equal(draw(0)[0], draw(0)[1])
    assert torch.equal(*model.forecast(batch, 5, samples=2))
    monkeypatch.setattr(model, "frames", lambda a: a[..., None, None])
    first = draw(0, 50_000)[:, 0, 0].flatten(1)
    mean = model.forecast(batch, 1)[0, 0, 0].flatten()
    assert ((first.mean(0) - mean).abs() / (first.std(0) / 50_000**0.5)).max() < 5


def test_bfloat16_is_finite():
    model, batch = model_of(), batch_of()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, terms = model.loss(batch, 0)
        imputed = model.eval().impute(replace(batch, mask=MASK))["smooth"]
    loss.backward()
    assert imputed.isfinite().all() and all(value.isfinite() for value in terms.values())
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("regimes", ["filter", "mean-field", "gumbel-softmax"])
def test_training_lowers_the_loss(regimes):
    torch.manual_seed(0)
    model, batch = replace(SMALL, regimes=regimes).build(), batch_of(b=8)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    before = model.eval().loss(batch, 0)[0].item()
    model.train()
    for step in range(12):
        optimiser.zero_grad()
        model.loss(batch, step)[0].backward()
        optimiser.step()
    assert model.eval().loss(batch, 0)[0].item() < 0.95 * before


def test_bad_input_says_what_was_wanted():
    with pytest.raises(UserError, match="model.modes: expected at least 1, got 0"):
        SwitchingKVAEConfig(modes=0)
    with pytest.raises(UserError, match=r"model.sticky_p_stay: expected a probability in \(0, 1\), got 1.0"):
        SwitchingKVAEConfig(sticky_p_stay=1.0)
    with pytest.raises(UserError, match="switching-kvae needs the field 'video'; the data has state"):
        SwitchingKVAEConfig().fitted({"state": (5, 2)})
    fitted = SwitchingKVAEConfig().fitted({"video": (20, 3, 48, 40), "action": (20, 5)})
    assert fitted.frame == (3, 48, 40) and fitted.control == 5
    with pytest.raises(UserError, match=r"frames of shape \(1, 8, 8\) wanted, got \(1, 9, 8\)"):
        model_of().loss(SequenceBatch(video=torch.zeros(2, 3, 1, 9, 8, dtype=torch.uint8)), 0)

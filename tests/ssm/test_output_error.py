import numpy as np
import pytest
import scipy.signal
import torch

from dynarium.ssm.averaging import averaged_output_error
from dynarium.ssm.output_error import fit_output_error
from dynarium.ssm.rational import all_pole
from dynarium.systems.identification import RandomLti
from dynarium.systems.lti import LinearLaw


def systems(n=24, order=3, steps=260, first=0):
    """Return inputs and outputs of random systems; with ``first`` they are not at rest when the record begins."""
    world = RandomLti(law=LinearLaw(order=order), steps=steps + first)
    generator = torch.Generator().manual_seed(0)
    made = world.simulate(world.sample_parameters(n, generator), steps + first, generator)
    return made.action[:, first:], made.observation[:, first:]


def rms(x):
    return float(x.square().mean((1, 2)).sqrt().mean())


def test_all_pole_filters_as_scipy_does():
    x, a = torch.randn(3, 50, 2, dtype=torch.float64), 0.3 * torch.randn(3, 4, dtype=torch.float64)
    for k in range(3):
        wanted = scipy.signal.lfilter([1.0], np.r_[1.0, -a[k].numpy()], x[k].numpy(), axis=0)
        np.testing.assert_allclose(all_pole(x, a)[k].numpy(), wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("first", [0, 40])
def test_without_noise_the_system_is_found_in_any_initial_state(first):
    u, y = systems(first=first)
    found = fit_output_error(u[:, :200], y[:, :200], 3).simulate(u)
    assert rms(found - y) < 1e-3


def test_noise_bends_it_less_than_equation_errors():
    u, y = systems(64)
    noisy = y + 0.3 * torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(1))
    arx, found = (fit_output_error(u[:, :200], noisy[:, :200], 3, iterations=k).simulate(u)[:, 200:] for k in (0, 8))
    assert rms(found - y[:, 200:]) < 0.5 * rms(arx - y[:, 200:])
    # Of 8 coefficients and 200 steps, the least possible error is about .3 sqrt(8 / 200) = .06.
    assert rms(found - y[:, 200:]) < 0.09


def test_no_simulation_grows_faster_than_time_however_short_the_record():
    u, y = systems(64, steps=1000)
    noisy = y[:, :25] + 0.5 * torch.randn(64, 25, 1, dtype=y.dtype, generator=torch.Generator().manual_seed(1))
    for order in (3, 8):
        found = fit_output_error(u[:, :25], noisy, order).simulate(u)
        assert (found[:, 900:].abs().amax(1) < 100 * found[:, :100].abs().amax(1)).all()


def test_several_inputs_and_outputs_are_fitted_output_by_output():
    world = RandomLti(law=LinearLaw(order=3), inputs=2, outputs=2, steps=300)
    generator = torch.Generator().manual_seed(0)
    made = world.simulate(world.sample_parameters(8, generator), 300, generator)
    u, y = made.action, made.observation
    both = fit_output_error(u[:, :250], y[:, :250], 3).simulate(u)
    assert rms(both - y) < 1e-3
    alone = fit_output_error(u[:, :250], y[:, :250, 1:], 3).simulate(u)
    torch.testing.assert_close(alone, both[..., 1:])


def test_what_is_hidden_cannot_matter_and_costs_little():
    u, y = systems()
    seen = torch.ones(len(y), 200, dtype=torch.bool)
    seen[:, 60:70] = seen[:, 121] = False
    other = torch.where(seen[..., None], y[:, :200], torch.nan)
    found, again = (averaged_output_error(u, x, (3, 5), seen=seen) for x in (y[:, :200], other))
    torch.testing.assert_close(found.mean, again.mean, rtol=0, atol=0)
    assert rms(found.mean[:, 200:] - y[:, 200:]) < 2e-3


def test_the_average_is_that_of_akaike():
    u, y = systems(5)
    noisy = y[:, :200] + 0.3 * torch.randn(5, 200, 1, dtype=y.dtype, generator=torch.Generator().manual_seed(1))
    found = averaged_output_error(u, noisy, (1, 3))
    answers = [fit_output_error(u[:, :200], noisy, n).simulate(u) for n in (1, 3)]
    error = [(x[:, :200] - noisy).square().mean((1, 2)) for x in answers]
    # n poles, n + 1 numbers of the numerator, n of the initial state and the constant.
    akaike = [200 * e.log() + 2 * (3 * n + 2) for e, n in zip(error, (1, 3), strict=True)]
    weight = (-(akaike[0] - akaike[1]) / 2).sigmoid()[:, None, None]
    wanted = weight * answers[0] + (1 - weight) * answers[1]
    torch.testing.assert_close(found.mean, wanted, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.error[:, 0, 0], (wanted[:, :200] - noisy).square().mean((1, 2)).sqrt())


def test_a_silent_record_has_an_answer():
    found = averaged_output_error(torch.zeros(2, 80, 1), torch.zeros(2, 60, 1), (2,))
    assert bool(found.mean.isfinite().all()) and bool((found.error > 0).all())

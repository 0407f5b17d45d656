from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from dynarium.errors import UserError
from dynarium.systems.identification import BlockOriented
from dynarium.systems.lti import LinearLaw
from dynarium.tasks.fitted_blocks import FittedWienerHammerstein
from dynarium.tasks.identifiers import Arx

SMALL = LinearLaw(order=2, magnitude=(0.5, 0.8))


@pytest.fixture
def blocks():
    u = torch.randn(3, 40, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    drawn = FittedWienerHammerstein(order=3, units=4)._drawn(u, u)
    noise = torch.randn(drawn.weights.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return replace(drawn, weights=drawn.weights + 0.05 * noise), u


def test_the_model_is_its_three_blocks(blocks):
    model, u = blocks
    found, impulse = model.answer(u)[..., 0].numpy(), np.eye(1, 40)[0]
    for row in range(3):
        a1, b1, s1, c, a2, b2, s2 = (part[row].numpy() for part in model._parts())

        def linear(x, numerator, state, feedback):
            return lfilter(numerator, np.r_[1, -feedback], x) + lfilter(state, np.r_[1, -feedback], impulse)

        x = linear(u[row, :, 0].numpy(), b1, s1, a1)
        z = c[0] + c[1] * x + np.tanh((x[:, None] - np.linspace(-3, 3, 4)) / (8 / 3)) @ c[2:]
        np.testing.assert_allclose(found[row], linear(z, b2, s2, a2), rtol=1e-9, atol=1e-9)


def test_slopes_are_those_of_differences(blocks):
    model, u = blocks
    answer, slopes = model.answer_and_slopes(u)
    torch.testing.assert_close(answer, model.answer(u), rtol=1e-12, atol=1e-12)
    for k in range(model.weights.shape[1]):
        step = torch.zeros_like(model.weights)
        step[:, k] = 1e-6
        there, back = (replace(model, weights=model.weights + sign * step).answer(u) for sign in (1, -1))
        torch.testing.assert_close(slopes[..., k], ((there - back) / 2e-6)[..., 0], rtol=1e-5, atol=1e-6)


def test_a_fit_beats_a_linear_model_and_knows_no_more_than_the_context():
    world = BlockOriented(first=SMALL, last=SMALL, hidden=8, steps=260, burn_in=50)
    generator = torch.Generator().manual_seed(2)
    drawn = world.simulate(world.sample_parameters(3, generator), 260, generator)
    u, y = drawn.action, drawn.observation
    fit = FittedWienerHammerstein(steps=20, restarts=6, kept=2, order=3)
    found, deviation = fit.simulate(u[:, :220], y[:, :220], u[:, 220:])
    linear, _ = Arx().simulate(u[:, :220], y[:, :220], u[:, 220:])
    rmse, trivial = ((x - y[:, 220:]).square().mean((1, 2)).sqrt() for x in (found, linear))
    assert rmse.mean() < 0.2 * trivial.mean()
    assert deviation.shape == found.shape and bool((deviation > 0).all())


def test_one_input_and_one_output():
    u = torch.zeros(1, 10, 2, dtype=torch.float64)
    with pytest.raises(UserError, match="one input and one output, got 2 and 1"):
        FittedWienerHammerstein().simulate(u, u[..., :1], u)

import numpy as np
import pytest
import torch

from dynarium.errors import UserError
from dynarium.systems.identification import BlockOriented
from dynarium.systems.lti import LinearLaw
from dynarium.tasks.fitted_blocks import FittedWienerHammerstein, _answer
from dynarium.tasks.identifiers import Arx

SMALL = LinearLaw(order=2, magnitude=(0.5, 0.8))


def test_the_model_is_its_three_blocks():
    fit = FittedWienerHammerstein(modes=2, hidden=4)
    parameters = {name: value.detach().double() for name, value in fit._drawn(3).items()}
    u = torch.randn(3, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = _answer(parameters, u).numpy()
    p = {name: value.numpy() for name, value in parameters.items()}
    for row in range(3):

        def linear(x, block, row=row):
            pole = np.exp(-np.exp(p[f"{block}.decay"][row]) + 1j * p[f"{block}.phase"][row])
            gain, state = p[f"{block}.real"][row] + 1j * p[f"{block}.imaginary"][row], np.zeros(2, complex)
            y = []
            for value in x:
                y.append(p[f"{block}.direct"][row, 0] * value + (gain * state).sum().real)
                state = pole * state + value
            return np.array(y)

        x = linear(u[row].numpy(), "g1")
        v = np.tanh(np.outer(x, p["w1"][row]) + p["b1"][row]) @ p["w2"][row] + p["b2"][row, 0]
        np.testing.assert_allclose(found[row], linear(v, "g2"), rtol=1e-9, atol=1e-9)


def test_a_fit_beats_a_linear_model_and_knows_no_more_than_the_context():
    world = BlockOriented(first=SMALL, last=SMALL, hidden=8, steps=260, burn_in=50)
    generator = torch.Generator().manual_seed(2)
    drawn = world.simulate(world.sample_parameters(3, generator), 260, generator)
    u, y = drawn.action, drawn.observation
    fit = FittedWienerHammerstein(steps=400, restarts=2, modes=2, hidden=8)
    found, _ = fit.simulate(u[:, :220], y[:, :220], u[:, 220:])
    linear, _ = Arx().simulate(u[:, :220], y[:, :220], u[:, 220:])
    rmse, trivial = ((x - y[:, 220:]).square().mean((1, 2)).sqrt() for x in (found, linear))
    assert rmse.mean() < 0.6 * trivial.mean()


def test_one_input_and_one_output():
    u = torch.zeros(1, 10, 2, dtype=torch.float64)
    with pytest.raises(UserError, match="one input and one output, got 2 and 1"):
        FittedWienerHammerstein().simulate(u, u[..., :1], u)

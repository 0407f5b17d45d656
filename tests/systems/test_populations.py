import numpy as np
import pytest
import torch

from dynarium.data.generate import draw, seeded
from dynarium.errors import UserError
from dynarium.systems import WORLDS
from dynarium.systems.populations import kuramoto

GAMES = {
    "matching-pennies": [[1.0, -1.0], [-1.0, 1.0]],
    "rock-paper-scissors": [[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]],
}


def simulate(world, n=32, steps=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return world.simulate(world.sample_parameters(n, generator), steps or world.steps, generator)


def test_lotka_volterra_keeps_its_constant_of_motion():
    drawn = simulate(WORLDS["lotka-volterra"](), steps=300)
    (x, y), (alpha, beta, gamma, delta) = drawn.state.unbind(-1), (p[:, None] for p in drawn.parameter.unbind(-1))
    constant = delta * x - gamma * x.log() + beta * y - alpha * y.log()
    torch.testing.assert_close(constant, constant[:, :1].expand_as(constant), atol=1e-7, rtol=0)
    assert (x.std(1) > 1e-3).all() and (drawn.state > 0).all()


@pytest.mark.parametrize("game", GAMES)
def test_replicators_stay_on_the_simplex_and_keep_their_constant_of_motion(game):
    drawn = simulate(WORLDS[game](), steps=300)
    players = drawn.state.unflatten(-1, (2, -1))
    torch.testing.assert_close(players.sum(-1), torch.ones_like(players.sum(-1)), atol=1e-7, rtol=0)
    assert (players > 0).all()
    constant = drawn.state.log().sum(-1)
    torch.testing.assert_close(constant, constant[:, :1].expand_as(constant), atol=1e-6, rtol=0)
    assert drawn.state.std(1).mean() > 0.05


@pytest.mark.parametrize("game", GAMES)
def test_replicators_follow_their_pay_off(game):
    pay = np.array(GAMES[game])
    drawn = simulate(WORLDS[game](), n=3, steps=4)
    for state, slope in zip(
        drawn.state.numpy().reshape(12, -1), drawn.extra["derivative"].reshape(12, -1), strict=True
    ):
        x, y = np.split(state, 2)
        value = x @ pay @ y
        expected = [*(x * (pay @ y - value)), *(y * (-pay.T @ x + value))]
        np.testing.assert_allclose(slope, expected, atol=1e-12)


@pytest.mark.parametrize("game", GAMES)
def test_games_are_drawn_as_the_product_of_the_strategies(game):
    made = draw(WORLDS[game](), 2, 3, seeded(0))
    choices = len(GAMES[game])
    assert made["video"].shape == (2, 3, 3, 32, 32)
    one, other = made["state"].split(choices, -1)
    for i in range(choices):
        for j in range(choices):
            row, column = int((i + 0.5) * 32 / choices), int((j + 0.5) * 32 / choices)
            expected = (255 * one[..., i] * other[..., j]).round()
            for channel in range(3):
                np.testing.assert_allclose(made["video"][:, :, channel, row, column], expected, atol=1)


def literal_kuramoto(theta, omega, coupling):
    n = len(theta)
    return [omega[i] + coupling / n * sum(np.sin(theta[j] - theta[i]) for j in range(n)) for i in range(n)]


def test_kuramoto_equals_the_double_sum_and_synchronises():
    world = kuramoto(7)
    drawn = simulate(world, n=64, steps=300)
    for i in range(3):
        expected = literal_kuramoto(drawn.state[i, 5].numpy(), drawn.parameter[i, 1:], drawn.parameter[i, 0])
        np.testing.assert_allclose(drawn.extra["derivative"][i, 5], expected, atol=1e-12)
    order = torch.polar(torch.ones_like(drawn.state), drawn.state).mean(-1).abs()[:, 200:].mean(1)
    coupling = drawn.parameter[:, 0]
    assert order[coupling > 1.5].min() > 0.85 > 0.6 > order[coupling < 0.3].mean()


def test_one_oscillator_cannot_be_coupled():
    with pytest.raises(UserError, match="oscillators: expected at least 2, got 1"):
        kuramoto(1)

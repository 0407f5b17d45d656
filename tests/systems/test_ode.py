import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from dynarium import config
from dynarium.data import make_dataset
from dynarium.data.generate import draw, seeded
from dynarium.errors import UserError
from dynarium.systems import WORLDS, System
from dynarium.systems.actions import RandomActions
from dynarium.systems.ode import Ode

TOYS = (
    "duffing",
    "forced-pendulum",
    "kuramoto",
    "lotka-volterra",
    "matching-pennies",
    "quadratic-kinetic",
    "quadratic-potential",
    "rock-paper-scissors",
    "van-der-pol",
)
SWITCHING = ("nascar", "nascar-pixels", "lorenz", "lorenz-pixels", "switching-pendulum", "switching-pendulum-pixels")
DECAY = f"{__name__}:decay"


def decay(x, *, rate):
    return (-rate * x,)


def driven(x, u, *, rate):
    return (u - rate * x,)


def simulate(world, n=16, steps=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return world.simulate(world.sample_parameters(n, generator), steps or world.steps, generator)


@pytest.mark.parametrize("name", TOYS + SWITCHING)
def test_every_world_keeps_the_contract(name):
    world = WORLDS[name]()
    assert isinstance(world, System)
    assert config.from_dict(config.to_dict(world)) == world
    steps = 20
    made = draw(world, 4, steps, seeded(0))
    assert made["state"].shape == (4, steps, len(world.state_names))
    assert (made["parameter"].shape[1] if "parameter" in made else 0) == len(world.parameter_names)
    again, other = draw(world, 4, steps, seeded(0)), draw(world, 4, steps, seeded(1))
    assert made.keys() == again.keys() and all(torch.equal(made[key], again[key]) for key in made)
    assert not torch.equal(made["state"], other["state"])
    assert not torch.equal(made["state"][0], made["state"][1])
    if "video" in made:
        assert made["video"].shape[:2] == (4, steps) and made["video"].shape[-2:] == (32, 32)
        assert made["video"].dtype == torch.uint8 and (made["video"].flatten(2).amax(2) > 0).all()


@pytest.mark.parametrize("name", [name for name in TOYS if name not in ("matching-pennies", "rock-paper-scissors")])
def test_nothing_leaves_the_frame(name):
    world = WORLDS[name]()
    frames = world.render(simulate(world, n=128))
    edge = torch.cat([frames[..., 0, :], frames[..., -1, :], frames[..., 0], frames[..., -1]], -1)
    assert edge.max() == 0 and (frames.flatten(2).amax(2) == 255).all()


@pytest.mark.parametrize("name", TOYS)
def test_the_derivative_is_the_slope_of_the_solution(name):
    drawn = simulate(replace(WORLDS[name](), dt=0.002), steps=12)
    slope = drawn.extra["derivative"]
    if drawn.action is None:
        central = (drawn.state[:, 2:] - drawn.state[:, :-2]) / 0.004
        torch.testing.assert_close(slope[:, 1:-1], central, atol=2e-4, rtol=1e-4)
    else:
        forward = drawn.state.diff(dim=1) / 0.002
        torch.testing.assert_close(slope[:, :-1], forward, atol=0.05, rtol=0)


def test_an_equation_of_ones_own():
    world = Ode(equation=DECAY, start={"x": (1.0, 2.0)}, parameters={"rate": (0.5, 1.5)}, steps=30)
    drawn = simulate(world)
    expected = drawn.state[:, :1, 0] * torch.exp(-drawn.parameter * 0.1 * torch.arange(30))
    torch.testing.assert_close(drawn.state[..., 0], expected, atol=1e-8, rtol=1e-8)
    assert (drawn.parameter >= 0.5).all() and (drawn.parameter <= 1.5).all() and drawn.parameter.std() > 0.1
    assert (drawn.state[:, 0] >= 1).all() and (drawn.state[:, 0] <= 2).all()


def test_an_action_acts_from_its_step_to_the_next():
    world = Ode(
        equation=f"{__name__}:driven",
        start={"x": (0.0, 1.0)},
        parameters={"rate": (1.0, 1.0)},
        actions=1,
        forcing=RandomActions(kind="steps", hold=3),
    )
    drawn = simulate(world, steps=20)
    x, u = drawn.state[..., 0], drawn.action[..., 0]
    expected = u[:, :-1] + (x[:, :-1] - u[:, :-1]) * math.exp(-0.1)
    torch.testing.assert_close(x[:, 1:], expected, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("name", ["van-der-pol", "kuramoto", "rock-paper-scissors"])
def test_equals_scipy(name):
    world = WORLDS[name]()
    drawn = simulate(world, n=2, steps=60)
    for i in range(2):
        parameters = drawn.parameter[i]

        def rhs(t, x, parameters=parameters):
            return world.slope(torch.from_numpy(x), parameters).numpy()

        times = world.dt * np.arange(60)
        expected = solve_ivp(rhs, (0, times[-1]), drawn.state[i, 0].numpy(), "LSODA", times, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(drawn.state[i].numpy(), expected.y.T, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"parameters": {"rate": (2.0, 1.0)}}, "rate: expected two numbers in order"),
        ({"parameters": {}}, "equation: .*rate"),
        ({"parameters": {"rate": (1.0, 1.0), "mass": (1.0, 1.0)}}, "equation: .*mass"),
        ({"start": {}}, "start: expected at least one"),
        ({"start": {"x": (0.0, 1.0), "y": (0.0, 1.0)}}, "equation: .*too many"),
        ({"equation": "nowhere:f"}, "equation: expected module:function"),
        ({"simplex": 2}, "simplex: expected a divisor of the 1"),
        ({"dt": 0.0}, "dt: expected a positive number"),
        ({"actions": -1}, "actions: expected a number of at least 0"),
    ],
)
def test_what_does_not_fit_is_named(options, words):
    world = {"equation": DECAY, "start": {"x": (1.0, 2.0)}, "parameters": {"rate": (0.5, 1.5)}}
    with pytest.raises(UserError, match=words):
        Ode(**world | options)


def test_a_pendulum_of_no_length_is_an_error():
    world = WORLDS["forced-pendulum"]()
    with pytest.raises(UserError, match="no finite solution|infinite"):
        simulate(replace(world, parameters=world.parameters | {"length": (0.0, 0.0)}))


def test_a_dataset_of_a_toy(tmp_path):
    world = WORLDS["forced-pendulum"]()
    made = make_dataset(world, tmp_path / "set", sizes={"train": 3, "val": 2}, steps=8)
    batch = made.batch("train", [2, 0], start=1, steps=4)
    assert batch.action.shape == (2, 4, 1) and batch.parameter.shape == (2, 3)
    assert made.shapes["derivative"] == (8, 2)

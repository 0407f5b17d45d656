from dataclasses import replace

import pytest
import torch

from dynarium.errors import UserError
from dynarium.systems import WORLDS
from dynarium.systems.integrators import integrate

NAMES = ("duffing-driven", "bouc-wen", "cascaded-tanks")


def simulate(world, n=8, steps=60, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return world.simulate(world.sample_parameters(n, generator), steps, generator)


@pytest.mark.parametrize("name", NAMES)
def test_every_sequence_is_another_system(name):
    world = replace(WORLDS[name](), burn_in=20)
    drawn = simulate(world)
    assert drawn.state.shape == (8, 60, len(world.state_names)) and drawn.action.shape == (8, 60, 1)
    assert drawn.parameter.unique(dim=0).shape[0] == 8
    measured = drawn.state[..., world.states.index(world.measured_state)]
    standard = (measured - measured.mean(1, keepdim=True)) / measured.std(1, correction=0, keepdim=True)
    raw = simulate(replace(world, standardise=False)).observation[..., 0]
    torch.testing.assert_close(raw, measured)
    if name != "bouc-wen":  # whose micrometres the guard against constant outputs touches
        torch.testing.assert_close(drawn.observation[..., 0], standard, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["duffing-driven", "bouc-wen"])
def test_fixed_steps_agree_with_the_adaptive_method(name):
    from dynarium.systems import driven

    world = replace(WORLDS[name](), burn_in=0)
    drawn = simulate(world, n=3, steps=40)
    equation = getattr(driven, world.equation.partition(":")[2])
    named = dict(zip(world.parameter_names, drawn.parameter.unbind(-1), strict=True))
    x, times = drawn.state[:, 0], torch.tensor([0.0, world.dt], dtype=torch.float64)
    for t in range(39):
        held = drawn.action[:, t, 0]

        def slope(x, _, held=held):
            return torch.stack(equation(*x.unbind(-1), held, **named), -1)

        x = integrate(slope, x, times, rtol=1e-9, atol=1e-12)[:, 1]
        scale = drawn.state.abs().amax((0, 1))
        assert ((x - drawn.state[:, t + 1]) / scale).abs().max() < 5e-4


def test_tanks_neither_overflow_their_rim_nor_run_dry():
    world = WORLDS["cascaded-tanks"]()
    high = replace(world, excitation=replace(world.excitation, mean=8.0))
    drawn = simulate(high, steps=200)
    assert drawn.state.max() == 10 and drawn.state.min() >= 0 and drawn.action.min() >= 0


def test_names_that_do_not_fit():
    world = WORLDS["bouc-wen"]()
    with pytest.raises(UserError, match="measured_state"):
        replace(world, measured_state="w")
    with pytest.raises(UserError, match="module:function"):
        replace(world, equation="nowhere:f")

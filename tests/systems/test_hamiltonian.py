import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from dynarium.config import from_dict, to_dict
from dynarium.errors import UserError
from dynarium.systems import SIZES, WORLDS, sets
from dynarium.systems.checks import check_choice
from dynarium.systems.double_pendulum import (
    DoublePendulum,
    double_pendulum,
    double_pendulum_colors,
    double_pendulum_colors_friction,
    double_pendulum_g,
    double_pendulum_light,
    double_pendulum_suite,
)
from dynarium.systems.hamiltonian import HamiltonianWorld
from dynarium.systems.mass_spring import (
    MassSpring,
    mass_spring,
    mass_spring_colors,
    mass_spring_colors_friction,
    mass_spring_friction,
    mass_spring_k,
    mass_spring_suite,
)
from dynarium.systems.n_body import (
    NBody,
    n_body,
    three_body,
    two_body,
    two_body_colors,
    two_body_colors_friction,
    two_body_g,
    two_body_suite,
)
from dynarium.systems.pendulum import (
    Pendulum,
    pendulum,
    pendulum_colors,
    pendulum_colors_friction,
    pendulum_friction,
    pendulum_g,
)

# World, half the canvas as measured of the published code (where it was).
PRESETS = {
    "mass_spring": (mass_spring(), 1.56419),
    "mass_spring_suite": (mass_spring_suite(), None),
    "mass_spring_1k": (mass_spring_k(1.0), 2.18987),
    "mass_spring_3k": (mass_spring_k(3.0), 2.18987),
    "mass_spring_15": (mass_spring_friction(0.15), 1.95852),
    "mass_spring_colors": (mass_spring_colors(), None),
    "mass_spring_colors_friction": (mass_spring_colors_friction(), None),
    "pendulum": (pendulum(), 1.39894),
    "pendulum_4g": (pendulum_g(4.0), None),
    "pendulum_15": (pendulum_friction(0.15), 1.95852),
    "pendulum_colors": (pendulum_colors(), None),
    "pendulum_colors_friction": (pendulum_colors_friction(), None),
    "double_pendulum": (double_pendulum(), 2.43702),
    "double_pendulum_suite": (double_pendulum_suite(), None),
    "double_pendulum_light": (double_pendulum_light(), None),
    "double_pendulum_4g": (double_pendulum_g(4.0), 10.63408),
    "double_pendulum_colors": (double_pendulum_colors(), None),
    "double_pendulum_colors_friction": (double_pendulum_colors_friction(), None),
    "two_body": (two_body(), 5.0),
    "two_body_suite": (two_body_suite(), 2.75),
    "two_body_3g": (two_body_g(3.0), 2.75),
    "two_body_colors": (two_body_colors(), 5.0),
    "two_body_colors_friction": (two_body_colors_friction(), 5.0),
    "three_body": (three_body(), 5.0),
    "n_body": (n_body(), 5.0),
}
KINDS = ["mass_spring_15", "pendulum_15", "double_pendulum_colors_friction", "two_body_colors_friction", "n_body"]


def sequences(world, n=32, steps=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return world.simulate(world.sample_parameters(n, generator), steps or world.steps, generator)


def literal_energy(world, q, p, theta):
    """The Hamiltonians as they are published, term by term, for one state."""
    kind = type(world.mechanics)
    if kind is MassSpring:
        m, k = theta
        return k * q[0] ** 2 / 2 + p[0] ** 2 / (2 * m)
    if kind is Pendulum:
        m, g, length = theta
        return m * g * length * (1 - q[0].cos()) + p[0] ** 2 / (2 * m * length**2)
    if kind is DoublePendulum:
        m1, m2, g, l1, l2 = theta
        d = q[0] - q[1]
        top = m2 * l2**2 * p[0] ** 2 + (m1 + m2) * l1**2 * p[1] ** 2 - 2 * m2 * l1 * l2 * p[0] * p[1] * d.cos()
        bottom = 2 * m2 * l1**2 * l2**2 * (m1 + m2 * d.sin() ** 2)
        return top / bottom - (m1 + m2) * g * l1 * q[0].cos() - m2 * g * l2 * q[1].cos()
    *masses, g = theta
    energy = sum((p[2 * i] ** 2 + p[2 * i + 1] ** 2) / (2 * m) for i, m in enumerate(masses))
    for i in range(len(masses)):
        for j in range(i):
            distance = ((q[2 * i] - q[2 * j]) ** 2 + (q[2 * i + 1] - q[2 * j + 1]) ** 2).sqrt()
            energy = energy - g * masses[i] * masses[j] / distance
    return energy


def literal_rates(world, x, theta, friction):
    """dx/dt of one state by automatic differentiation of the literal Hamiltonian."""
    x = torch.as_tensor(x, dtype=torch.float64).requires_grad_()
    q, p = x.chunk(2)
    (slope,) = torch.autograd.grad(literal_energy(world, q, p, theta), x)
    dq, dp = slope.chunk(2)
    return torch.cat([dp, -dq - friction * dp])


def literal_frames(world, trajectory):
    """The published renderer, frame by frame: row 0 lowest, bytes truncated."""
    canvas, grid = world.canvas, np.linspace(0, 1, world.side)
    gx, gy = np.meshgrid(grid, grid)
    rainbow = {1: [(1, 0, 0)], 2: [(1, 0, 0), (0, 1, 1)]}
    rainbow[3] = [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    rainbow[6] = [(1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 1, 1), (0, 0, 1), (1, 0, 1)]
    frames = np.zeros((*trajectory.state.shape[:2], 3, world.side, world.side), np.uint8)
    for b, t in np.ndindex(trajectory.state.shape[:2]):
        q, theta = trajectory.state[b, t].chunk(2)[0].numpy(), trajectory.parameter[b].numpy()
        if isinstance(world.mechanics, MassSpring):
            places, masses = [(0.0, q[0])], theta[:1]
        elif isinstance(world.mechanics, Pendulum):
            places, masses = [(theta[2] * math.sin(q[0]), -theta[2] * math.cos(q[0]))], theta[:1]
        elif isinstance(world.mechanics, DoublePendulum):
            l1, l2 = theta[3:5]
            x, y = l1 * math.sin(q[0]), -l1 * math.cos(q[0])
            places, masses = [(x, y), (x + l2 * math.sin(q[1]), y - l2 * math.cos(q[1]))], theta[:2]
        else:
            masses = theta[: world.mechanics.count]
            places = list(zip(q[::2], q[1::2], strict=True))
        image, clear = np.zeros((world.side, world.side, 3)), np.ones((world.side, world.side, 1))
        shift = trajectory.extra["offset"][b].numpy()
        for (x, y), m, colour in zip(places, masses, trajectory.extra["colour"][b].tolist(), strict=True):
            ux, uy = (x + shift[0] + canvas) / (2 * canvas), (y + shift[1] + canvas) / (2 * canvas)
            distance = np.sqrt((ux - gx) ** 2 + (uy - gy) ** 2)
            mask = (1 / (1 + np.exp((distance - math.sqrt(m / math.pi) / (2 * canvas)) * 80)))[..., None]
            image = image + clear * mask * np.array(rainbow[world.num_colors][colour])
            clear = clear * (1 - mask)
        image = image + clear * np.array((0.321, 0.349, 0.368))
        frames[b, t] = (255 * image).astype(np.uint8).transpose(2, 0, 1)
    return frames


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset(name):
    world, canvas = PRESETS[name]
    if canvas is not None:
        assert world.canvas == pytest.approx(canvas, abs=6e-6)
    trajectory = sequences(world)
    assert trajectory.state.shape == (32, world.steps, len(world.state_names))
    assert trajectory.state.dtype == torch.float64 and bool(trajectory.state.isfinite().all())
    assert trajectory.extra["energy_error"].shape == (32, 1)
    assert trajectory.extra["energy_error"].max() < 2e-6
    q, theta = trajectory.state.chunk(2, -1)[0], trajectory.parameter[:, :-1]
    places = world.mechanics.places(q, theta[:, None]) + trajectory.extra["offset"][:, None, None]
    reach = places.abs().amax((1, 3)) + (world.mechanics.masses(theta) / math.pi).sqrt()
    assert reach.max() <= world.canvas * (1 + 1e-9)  # nothing leaves the picture
    again = sequences(world)
    assert torch.equal(trajectory.state, again.state)
    assert not torch.equal(trajectory.state, sequences(world, seed=1).state)
    frames = world.render(trajectory)
    assert frames.shape == (32, world.steps, world.channels, 32, 32) and frames.dtype == torch.uint8
    if world.frames == "binary":
        assert set(frames.unique().tolist()) == {0, 255}
        assert (frames > 0).amax(2).sum((-1, -2)).min() >= 4


@pytest.mark.parametrize("name", PRESETS)
def test_legacy_frames_are_those_of_the_published_renderer_to_the_byte(name):
    world = replace(PRESETS[name][0], legacy=True, frames="grey", channels=3)
    trajectory = sequences(world, n=6, steps=7)
    expected = literal_frames(world, trajectory)
    np.testing.assert_array_equal(world.render(trajectory).numpy(), expected)
    upright = replace(world, legacy=False, frames="binary").render(trajectory).numpy()
    np.testing.assert_array_equal(upright, (expected[..., ::-1, :].astype(np.float32) / 255 > 0.45) * 255)


@pytest.mark.parametrize(
    ("name", "pixels", "slack"),
    [
        ("pendulum", [78], 1),
        ("mass_spring", [91], 6),
        ("mass_spring_3k", [47], 2),
        ("pendulum_15", [43], 1),
        ("mass_spring_15", [44], 1),
        ("double_pendulum", [27.7, 31.3, 32.7], 1.6),
        ("double_pendulum_4g", [41], 1),
        ("two_body", [15, 18, 19], 2),
        ("two_body_3g", [86], 1),
    ],
)
def test_as_many_pixels_are_white_as_in_the_published_sets(name, pixels, slack):
    # The published means are over a dozen sequences of random masses, hence the slack.
    world = PRESETS[name][0]
    white = (world.render(sequences(world, n=256)) > 0).double().sum((-1, -2)).mean((0, 1))
    assert white.tolist() == pytest.approx(pixels, abs=slack)


@pytest.mark.parametrize("name", KINDS)
def test_the_flow_is_the_gradient_of_the_published_hamiltonian(name):
    world = PRESETS[name][0]
    trajectory = sequences(world, n=4, steps=5)
    flow = world.mechanics.flow(trajectory.parameter[:, :-1].numpy())
    for b, t in np.ndindex(4, 5):
        theta, friction = trajectory.parameter[b, :-1], trajectory.parameter[b, -1]
        expected = literal_rates(world, trajectory.state[b, t], theta, friction)
        assert torch.allclose(trajectory.extra["derivative"][b, t], expected, rtol=1e-10, atol=1e-10)
        q, p = np.split(trajectory.state[:, t].numpy(), 2, axis=1)
        velocity, force = flow(q, p)
        rates = np.concatenate([velocity, force - trajectory.parameter[:, -1:].numpy() * velocity], 1)
        np.testing.assert_allclose(rates[b], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", KINDS)
def test_trajectories_agree_with_scipy(name):
    world = PRESETS[name][0]
    trajectory = sequences(world, n=2, steps=16)
    times = world.dt * np.arange(16)
    for b in range(2):
        theta, friction = trajectory.parameter[b, :-1], trajectory.parameter[b, -1]
        truth = solve_ivp(
            lambda _, x, theta=theta, friction=friction: literal_rates(world, x, theta, friction).numpy(),
            (0, times[-1] + 1e-9),
            trajectory.state[b, 0].numpy(),
            method="DOP853",
            rtol=1e-11,
            atol=1e-11,
            t_eval=times,
        )
        np.testing.assert_allclose(trajectory.state[b].numpy(), truth.y.T, atol=2e-6)


def test_the_exact_mass_on_a_spring_agrees_with_the_integrator():
    world = replace(mass_spring(), steps=100)
    exact = sequences(world)
    x0, theta = exact.state[:, 0], exact.parameter
    integrated = world._integrate(x0, theta, 0.1 * torch.arange(100, dtype=torch.float64))
    assert torch.allclose(exact.state, integrated, rtol=0, atol=1e-7)
    amplitude = (exact.state[..., 0].square() + exact.state[..., 1].square() / theta[:, :1] / theta[:, 1:2]).sqrt()
    assert torch.allclose(amplitude, amplitude[:, :1].expand_as(amplitude), rtol=1e-12)
    assert amplitude.min() >= 0.1 and amplitude.max() <= 1.0


def test_a_sequence_without_friction_is_the_same_beside_ones_with_friction():
    world = mass_spring_friction(0.0)
    generator = torch.Generator().manual_seed(0)
    parameters = world.sample_parameters(8, generator)
    mixed = parameters.clone()
    mixed[1::2, -1] = 0.15
    free = world.simulate(parameters, 30, torch.Generator().manual_seed(1)).state
    rubbed = world.simulate(mixed, 30, torch.Generator().manual_seed(1)).state
    assert torch.equal(free[::2], rubbed[::2])
    assert (free[1::2, -1] - rubbed[1::2, -1]).abs().min() > 1e-3


@pytest.mark.parametrize("name", ["mass_spring", "pendulum", "double_pendulum", "two_body_suite"])
def test_friction_takes_energy_and_its_work_balances(name):
    world = replace(PRESETS[name][0], friction=(0.05, 0.2))
    trajectory = sequences(world, steps=20)
    q, p = trajectory.state.chunk(2, -1)
    theta = trajectory.parameter[:, None, :-1]
    velocity, _ = world.mechanics.flow(theta)(q, p)
    energy = (p * velocity).sum(-1) / 2 + world.mechanics.potential(q, theta)
    assert energy.diff(dim=1).max() < 1e-9
    assert (energy[:, 0] - energy[:, -1]).min() > 0
    lost = energy[:, 0] - energy[:, -1]
    power = trajectory.parameter[:, -1:] * velocity.square().sum(-1)
    trapezoid = 0.1 * (power.sum(1) - (power[:, 0] + power[:, -1]) / 2)
    assert torch.allclose(lost, trapezoid, rtol=0.1)
    assert trajectory.extra["energy_error"].max() < 1e-6


@pytest.mark.parametrize("name", ["mass_spring_15", "pendulum", "double_pendulum_4g", "two_body_3g", "three_body"])
def test_the_symplectic_integrator_follows_the_adaptive_one(name):
    world = PRESETS[name][0]
    adaptive = sequences(world, n=8, steps=15)
    symplectic = sequences(replace(world, integrator="symplectic", substeps=20), n=8, steps=15)
    assert torch.allclose(adaptive.state, symplectic.state, rtol=0, atol=2e-4)
    assert not torch.equal(adaptive.state, symplectic.state)
    assert symplectic.extra["energy_error"].max() < 1e-4


@pytest.mark.parametrize("make", [mass_spring, pendulum, double_pendulum, two_body])
def test_a_step_so_long_that_the_energy_explodes_is_said(make):
    with pytest.raises(UserError, match="substeps"):
        sequences(replace(make(), integrator="symplectic", substeps=1, dt=2.0))


@pytest.mark.parametrize("make", [pendulum, two_body])
def test_a_tolerance_so_wide_that_the_energy_explodes_is_said(make):
    with pytest.raises(UserError, match="dt: the adaptive integrator with dt 0.1 and tolerance 1000 takes too large"):
        sequences(replace(make(), tolerance=1e3))


def test_circular_orbits_are_circles_and_the_published_ones_are_so_for_unit_gravity_and_mass():
    unequal = HamiltonianWorld(mechanics=NBody(m=(0.5, 1.5), g=(2.0, 3.0), canvas=6.0))

    def spread(world):
        q = sequences(world).state[..., : 2 * world.mechanics.count].unflatten(-1, (-1, 2))
        gap = (q[:, :, 0] - q[:, :, 1]).norm(dim=-1)
        return float((gap / gap[:, :1] - 1).abs().max())

    assert spread(unequal) < 1e-7
    ring = HamiltonianWorld(mechanics=NBody(count=5, radius=(1.0, 1.5)))
    assert spread(ring) < 1e-5
    published = sequences(two_body_suite())
    radius = published.state[:, 0, :2].norm(dim=-1)
    expected = torch.stack([published.state[:, 0, 1], -published.state[:, 0, 0]], -1) / (2 * radius[:, None] ** 1.5)
    assert torch.allclose(published.state[:, 0, 4:6], expected)
    assert torch.allclose(published.state[:, 0, 4:6], -published.state[:, 0, 6:])
    assert spread(two_body_suite()) < 1e-7
    assert spread(two_body_g(3.0)) > 0.3


def test_the_first_states_fill_their_annulus():
    even = sequences(pendulum_g(2.0), n=4000, steps=1).state[:, 0].norm(dim=-1)
    assert even.min() >= 1.3 and even.max() <= 2.3
    assert even.square().mean() == pytest.approx((1.3**2 + 2.3**2) / 2, abs=0.05)
    in_radius = sequences(pendulum(), n=4000, steps=1).state[:, 0].norm(dim=-1)
    assert in_radius.mean() == pytest.approx(1.8, abs=0.02)
    double = sequences(double_pendulum(), n=500, steps=1).state[:, 0]
    for i in range(2):
        radius = double[:, [i, i + 2]].norm(dim=-1)
        assert radius.min() >= 1.3 and radius.max() <= 2.3


def test_offsets_and_colours():
    shifted = sequences(mass_spring_k(1.0), n=500, steps=1).extra["offset"]
    bound = 0.4 * (1 + math.sqrt(1 / math.pi))
    assert shifted[:, 1].abs().max() <= bound and shifted[:, 1].abs().max() > 0.95 * bound
    assert shifted[:, 0].min() >= -bound and shifted[:, 0].max() <= 1 + bound and shifted[:, 0].max() > 1.2
    diagonal = sequences(replace(mass_spring_k(1.0), diagonal_offset=True, random_x=(0.0, 0.0)), steps=1)
    assert torch.equal(diagonal.extra["offset"][:, 0], diagonal.extra["offset"][:, 1])
    assert not sequences(pendulum(), steps=1).extra["offset"].any()
    two = sequences(two_body(), n=400, steps=1).extra["colour"]
    assert (two.sum(1) == 1).all()
    assert 150 < int(two[:, 0].sum()) < 250
    six = sequences(two_body_colors(), n=400, steps=1).extra["colour"]
    assert (six[:, 0] != six[:, 1]).all() and set(six.unique().tolist()) == set(range(6))


def test_row_0_is_the_top_and_a_frame_shows_its_state():
    world = replace(pendulum(), frames="grey", side=64)
    trajectory = sequences(world)
    weight = world.render(trajectory)[:, :, 0].double()
    grid = torch.linspace(-1, 1, 64, dtype=torch.float64) * world.canvas
    total = weight.sum((-1, -2))
    x, y = weight.sum(-2) @ grid / total, weight.sum(-1) @ grid.flip(0) / total
    q = trajectory.state[..., 0]
    assert (x - q.sin()).abs().max() < 0.02 and (y + q.cos()).abs().max() < 0.02


def test_any_resolution_shows_the_same_motion():
    fine = replace(two_body(), side=128)
    trajectory = sequences(fine, n=4, steps=5)
    assert torch.equal(trajectory.state, sequences(two_body(), n=4, steps=5).state)
    assert fine.render(trajectory).shape == (4, 5, 3, 128, 128)
    share = [(w.render(trajectory) > 0).double().mean() for w in (two_body(), fine)]
    assert share[0] == pytest.approx(float(share[1]), rel=0.1)


def test_bodies_that_would_leave_start_again():
    open_world = HamiltonianWorld(mechanics=NBody(g=(0.2, 0.5), canvas=50.0, orbit="legacy"), steps=60)
    tight = replace(open_world, mechanics=replace(open_world.mechanics, canvas=2.75))
    edge = 2.75 - math.sqrt(1 / math.pi)

    def reach(world):
        return sequences(world, n=128).state[..., :4].abs().amax((1, 2))

    assert reach(open_world).max() > 1.1 * edge  # some of them would leave
    assert reach(tight).max() <= edge
    hopeless = replace(open_world, mechanics=replace(open_world.mechanics, canvas=0.6), steps=2)
    with pytest.raises(UserError, match="no first state in 200 keeps the bodies on the canvas with"):
        sequences(hopeless, n=2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MassSpring(m=(0.0, 1.0)), "m: expected a range of positive numbers, got (0.0, 1.0)"),
        (lambda: MassSpring(k=(-1.0, 1.0)), "k: expected a range of positive"),
        (lambda: Pendulum(m=(-1.0, -0.5)), "m: expected a range of positive"),
        (lambda: Pendulum(l=(1.0, 0.5)), "l: expected two numbers in order"),
        (lambda: Pendulum(radius=(-1.0, 0.5)), "radius"),
        (lambda: DoublePendulum(g=(math.nan, 0.5)), "g: expected"),
        (lambda: NBody(count=1), "count"),
        (lambda: NBody(canvas=0.0), "canvas"),
        (lambda: NBody(count=3, orbit="legacy"), "orbit: 'legacy' is defined for 2 bodies, got count=3"),
        (lambda: replace(pendulum(), friction=(-0.1, 0.0)), "friction"),
        (lambda: replace(pendulum(), dt=0.0), "dt"),
        (lambda: replace(pendulum(), side=1), "side"),
        (lambda: replace(three_body(), num_colors=2), "num_colors: expected 1 or at least 3 and at most 256, got 2"),
        (lambda: check_choice("frames", "gray", ("binary", "grey")), "frames: expected 'binary' or 'grey', got 'gray'"),
    ],
)
def test_impossible_worlds_are_refused_in_one_line(make, message):
    with pytest.raises(UserError) as caught:
        make()
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", PRESETS)
def test_a_saved_configuration_gives_the_same_world(name):
    world = PRESETS[name][0]
    assert from_dict(json.loads(json.dumps(to_dict(world)))) == world


@pytest.mark.parametrize(
    ("make", "tasks", "channels", "simulators"),
    [
        (sets.pendulum_3, 3, 1, 1),
        (sets.double_pendulum_3, 3, 1, 1),
        (sets.mass_spring_3, 3, 1, 1),
        (sets.two_body_3, 3, 1, 1),
        (sets.mixed_physics_2023, 12, 1, 2),
        (sets.mixed_physics_2025, 12, 1, 3),
        (sets.mixed_physics_2025_double_pendulum, 12, 1, 3),
    ],
)
def test_the_sets_of_several_tasks(make, tasks, channels, simulators):
    name = make.__name__.replace("_", "-")
    world = make()
    assert WORLDS[name] is make
    assert SIZES[name] == (3000 * tasks, 1000 * tasks, 1000 * tasks)
    assert len(world.worlds) == tasks and world.steps == 30
    hamiltonian = [w for w in world.worlds if isinstance(w, HamiltonianWorld)]
    assert len({repr(w.simulator) for w in hamiltonian}) == simulators  # tasks of a kind can be simulated together
    trajectory = sequences(world, n=2 * tasks, steps=6)
    assert trajectory.task.tolist() == [*range(tasks), *range(tasks)]
    assert world.render(trajectory).shape == (2 * tasks, 6, channels, 32, 32)
    assert trajectory.extra["derivative"].shape[:2] == (2 * tasks, 6)


def test_a_simulator_moves_the_sequences_of_its_tasks_as_they_do_themselves():
    for world in (*sets.mixed_physics_2023().worlds[4:], *sets.mixed_physics_2025().worlds[3:]):
        assert isinstance(world, HamiltonianWorld)
        parameters = world.sample_parameters(4, torch.Generator().manual_seed(0))
        own = world.simulate(parameters, 5, torch.Generator().manual_seed(1))
        shared = world.simulator.simulate(parameters, 5, torch.Generator().manual_seed(1))
        assert torch.equal(own.state, shared.state)
        assert torch.equal(world.render(own), world.simulator.render(shared))
    varied = {w.friction for w in sets.mixed_physics_2023().worlds[8:]}
    assert varied == {(f, f) for f in (0.0, 0.05, 0.10, 0.15)}
    assert [w.mechanics.k for w in sets.mass_spring_3().worlds] == [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]

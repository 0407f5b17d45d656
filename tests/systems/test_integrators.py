import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from dynarium.errors import UserError
from dynarium.systems.integrators import integrate, symplectic

TIMES = torch.arange(31, dtype=torch.float64) * 0.1


def stiffnesses(n, seed=0):
    return 1 + 5 * torch.rand(n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def starts(n, seed=0):
    return 2 * torch.randn(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def swing(stiffness, drive=0.0):
    """A pendulum that is also pushed by a force of time."""
    return lambda x, t: torch.stack([x[:, 1], -stiffness * x[:, 0].sin() + drive * (2 * t).cos()], 1)


@pytest.mark.parametrize("oracle", ["DOP853", "RK45"])
def test_the_adaptive_method_agrees_with_scipy(oracle):
    stiffness, x0 = stiffnesses(12), starts(12)
    found = integrate(swing(stiffness, 0.7), x0, TIMES)
    tolerance = {"DOP853": 1e-13, "RK45": 1e-11}[oracle]
    for k, start, states in zip(stiffness.tolist(), x0.numpy(), found.numpy(), strict=True):
        expected = solve_ivp(
            lambda t, x, k=k: [x[1], -k * math.sin(x[0]) + 0.7 * math.cos(2 * t)],
            (0, 4),
            start,
            method=oracle,
            rtol=tolerance,
            atol=tolerance,
            t_eval=TIMES.numpy(),
        )
        np.testing.assert_allclose(states, expected.y.T, atol=1e-7)


def test_the_error_follows_the_tolerance():
    stiffness, x0 = stiffnesses(16), starts(16)
    truth = integrate(swing(stiffness), x0, TIMES, rtol=1e-13, atol=1e-13)
    errors = [
        float((integrate(swing(stiffness), x0, TIMES, rtol=tolerance, atol=tolerance) - truth).abs().max())
        for tolerance in (1e-4, 1e-7, 1e-10)
    ]
    assert errors[0] > 30 * errors[1] > 900 * errors[2]
    assert errors[2] < 5e-9


def test_a_sequence_does_not_depend_on_its_neighbours():
    stiffness, x0 = stiffnesses(8), starts(8)
    together = integrate(swing(stiffness), x0, TIMES)
    harder = torch.cat([stiffness[:1], 1e4 * stiffness[1:]])
    among_others = integrate(swing(harder), torch.cat([x0[:1], 3 * x0[1:]]), TIMES)
    assert torch.equal(together[0], among_others[0])  # to the bit, though the others take a hundred times more steps
    for i in range(8):
        alone = integrate(swing(stiffness[i : i + 1]), x0[i : i + 1], TIMES)
        assert torch.allclose(alone[0], together[i], rtol=0, atol=1e-12)


def test_the_frame_times_do_not_change_the_solution():
    stiffness, x0 = stiffnesses(4), starts(4)
    fine = integrate(swing(stiffness), x0, TIMES)
    coarse = integrate(swing(stiffness), x0, TIMES[[0, 7, 30]])
    assert torch.allclose(fine[:, [0, 7, 30]], coarse, rtol=0, atol=1e-13)
    assert torch.equal(integrate(swing(stiffness), x0, TIMES[:1]), x0[:, None])


def test_an_equation_at_rest_stays_there():
    states = integrate(lambda x, t: torch.zeros_like(x), torch.zeros(3, 2, dtype=torch.float64), TIMES)
    assert not states.any()


def test_a_solution_that_ends_is_refused():
    with pytest.raises(UserError, match=r"integrate: sequence 1 has no finite solution beyond t = 1\b|0\.9999"):
        integrate(lambda x, t: x * x, torch.tensor([[0.1], [1.0]], dtype=torch.float64), TIMES)


def test_times_must_increase():
    with pytest.raises(UserError, match="times: expected increasing numbers"):
        integrate(swing(1.0), starts(2), torch.zeros(3, dtype=torch.float64))


@pytest.mark.parametrize(("order", "gain"), [(2, 4), (4, 16)])
def test_symplectic_steps_have_their_order_and_keep_the_energy(order, gain):
    stiffness, x0 = stiffnesses(16)[:, None], starts(16)
    truth = integrate(swing(stiffness[:, 0]), x0, TIMES, rtol=1e-13, atol=1e-13)

    def error(substeps):
        q, p = symplectic(
            lambda p: p, lambda q: -stiffness * q.sin(), x0[:, :1], x0[:, 1:], TIMES, substeps=substeps, order=order
        )
        return float((torch.cat([q, p], -1) - truth).norm())

    assert error(8) / error(16) == pytest.approx(gain, rel=0.1)
    long = torch.arange(2000, dtype=torch.float64)
    q, p = symplectic(lambda p: p, lambda q: -q, x0[:, :1], x0[:, 1:], long, substeps=10, order=order)
    energy = (q.square() + p.square())[..., 0]
    drift = ((energy - energy[:, :1]) / energy[:, :1]).abs()
    assert drift.max() < {2: 3e-3, 4: 1e-4}[order]
    assert drift[:, 1000:].max() < 1.01 * drift[:, :1000].max()  # it does not grow


def test_the_implicit_midpoint_rule_has_order_four_and_keeps_quadratic_invariants():
    stiffness, x0 = stiffnesses(8), starts(8)
    truth = integrate(swing(stiffness, 0.5), x0, TIMES, rtol=1e-13, atol=1e-13)
    errors = [
        float((integrate(swing(stiffness, 0.5), x0, TIMES, method="midpoint", substeps=n) - truth).norm())
        for n in (4, 8)
    ]
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.15)
    turn = integrate(lambda x, t: torch.stack([x[:, 1], -x[:, 0]], 1), x0, TIMES, method="midpoint", substeps=1)
    assert torch.allclose(turn.norm(dim=-1), x0.norm(dim=-1, keepdim=True), rtol=1e-12)


def test_a_midpoint_step_that_is_too_long_is_refused():
    with pytest.raises(UserError, match="substeps: the implicit midpoint rule does not converge"):
        integrate(swing(1e6 * stiffnesses(4)), starts(4), TIMES, method="midpoint", substeps=1)

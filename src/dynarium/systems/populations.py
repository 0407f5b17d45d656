"""Populations as equations: predators and prey, coupled phases, and learning in zero-sum games."""

import math

import torch
from torch import Tensor

from dynarium.errors import UserError
from dynarium.systems.ode import Ode
from dynarium.systems.views import Circle, Plane, Strategies

Terms = tuple[Tensor, ...]


def lotka_volterra_equation(
    prey: Tensor, predators: Tensor, *, alpha: Tensor, beta: Tensor, gamma: Tensor, delta: Tensor
) -> Terms:
    """Lotka-Volterra: x' = alpha x - beta x y, y' = delta x y - gamma y.

    delta x - gamma ln x + beta y - alpha ln y is conserved.
    """
    meetings = prey * predators
    return alpha * prey - beta * meetings, delta * meetings - gamma * predators


def lotka_volterra() -> Ode:
    """Return predators and prey, whose numbers go in cycles (Lotka 1925; Volterra 1926)."""
    return Ode(
        equation=f"{__name__}:lotka_volterra_equation",
        start={"prey": (0.5, 2.0), "predators": (0.5, 2.0)},
        parameters={name: (0.8, 1.2) for name in ("alpha", "beta", "gamma", "delta")},
        view=Plane(middle=(2.5, 2.5), reach=3.0),
    )


def kuramoto_equation(*phases: Tensor, coupling: Tensor, **speeds: Tensor) -> Terms:
    """Phases: theta_i' = omega_i + K / N sum_j sin(theta_j - theta_i), by the mean of exp(i theta_j)."""
    theta, omega = torch.stack(phases), torch.stack(torch.broadcast_tensors(*speeds.values()))
    # sin(theta_j - theta_i) = sin theta_j cos theta_i - cos theta_j sin theta_i
    pull = theta.sin().mean(0) * theta.cos() - theta.cos().mean(0) * theta.sin()
    return (omega + coupling * pull).unbind()


def kuramoto(oscillators: int = 5) -> Ode:
    """Return coupled phases of different speeds, which synchronise if the coupling is strong (Kuramoto 1975)."""
    if oscillators < 2:
        raise UserError(f"oscillators: expected at least 2, got {oscillators}")
    speeds = {f"omega_{i}": (0.5, 1.5) for i in range(oscillators)}
    return Ode(
        equation=f"{__name__}:kuramoto_equation",
        start={f"theta_{i}": (-math.pi, math.pi) for i in range(oscillators)},
        parameters={"coupling": (0.0, 2.0), **speeds},
        view=Circle(angles=oscillators),
    )


def matching_pennies_equation(*strategies: Tensor) -> Terms:
    """Replicator dynamics of two players: one wins if both show the same side."""
    return _replicator(strategies, ((1.0, -1.0), (-1.0, 1.0)))


def matching_pennies() -> Ode:
    """Return two players who learn matching pennies by replicator dynamics (Taylor & Jonker 1978; Botev et al. 2021)."""
    return _game("matching_pennies_equation", ("heads", "tails"))


def rock_paper_scissors_equation(*strategies: Tensor) -> Terms:
    """Replicator dynamics of two players of rock, paper, scissors."""
    return _replicator(strategies, ((0.0, -1.0, 1.0), (1.0, 0.0, -1.0), (-1.0, 1.0, 0.0)))


def rock_paper_scissors() -> Ode:
    """Return two players who learn rock, paper, scissors by replicator dynamics (Botev et al. 2021)."""
    return _game("rock_paper_scissors_equation", ("rock", "paper", "scissors"))


def _game(equation: str, choices: tuple[str, ...]) -> Ode:
    return Ode(
        equation=f"{__name__}:{equation}",
        start={f"{choice}_{player}": (0.1, 1.0) for player in (1, 2) for choice in choices},
        simplex=2,
        view=Strategies(choices=len(choices)),
    )


def _replicator(strategies: Terms, payoff: tuple[tuple[float, ...], ...]) -> Terms:
    """x_i' = x_i ((A y)_i - x' A y) and y_j' = y_j ((-A' x)_j + x' A y), for the pay-off A of a zero-sum game.

    Sums of x and y stay 1, and sum_i ln x_i + sum_j ln y_j is conserved where the equilibrium is uniform.
    """
    x, y = torch.stack(strategies, -1).chunk(2, -1)
    pay = torch.tensor(payoff, dtype=x.dtype, device=x.device)
    one, other = y @ pay.mT, -x @ pay
    value = (x * one).sum(-1, keepdim=True)
    return torch.cat([x * (one - value), y * (other + value)], -1).unbind(-1)

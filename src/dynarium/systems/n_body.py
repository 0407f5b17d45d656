"""Bodies in the plane that attract each other."""

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from dynarium.errors import UserError
from dynarium.systems.checks import check_choice, check_positive, check_positive_range, check_range
from dynarium.systems.draws import uniform
from dynarium.systems.hamiltonian import HamiltonianWorld
from dynarium.systems.mechanics import Array, Flow, columns


@dataclass(frozen=True, kw_only=True)
class NBody:
    """Bodies under gravity: H = sum_i |p_i|^2 / (2 m_i) - sum_{i<j} g m_i m_j / |q_i - q_j|.

    Two bodies start opposite each other, q1 = (a, b) = -q2 with a and b from ``radius``; more start in a regular polygon
    of a radius from ``radius`` in a random orientation. The total momentum is zero, and all turn the same way.

    Attributes:
        count: Number of bodies.
        m: Range of the masses.
        g: Range of the strength of gravity.
        radius: Range of the coordinates of the first body; of the radius of the polygon if there are more than two.
        canvas: Half the side of the square that the bodies stay in.
        orbit: ``circular``: the first momenta are such that equal bodies move on circles, and two bodies do whatever their
            masses. ``legacy``: the momenta of the published sets of two bodies, circular for g = m = 1 only.
    """

    count: int = 2
    m: tuple[float, float] = (1.0, 1.0)
    g: tuple[float, float] = (1.0, 1.0)
    radius: tuple[float, float] = (0.5, 1.5)
    canvas: float = 2.75
    orbit: Literal["circular", "legacy"] = "circular"

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UserError: A range out of order or not positive, or an orbit that is not defined for so many bodies.
        """
        check_positive_range(m=self.m, g=self.g, radius=self.radius)
        check_positive(canvas=self.canvas)
        check_range("count", (self.count, self.count), low=2)
        check_choice("orbit", self.orbit, ("circular", "legacy"))
        if self.orbit == "legacy" and self.count != 2:
            raise UserError(f"orbit: 'legacy' is defined for 2 bodies, got count={self.count}")

    @property
    def bodies(self) -> int:
        """All of them."""
        return self.count

    @property
    def separable(self) -> bool:
        """H is a function of p plus a function of q."""
        return True

    @property
    def state_names(self) -> tuple[str, ...]:
        """Positions (x, y) of all bodies, then their momenta."""
        bodies = range(1, self.count + 1)
        places = tuple(f"q{i}{axis} [length]" for i in bodies for axis in "xy")
        return places + tuple(f"p{i}{axis} [momentum]" for i in bodies for axis in "xy")

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Masses and gravity."""
        return (*(f"m{i}" for i in range(1, self.count + 1)), "g")

    @property
    def bound(self) -> float:
        """The given canvas."""
        return self.canvas

    def neutral(self) -> "NBody":
        """Return the same mechanics with masses and gravity fixed."""
        return replace(self, m=(1.0, 1.0), g=(1.0, 1.0))

    def sample_parameters(self, n: int, generator: torch.Generator) -> Float[Tensor, "b q"]:
        """Draw masses and gravity of ``n`` sequences."""
        return torch.cat([uniform(self.m, (n, self.count), generator), uniform(self.g, (n, 1), generator)], 1)

    def first_state(self, theta: Float[Tensor, "b q"], generator: torch.Generator) -> Float[Tensor, "b n"]:
        """Draw first positions and momenta for each row of parameters."""
        n = len(theta)
        if self.count == 2:
            first = uniform(self.radius, (n, 2), generator)
            radius = first.norm(dim=1)
        else:
            radius = uniform(self.radius, (n,), generator)
            angle = uniform((0.0, 2 * math.pi), (n,), generator)
            first = radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
        turns = 2 * math.pi * torch.arange(self.count, dtype=torch.float64, device=theta.device) / self.count
        x, y = first[:, :1], first[:, 1:]
        q = torch.stack([x * turns.cos() - y * turns.sin(), x * turns.sin() + y * turns.cos()], -1)
        clockwise = torch.stack([q[..., 1], -q[..., 0]], -1) / radius[:, None, None]
        mass, g = theta[:, :-1], theta[:, -1]
        if self.orbit == "legacy":
            p = clockwise * (0.5 / radius.sqrt())[:, None, None]
        else:
            # On a ring of equal bodies the others pull towards the middle with g m / r^2 times this sum.
            pull = sum(0.25 / math.sin(math.pi * j / self.count) for j in range(1, self.count))
            v = clockwise * (pull * g * mass.mean(1) / radius).sqrt()[:, None, None]
            drift = (mass[..., None] * v).sum(1, keepdim=True) / mass.sum(1)[:, None, None]
            p = mass[..., None] * (v - drift)
        return torch.cat([q, p], 1).flatten(1)

    def flow(self, theta: Float[Array, "*b q"]) -> Flow:
        """Return p_i / m_i, and the pulls g m_i m_j (q_j - q_i) / |q_i - q_j|^3 on each body, summed over the others."""
        mass, g = [theta[..., i] for i in range(self.count)], theta[..., -1]
        pairs = [(i, j, g * mass[i] * mass[j]) for i, j in itertools.combinations(range(self.count), 2)]
        inertia = columns(*(mass[i // 2] for i in range(2 * self.count)))

        def at(q: Any, p: Any) -> tuple[Any, Any]:
            pulls: list[Any] = [0.0] * (2 * self.count)
            for i, j, strength in pairs:
                x, y = q[..., 2 * i] - q[..., 2 * j], q[..., 2 * i + 1] - q[..., 2 * j + 1]
                pull = strength / (x * x + y * y) ** 1.5
                x, y = x * pull, y * pull
                for index, part in ((2 * i, -x), (2 * i + 1, -y), (2 * j, x), (2 * j + 1, y)):
                    pulls[index] = pulls[index] + part
            return p / inertia, columns(*pulls)

        return at

    def potential(self, q: Float[Tensor, "*b m"], theta: Float[Tensor, "*#b q"]) -> Float[Tensor, "*b"]:
        """Return -sum_{i<j} g m_i m_j / |q_i - q_j|."""
        place, energy = self.places(q, theta), torch.zeros_like(q[..., 0])
        for i, j in itertools.combinations(range(self.count), 2):
            strength = theta[..., -1] * theta[..., i] * theta[..., j]
            energy -= strength / (place[..., i, :] - place[..., j, :]).norm(dim=-1)
        return energy

    def solution(self, state: Float[Tensor, "b n"], theta: Float[Tensor, "b q"], times: Float[Tensor, " t"]) -> None:
        """Return nothing: there is no formula."""

    def places(self, q: Float[Tensor, "*b m"], theta: Float[Tensor, "*#b q"]) -> Float[Tensor, "*b k 2"]:
        """Return the positions."""
        return q.unflatten(-1, (self.count, 2))

    def masses(self, theta: Float[Tensor, "b q"]) -> Float[Tensor, "b k"]:
        """Return the masses."""
        return theta[:, :-1]


def two_body() -> HamiltonianWorld[NBody]:
    """Return two bodies of two colours around each other (Jiang et al. 2023, the single set)."""
    mechanics = NBody(m=(0.5, 1.5), canvas=5.0, orbit="legacy")
    return HamiltonianWorld(mechanics=mechanics, channels=3, num_colors=2)


def two_body_suite() -> HamiltonianWorld[NBody]:
    """Return two equal bodies on circles as in the Hamiltonian suite (Botev, Jaegle et al. 2021)."""
    return HamiltonianWorld(mechanics=NBody(orbit="legacy"), channels=3, frames="grey", num_colors=2)


def two_body_g(gravity: float) -> HamiltonianWorld[NBody]:
    """Return two equal bodies under a given gravity, from first momenta that are circular for 1 only."""
    return HamiltonianWorld(mechanics=NBody(g=(gravity, gravity), orbit="legacy"))


def two_body_colors() -> HamiltonianWorld[NBody]:
    """Return two coloured bodies as in the Hamiltonian suite, in grey levels (Botev, Jaegle et al. 2021)."""
    mechanics = NBody(m=(0.5, 1.5), g=(0.5, 1.5), canvas=5.0, orbit="legacy")
    return HamiltonianWorld(mechanics=mechanics, steps=60, dt=0.05, channels=3, frames="grey", num_colors=6)


def two_body_colors_friction() -> HamiltonianWorld[NBody]:
    """Return two coloured bodies with friction (Botev, Jaegle et al. 2021)."""
    return replace(two_body_colors(), friction=(0.05, 0.05))


def three_body() -> HamiltonianWorld[NBody]:
    """Return three bodies of different masses in three colours, on a triangle that does not last."""
    mechanics = NBody(count=3, m=(0.5, 1.5), radius=(1.0, 2.0), canvas=5.0)
    return HamiltonianWorld(mechanics=mechanics, steps=60, channels=3, num_colors=3)


def n_body() -> HamiltonianWorld[NBody]:
    """Return four bodies of different masses under gravity; ``count`` sets how many."""
    mechanics = NBody(count=4, m=(0.2, 1.0), radius=(1.5, 2.5), canvas=5.0)
    return HamiltonianWorld(mechanics=mechanics, steps=60)

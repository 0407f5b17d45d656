"""Bodies in the plane that attract each other."""

import itertools
import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from dynarium.errors import UserError
from dynarium.systems.checks import check_positive, check_range
from dynarium.systems.hamiltonian import HamiltonianWorld
from dynarium.systems.mechanics import check_positive_range, uniform


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
        if self.orbit not in ("circular", "legacy"):
            raise UserError(f"orbit: expected 'circular' or 'legacy', got {self.orbit!r}")
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
        return torch.cat([q, clockwise * self._momentum(radius, theta)[:, None, None]], 1).flatten(1)

    def _momentum(self, radius: Float[Tensor, " b"], theta: Float[Tensor, "b q"]) -> Float[Tensor, " b"]:
        if self.orbit == "legacy":
            return 0.5 / radius.sqrt()
        mass, g = theta[:, :-1], theta[:, -1]
        if self.count == 2:
            # Relative speed on a circle of diameter 2 r, times the reduced mass.
            return (g * mass.sum(1) / (2 * radius)).sqrt() * mass.prod(1) / mass.sum(1)
        # On a ring of equal bodies, the pull of the others towards the middle is g m^2 / r^2 times this sum.
        pull = sum(0.25 / math.sin(math.pi * j / self.count) for j in range(1, self.count))
        mean = mass.mean(1)
        return mean * (pull * g * mean / radius).sqrt()

    def kinetic(
        self, q: Float[Tensor, "*b m"], p: Float[Tensor, "*b m"], theta: Float[Tensor, "*#b q"]
    ) -> Float[Tensor, "*b"]:
        """Return sum_i |p_i|^2 / (2 m_i)."""
        return (p * self.velocity(q, p, theta)).sum(-1) / 2

    def potential(self, q: Float[Tensor, "*b m"], theta: Float[Tensor, "*#b q"]) -> Float[Tensor, "*b"]:
        """Return -sum_{i<j} g m_i m_j / |q_i - q_j|."""
        gap, strength, _ = self._pairs(q, theta)
        return -(strength / gap.norm(dim=-1)).sum(-1)

    def velocity(
        self, q: Float[Tensor, "*b m"], p: Float[Tensor, "*b m"], theta: Float[Tensor, "*#b q"]
    ) -> Float[Tensor, "*b m"]:
        """Return p_i / m_i."""
        return p / theta[..., :-1].repeat_interleave(2, -1)

    def force(
        self, q: Float[Tensor, "*b m"], p: Float[Tensor, "*b m"], theta: Float[Tensor, "*#b q"]
    ) -> Float[Tensor, "*b m"]:
        """Return the pulls g m_i m_j (q_j - q_i) / |q_i - q_j|^3 on each body, summed over the others."""
        gap, strength, ends = self._pairs(q, theta)
        pull = gap * (strength / gap.square().sum(-1) ** 1.5)[..., None]
        if self.count == 2:
            return torch.cat([-pull, pull], -2).flatten(-2)
        pulls = torch.zeros_like(q).unflatten(-1, (self.count, 2))
        return pulls.index_add(-2, ends[0], pull, alpha=-1).index_add(-2, ends[1], pull).flatten(-2)

    def _pairs(
        self, q: Float[Tensor, "*b m"], theta: Float[Tensor, "*#b q"]
    ) -> tuple[Float[Tensor, "*b j 2"], Float[Tensor, "*#b j"], Tensor]:
        """Return q_i - q_j and g m_i m_j of each pair i < j, and the pairs [2, j]."""
        ends = torch.tensor(list(itertools.combinations(range(self.count), 2)), device=q.device).T
        place = q.unflatten(-1, (self.count, 2))
        strength = theta[..., -1:] * theta[..., ends[0]] * theta[..., ends[1]]
        return place[..., ends[0], :] - place[..., ends[1], :], strength, ends

    def solution(
        self, state: Float[Tensor, "b n"], theta: Float[Tensor, "b q"], times: Float[Tensor, " t"]
    ) -> None:
        """Return nothing: there is no formula."""

    def places(self, q: Float[Tensor, "*b m"], theta: Float[Tensor, "*#b q"]) -> Float[Tensor, "*b k 2"]:
        """Return the positions."""
        return q.unflatten(-1, (self.count, 2))

    def masses(self, theta: Float[Tensor, "b q"]) -> Float[Tensor, "b k"]:
        """Return the masses."""
        return theta[:, :-1]


def two_body() -> HamiltonianWorld:
    """Return two bodies of two colours around each other (Jiang et al. 2023, the single set)."""
    mechanics = NBody(m=(0.5, 1.5), canvas=5.0, orbit="legacy")
    return HamiltonianWorld(mechanics=mechanics, channels=3, num_colors=2)


def two_body_suite() -> HamiltonianWorld:
    """Return two equal bodies on circles as in the Hamiltonian suite (Botev, Jaegle et al. 2021)."""
    return HamiltonianWorld(mechanics=NBody(orbit="legacy"), channels=3, frames="grey", num_colors=2)


def two_body_g(gravity: float) -> HamiltonianWorld:
    """Return two equal bodies under a given gravity, from first momenta that are circular for 1 only."""
    return HamiltonianWorld(mechanics=NBody(g=(gravity, gravity), orbit="legacy"))


def two_body_colors() -> HamiltonianWorld:
    """Return two coloured bodies as in the Hamiltonian suite, in grey levels (Botev, Jaegle et al. 2021)."""
    mechanics = NBody(m=(0.5, 1.5), g=(0.5, 1.5), canvas=5.0, orbit="legacy")
    return HamiltonianWorld(mechanics=mechanics, steps=60, dt=0.05, channels=3, frames="grey", num_colors=6)


def two_body_colors_friction() -> HamiltonianWorld:
    """Return two coloured bodies with friction (Botev, Jaegle et al. 2021)."""
    return replace(two_body_colors(), friction=(0.05, 0.05))


def three_body() -> HamiltonianWorld:
    """Return three bodies of different masses in three colours, on a triangle that does not last."""
    mechanics = NBody(count=3, m=(0.5, 1.5), radius=(1.0, 2.0), canvas=5.0)
    return HamiltonianWorld(mechanics=mechanics, steps=60, channels=3, num_colors=3)


def n_body() -> HamiltonianWorld:
    """Return four bodies of different masses under gravity; ``count`` sets how many."""
    mechanics = NBody(count=4, m=(0.2, 1.0), radius=(1.5, 2.5), canvas=5.0)
    return HamiltonianWorld(mechanics=mechanics, steps=60)

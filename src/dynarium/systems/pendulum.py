"""A pendulum."""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from dynarium.systems.checks import check_positive_range, check_range
from dynarium.systems.draws import annulus, uniform
from dynarium.systems.hamiltonian import HamiltonianWorld
from dynarium.systems.mechanics import Array, Flow, library


@dataclass(frozen=True, kw_only=True)
class Pendulum:
    """A mass m on a rod of length l: H = m g l (1 - cos q) + p^2 / (2 m l^2); the angle q is 0 where it hangs.

    The first state (q, p) is drawn in an annulus.

    Attributes:
        m: Range of the mass.
        g: Range of the gravity.
        l: Range of the length.
        radius: Range of the distance of the first state from rest.
        uniform_annulus: Draw it evenly over the annulus; else evenly in that distance.
    """

    m: tuple[float, float] = (0.5, 0.5)
    g: tuple[float, float] = (3.0, 3.0)
    l: tuple[float, float] = (1.0, 1.0)  # noqa: E741
    radius: tuple[float, float] = (1.3, 2.3)
    uniform_annulus: bool = False

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UserError: A range out of order or not positive.
        """
        check_positive_range(m=self.m, l=self.l)
        check_range("g", self.g, low=0.0)
        check_range("radius", self.radius, low=0.0)

    @property
    def bodies(self) -> int:
        """One disc."""
        return 1

    @property
    def separable(self) -> bool:
        """H is a function of p plus a function of q."""
        return True

    @property
    def state_names(self) -> tuple[str, ...]:
        """Angle and angular momentum."""
        return ("q [rad]", "p [angular momentum]")

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Mass, gravity and length."""
        return ("m", "g", "l")

    @property
    def bound(self) -> float:
        """The longest rod and the largest disc."""
        return self.l[1] + math.sqrt(self.m[1] / math.pi)

    def neutral(self) -> "Pendulum":
        """Return the same mechanics with the gravity fixed."""
        return replace(self, g=(1.0, 1.0))

    def sample_parameters(self, n: int, generator: torch.Generator) -> Float[Tensor, "b q"]:
        """Draw mass, gravity and length of ``n`` sequences."""
        return torch.cat([uniform(bounds, (n, 1), generator) for bounds in (self.m, self.g, self.l)], 1)

    def first_state(self, theta: Float[Tensor, "b q"], generator: torch.Generator) -> Float[Tensor, "b n"]:
        """Draw a first state (q, p) for each row of parameters."""
        return annulus(self.radius, self.uniform_annulus, (len(theta),), generator)

    def flow(self, theta: Float[Array, "*b q"]) -> Flow:
        """Return p / (m l^2) and -m g l sin q."""
        m, g, length = theta[..., :1], theta[..., 1:2], theta[..., 2:]
        inertia, weight = m * length**2, m * g * length
        sin = library(theta).sin
        return lambda q, p: (p / inertia, -weight * sin(q))

    def potential(self, q: Float[Tensor, "*b m"], theta: Float[Tensor, "*#b q"]) -> Float[Tensor, "*b"]:
        """Return m g l (1 - cos q)."""
        return theta.prod(-1) * (1 - q[..., 0].cos())

    def solution(self, state: Float[Tensor, "b n"], theta: Float[Tensor, "b q"], times: Float[Tensor, " t"]) -> None:
        """Return nothing: the formula needs elliptic functions."""

    def places(self, q: Float[Tensor, "*b m"], theta: Float[Tensor, "*#b q"]) -> Float[Tensor, "*b k 2"]:
        """Return l (sin q, -cos q)."""
        length = theta[..., 2:]
        return torch.stack([length * q.sin(), -length * q.cos()], -1)

    def masses(self, theta: Float[Tensor, "b q"]) -> Float[Tensor, "b k"]:
        """Return the mass."""
        return theta[:, :1]


def pendulum() -> HamiltonianWorld[Pendulum]:
    """Return a pendulum (Jiang et al. 2023, the single set)."""
    return HamiltonianWorld(mechanics=Pendulum())


def pendulum_g(gravity: float) -> HamiltonianWorld[Pendulum]:
    """Return a pendulum of any mass and length under a given gravity, somewhere on a wide canvas."""
    mechanics = Pendulum(m=(0.5, 1.0), g=(gravity, gravity), l=(0.5, 1.0), uniform_annulus=True)
    return HamiltonianWorld(mechanics=mechanics, random_canvas=True)


def pendulum_friction(friction: float) -> HamiltonianWorld[Pendulum]:
    """Return a pendulum of any length with a given friction, somewhere on a wide canvas."""
    mechanics = Pendulum(l=(0.5, 1.0), uniform_annulus=True)
    return HamiltonianWorld(mechanics=mechanics, friction=(friction, friction), random_canvas=True)


def pendulum_colors() -> HamiltonianWorld[Pendulum]:
    """Return coloured pendulums as in the Hamiltonian suite, in grey levels (Botev, Jaegle et al. 2021)."""
    return HamiltonianWorld(
        mechanics=Pendulum(m=(0.5, 1.5), g=(3.0, 4.0), l=(0.5, 1.0), uniform_annulus=True),
        steps=60,
        dt=0.05,
        channels=3,
        frames="grey",
        num_colors=6,
        random_canvas=True,
    )


def pendulum_colors_friction() -> HamiltonianWorld[Pendulum]:
    """Return coloured pendulums with friction (Botev, Jaegle et al. 2021)."""
    return replace(pendulum_colors(), friction=(0.05, 0.05))

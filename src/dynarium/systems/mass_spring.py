"""A mass on a spring."""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from dynarium.systems.checks import check_positive_range, check_range
from dynarium.systems.draws import annulus, uniform
from dynarium.systems.hamiltonian import HamiltonianWorld
from dynarium.systems.mechanics import Array, Flow


@dataclass(frozen=True, kw_only=True)
class MassSpring:
    """A mass m on a spring of stiffness k that moves up and down: H = k q^2 / 2 + p^2 / (2 m).

    The first state is q = u, p = v sqrt(k m) for (u, v) in an annulus, whose radius is the amplitude of the motion.

    Attributes:
        m: Range of the mass.
        k: Range of the stiffness.
        radius: Range of the amplitude.
        uniform_annulus: Draw (u, v) evenly over the annulus; else evenly in amplitude.
    """

    m: tuple[float, float] = (0.4, 1.0)
    k: tuple[float, float] = (2.0, 2.0)
    radius: tuple[float, float] = (0.1, 1.0)
    uniform_annulus: bool = False

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UserError: A range out of order or not positive.
        """
        check_positive_range(m=self.m, k=self.k)
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
        """Position and momentum."""
        return ("q [length]", "p [momentum]")

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Mass and stiffness."""
        return ("m", "k")

    @property
    def bound(self) -> float:
        """The largest amplitude and the largest disc."""
        return self.radius[1] + math.sqrt(self.m[1] / math.pi)

    def neutral(self) -> "MassSpring":
        """Return the same mechanics with the stiffness fixed."""
        return replace(self, k=(1.0, 1.0))

    def sample_parameters(self, n: int, generator: torch.Generator) -> Float[Tensor, "b q"]:
        """Draw mass and stiffness of ``n`` sequences."""
        return torch.cat([uniform(self.m, (n, 1), generator), uniform(self.k, (n, 1), generator)], 1)

    def first_state(self, theta: Float[Tensor, "b q"], generator: torch.Generator) -> Float[Tensor, "b n"]:
        """Draw a first state (q, p) for each row of parameters."""
        m, k = theta.unbind(-1)
        u, v = annulus(self.radius, self.uniform_annulus, (len(theta),), generator).unbind(-1)
        return torch.stack([u, v * (k * m).sqrt()], -1)

    def flow(self, theta: Float[Array, "*b q"]) -> Flow:
        """Return p / m and -k q."""
        m, k = theta[..., :1], theta[..., 1:]
        return lambda q, p: (p / m, -k * q)

    def potential(self, q: Float[Tensor, "*b m"], theta: Float[Tensor, "*#b q"]) -> Float[Tensor, "*b"]:
        """Return k q^2 / 2."""
        return theta[..., 1] * q[..., 0].square() / 2

    def solution(
        self, state: Float[Tensor, "b n"], theta: Float[Tensor, "b q"], times: Float[Tensor, " t"]
    ) -> Float[Tensor, "b t n"]:
        """Return q cos wt + p / (m w) sin wt and its momentum, with w = sqrt(k / m)."""
        (q, p), (m, k) = state.T[..., None], theta.T[..., None]
        frequency = (k / m).sqrt()
        cosine, sine = (frequency * times).cos(), (frequency * times).sin()
        scale = m * frequency
        return torch.stack([q * cosine + p / scale * sine, p * cosine - q * scale * sine], -1)

    def places(self, q: Float[Tensor, "*b m"], theta: Float[Tensor, "*#b q"]) -> Float[Tensor, "*b k 2"]:
        """Return (0, q)."""
        return torch.stack([torch.zeros_like(q), q], -1)

    def masses(self, theta: Float[Tensor, "b q"]) -> Float[Tensor, "b k"]:
        """Return the mass."""
        return theta[:, :1]


def mass_spring() -> HamiltonianWorld[MassSpring]:
    """Return a mass on a spring (Jiang et al. 2023, the single set)."""
    return HamiltonianWorld(mechanics=MassSpring())


def mass_spring_suite() -> HamiltonianWorld[MassSpring]:
    """Return a mass on a spring as in the Hamiltonian suite: one mass (Botev, Jaegle et al. 2021)."""
    return HamiltonianWorld(mechanics=MassSpring(m=(0.5, 0.5)), channels=3, frames="grey")


def mass_spring_k(stiffness: float) -> HamiltonianWorld[MassSpring]:
    """Return a mass on a spring of a given stiffness, somewhere on a wide canvas."""
    return HamiltonianWorld(mechanics=MassSpring(k=(stiffness, stiffness)), random_canvas=True, random_x=(0.0, 1.0))


def mass_spring_friction(friction: float) -> HamiltonianWorld[MassSpring]:
    """Return a mass on a spring with a given friction, somewhere on a wide canvas."""
    mechanics = MassSpring(m=(0.5, 0.5), uniform_annulus=True)
    return HamiltonianWorld(mechanics=mechanics, friction=(friction, friction), random_canvas=True, random_x=(0.0, 1.0))


def mass_spring_colors() -> HamiltonianWorld[MassSpring]:
    """Return coloured masses on a spring as in the Hamiltonian suite, in grey levels (Botev, Jaegle et al. 2021)."""
    return HamiltonianWorld(
        mechanics=MassSpring(m=(0.2, 1.0), uniform_annulus=True),
        steps=60,
        dt=0.05,
        channels=3,
        frames="grey",
        num_colors=6,
        random_canvas=True,
        random_x=(0.0, 1.0),
    )


def mass_spring_colors_friction() -> HamiltonianWorld[MassSpring]:
    """Return coloured masses on a spring with friction (Botev, Jaegle et al. 2021)."""
    return replace(mass_spring_colors(), friction=(0.05, 0.05))

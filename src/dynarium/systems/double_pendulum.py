"""A double pendulum."""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dynarium.systems.checks import check_positive_range, check_range
from dynarium.systems.draws import annulus, uniform
from dynarium.systems.hamiltonian import HamiltonianWorld
from dynarium.systems.mechanics import Array, Flow, columns, library


@dataclass(frozen=True, kw_only=True)
class DoublePendulum:
    """A pendulum that hangs from a pendulum, with angles q1 and q2 from the vertical.

    With d = q1 - q2 and D = m1 + m2 sin^2 d,

        H = [m2 l2^2 p1^2 + (m1 + m2) l1^2 p2^2 - 2 m2 l1 l2 p1 p2 cos d] / (2 m2 l1^2 l2^2 D)
            - (m1 + m2) g l1 cos q1 - m2 g l2 cos q2.

    The first (q1, p1) and (q2, p2) are drawn in an annulus each.

    Attributes:
        m: Range of either mass.
        g: Range of the gravity.
        l: Range of either length.
        radius: Range of the distance of the first (q_i, p_i) from rest.
        uniform_annulus: Draw them evenly over the annulus; else evenly in that distance.
    """

    m: tuple[float, float] = (0.4, 0.6)
    g: tuple[float, float] = (3.0, 3.0)
    l: tuple[float, float] = (0.75, 1.0)  # noqa: E741
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
        """Two discs."""
        return 2

    @property
    def separable(self) -> bool:
        """The kinetic energy depends on the angles."""
        return False

    @property
    def state_names(self) -> tuple[str, ...]:
        """Angles and their momenta."""
        return ("q1 [rad]", "q2 [rad]", "p1 [angular momentum]", "p2 [angular momentum]")

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Masses, gravity and lengths."""
        return ("m1", "m2", "g", "l1", "l2")

    @property
    def bound(self) -> float:
        """The two longest rods and the largest disc."""
        return 2 * self.l[1] + math.sqrt(self.m[1] / math.pi)

    def neutral(self) -> "DoublePendulum":
        """Return the same mechanics with the gravity fixed."""
        return replace(self, g=(1.0, 1.0))

    def sample_parameters(self, n: int, generator: torch.Generator) -> Float[Tensor, "b q"]:
        """Draw masses, gravity and lengths of ``n`` sequences."""
        ranges = ((self.m, 2), (self.g, 1), (self.l, 2))
        return torch.cat([uniform(bounds, (n, count), generator) for bounds, count in ranges], 1)

    def first_state(self, theta: Float[Tensor, "b q"], generator: torch.Generator) -> Float[Tensor, "b n"]:
        """Draw a first state (q1, q2, p1, p2) for each row of parameters."""
        return annulus(self.radius, self.uniform_annulus, (len(theta), 2), generator).mT.flatten(1)

    def flow(self, theta: Float[Array, "*b q"]) -> Flow:
        """Return the derivatives of H.

        With u_i = p_i / l_i, a = u1 - u2 cos d and b = (m1 + m2) / m2 u2 - u1 cos d, the kinetic energy is N / (2 D) where
        N = u1 a + u2 b. So the velocities are a / (l1 D) and b / (l2 D), and the kinetic part of -dH/dq1, which is that of
        dH/dq2, is (N m2 sin d cos d / D - u1 u2 sin d) / D.
        """
        m1, m2, g, l1, l2 = (theta[..., i] for i in range(5))
        ratio, inverse, weights = (m1 + m2) / m2, 1 / columns(l1, l2), columns((m1 + m2) * g * l1, m2 * g * l2)
        tan, reciprocal = library(theta).tan, library(theta).reciprocal

        def at(q: Any, p: Any) -> tuple[Any, Any]:
            q1, q2, u = q[..., 0], q[..., 1], p * inverse
            u1, u2 = u[..., 0], u[..., 1]
            # With t the tangent of half an angle, its sine is 2 t / (1 + t^2) and its cosine (1 - t^2) / (1 + t^2):
            # NumPy's tangent is several times faster than its sine.
            half = tan(columns(q1 - q2, q1, q2) * 0.5)
            square = half * half
            share = reciprocal(square + 1)
            sines, cosine = (half + half) * share, share[..., 0] - square[..., 0] * share[..., 0]
            sine = sines[..., 0]
            m2_sine = m2 * sine
            scale = reciprocal(m1 + m2_sine * sine)
            a, b = (u1 - u2 * cosine) * scale, (ratio * u2 - u1 * cosine) * scale
            turn = ((u1 * a + u2 * b) * (m2_sine * cosine) - u1 * u2 * sine) * scale
            return columns(a, b) * inverse, columns(turn, -turn) - weights * sines[..., 1:]

        return at

    def potential(self, q: Float[Tensor, "*b m"], theta: Float[Tensor, "*#b q"]) -> Float[Tensor, "*b"]:
        """Return -(m1 + m2) g l1 cos q1 - m2 g l2 cos q2."""
        m1, m2, g, l1, l2 = theta.unbind(-1)
        q1, q2 = q.unbind(-1)
        return -(m1 + m2) * g * l1 * q1.cos() - m2 * g * l2 * q2.cos()

    def solution(self, state: Float[Tensor, "b n"], theta: Float[Tensor, "b q"], times: Float[Tensor, " t"]) -> None:
        """Return nothing: there is no formula."""

    def places(self, q: Float[Tensor, "*b m"], theta: Float[Tensor, "*#b q"]) -> Float[Tensor, "*b k 2"]:
        """Return l1 (sin q1, -cos q1), and from there l2 (sin q2, -cos q2)."""
        arms = theta[..., 3:, None] * torch.stack([q.sin(), -q.cos()], -1)
        return arms.cumsum(-2)

    def masses(self, theta: Float[Tensor, "b q"]) -> Float[Tensor, "b k"]:
        """Return both masses."""
        return theta[:, :2]


def double_pendulum() -> HamiltonianWorld[DoublePendulum]:
    """Return a double pendulum of two colours (Jiang et al. 2023, the single set)."""
    return HamiltonianWorld(mechanics=DoublePendulum(), channels=3, num_colors=2)


def double_pendulum_suite() -> HamiltonianWorld[DoublePendulum]:
    """Return a double pendulum as in the Hamiltonian suite: equal bobs (Botev, Jaegle et al. 2021)."""
    mechanics = DoublePendulum(m=(0.5, 0.5), l=(1.0, 1.0))
    return HamiltonianWorld(mechanics=mechanics, channels=3, frames="grey", num_colors=2)


def double_pendulum_g(gravity: float) -> HamiltonianWorld[DoublePendulum]:
    """Return a heavy, slow double pendulum under a given gravity, somewhere on a wide canvas."""
    mechanics = DoublePendulum(
        m=(5.0, 8.0), g=(gravity, gravity), l=(2.5, 3.0), radius=(1.5, 2.5), uniform_annulus=True
    )
    return HamiltonianWorld(mechanics=mechanics, random_canvas=True)


def double_pendulum_light() -> HamiltonianWorld[DoublePendulum]:
    """Return the double pendulum under a gravity of 2 that the published code has besides its sets."""
    mechanics = DoublePendulum(m=(2.0, 2.0), g=(2.0, 2.0), l=(1.25, 1.25), radius=(0.2, 2.3), uniform_annulus=True)
    return HamiltonianWorld(mechanics=mechanics, random_canvas=True)


def double_pendulum_colors() -> HamiltonianWorld[DoublePendulum]:
    """Return coloured double pendulums as in the Hamiltonian suite, in grey levels (Botev, Jaegle et al. 2021)."""
    return HamiltonianWorld(
        mechanics=DoublePendulum(g=(2.5, 4.0), radius=(1.0, 2.5), uniform_annulus=True),
        steps=60,
        dt=0.05,
        channels=3,
        frames="grey",
        num_colors=6,
        random_canvas=True,
    )


def double_pendulum_colors_friction() -> HamiltonianWorld[DoublePendulum]:
    """Return coloured double pendulums with friction (Botev, Jaegle et al. 2021)."""
    return replace(double_pendulum_colors(), friction=(0.05, 0.05))

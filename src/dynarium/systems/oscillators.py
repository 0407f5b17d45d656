"""Oscillators as equations: Duffing, Van der Pol, a driven pendulum, and Hamiltonians with one quadratic half."""

import math

from torch import Tensor

from dynarium.systems.actions import RandomActions
from dynarium.systems.ode import Ode
from dynarium.systems.views import Circle, Plane, Rod

Terms = tuple[Tensor, ...]


def duffing_equation(q: Tensor, v: Tensor, *, alpha: Tensor, beta: Tensor, delta: Tensor) -> Terms:
    """Duffing: q'' = -delta q' - alpha q - beta q^3; v^2 / 2 + alpha q^2 / 2 + beta q^4 / 4 falls by delta v^2."""
    return v, -delta * v - alpha * q - beta * q**3


def duffing() -> Ode:
    """Return the Duffing oscillator: two wells, weakly damped (Guckenheimer & Holmes 1983, section 2.2)."""
    return Ode(
        equation=f"{__name__}:duffing_equation",
        start={"q": (-1.5, 1.5), "v": (-1.0, 1.0)},
        parameters={"alpha": (-1.0, -1.0), "beta": (1.0, 1.0), "delta": (0.0, 0.3)},
        view=Plane(reach=2.5),
    )


def van_der_pol_equation(q: Tensor, v: Tensor, *, mu: Tensor) -> Terms:
    """Van der Pol: q'' = mu (1 - q^2) q' - q."""
    return v, mu * (1 - q**2) * v - q


def van_der_pol() -> Ode:
    """Return the Van der Pol oscillator: every motion ends on a limit cycle (Van der Pol 1926)."""
    return Ode(
        equation=f"{__name__}:van_der_pol_equation",
        start={"q": (-2.0, 2.0), "v": (-2.0, 2.0)},
        parameters={"mu": (0.5, 2.0)},
        view=Plane(reach=6.0),
    )


def forced_pendulum_equation(
    theta: Tensor, omega: Tensor, torque: Tensor, *, g: Tensor, length: Tensor, friction: Tensor
) -> Terms:
    """Pendulum: theta'' = -(g / l) sin theta - friction theta' + torque, for a unit moment of inertia."""
    return omega, -g / length * theta.sin() - friction * omega + torque


def forced_pendulum() -> Ode:
    """Return a pendulum driven by a random torque, which is its action."""
    return Ode(
        equation=f"{__name__}:forced_pendulum_equation",
        start={"theta": (-math.pi / 2, math.pi / 2), "omega": (-1.0, 1.0)},
        parameters={"g": (9.8, 9.8), "length": (1.0, 1.0), "friction": (0.05, 0.2)},
        actions=1,
        forcing=RandomActions(largest=8.0),
        dt=0.05,
        view=Circle(),
    )


def pendulum_16x16() -> Ode:
    """Return a pendulum driven by a torque that is drawn anew at every step, as 16 x 16 frames (Karl et al. 2017).

    What the papers that compare evidence bounds on such frames (Watter et al. 2015, Karl et al. 2017, Fraccaro et al. 2017)
    leave open is chosen here: gravity 9.8, length 1, friction 0.1, any first angle, a torque uniform in [-8, 8] that is held
    for one step of 0.1, and a rod, anti-aliased in 256 grey levels.
    """
    return Ode(
        equation=f"{__name__}:forced_pendulum_equation",
        start={"theta": (-math.pi, math.pi), "omega": (-2.0, 2.0)},
        parameters={"g": (9.8, 9.8), "length": (1.0, 1.0), "friction": (0.1, 0.1)},
        actions=1,
        forcing=RandomActions(kind="steps", largest=8.0, hold=1),
        steps=20,
        view=Rod(),
        side=16,
    )


def quadratic_kinetic_equation(q1: Tensor, q2: Tensor, p1: Tensor, p2: Tensor, **matrix: Tensor) -> Terms:
    """H = p' M p / 2: q' = M p, p' = 0."""
    return (*_product(p1, p2, **matrix), 0 * p1, 0 * p2)


def quadratic_kinetic() -> Ode:
    """Return free motion, H = p' M p / 2, with a random symmetric M (Botev et al. 2021, the suite's potential-free toy)."""
    return Ode(equation=f"{__name__}:quadratic_kinetic_equation", view=Plane(reach=6.0), **_QUADRATIC)


def quadratic_potential_equation(q1: Tensor, q2: Tensor, p1: Tensor, p2: Tensor, **matrix: Tensor) -> Terms:
    """H = q' M q / 2: q' = 0, p' = -M q."""
    force_1, force_2 = _product(q1, q2, **matrix)
    return 0 * q1, 0 * q2, -force_1, -force_2


def quadratic_potential() -> Ode:
    """Return motion without inertia, H = q' M q / 2, drawn by its momenta (Botev et al. 2021, the kinetic-free toy)."""
    return Ode(equation=f"{__name__}:quadratic_potential_equation", view=Plane(x=2, y=3, reach=6.0), **_QUADRATIC)


_QUADRATIC = {
    "start": {name: (-0.7, 0.7) for name in ("q1", "q2", "p1", "p2")},
    # Eigenvalues of M, and the angle of the first eigenvector.
    "parameters": {"first": (0.5, 2.0), "second": (0.5, 2.0), "angle": (0.0, math.pi)},
    "dt": 0.05,
    "steps": 50,
}


def _product(x1: Tensor, x2: Tensor, *, first: Tensor, second: Tensor, angle: Tensor) -> Terms:
    """Return M x of the symmetric matrix with two eigenvalues and the direction of the first."""
    cosine, sine = angle.cos(), angle.sin()
    along, across = first * (cosine * x1 + sine * x2), second * (cosine * x2 - sine * x1)
    return cosine * along - sine * across, sine * along + cosine * across

"""SIGReg: representations are pushed towards an isotropic Gaussian (LeJEPA: Balestriero & LeCun 2025, arXiv:2511.08544).

A distribution is N(0, I) if and only if its projection on every direction is N(0, 1). Random directions are drawn anew at
every step, and each projection is compared with N(0, 1) through its characteristic function (Epps & Pulley 1983).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def sigreg(
    z: Float[Tensor, "*g n d"], directions: Float[Tensor, "d m"], knots: int = 17, until: float = 3.0
) -> Float[Tensor, ""]:
    """Return the Epps-Pulley statistic, averaged over directions and groups.

    For the projections h = z a of n samples on a unit direction a,

        n * integral ((mean cos(x h) - phi(x))^2 + (mean sin(x h))^2) phi(x) dx,   phi(x) = exp(-x^2 / 2),

    over -until .. until by the trapezoid rule on ``knots`` points of its non-negative half (the integrand is even). It
    stays of order one for Gaussian samples, whatever their number, and grows with n for any other distribution.

    Args:
        z: Groups of n samples.
        directions: Unit vectors, the same on all processes.
        knots: Points of the quadrature.
        until: Where the integral is cut.
    """
    n = z.shape[-2]
    x = torch.linspace(0, until, knots, dtype=z.dtype, device=z.device)
    phi = (-0.5 * x.square()).exp()
    weight = torch.full_like(x, 2 * until / (knots - 1))
    weight[[0, -1]] *= 0.5
    angle = (z @ directions)[..., None] * x
    error = (angle.cos().mean(-3) - phi).square() + angle.sin().mean(-3).square()
    return (n * (error * phi) @ weight).mean()


def random_directions(
    d: int, m: int, generator: torch.Generator, device: torch.device | str = "cpu"
) -> Float[Tensor, "d m"]:
    """Return m directions, uniform on the unit sphere; equal generators give equal directions on every process."""
    return F.normalize(torch.randn(d, m, generator=generator, device=generator.device), dim=0).to(device)

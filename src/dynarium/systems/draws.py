"""Random draws that several worlds share; all in float64, on the device of the generator."""

import functools
import math
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

Range = tuple[float, float]
"""Lowest and highest value of a uniform draw."""


def uniform(bounds: Range, shape: tuple[int, ...], generator: torch.Generator) -> Float[Tensor, "..."]:
    """Draw from U(low, high)."""
    low, high = bounds
    return low + (high - low) * torch.rand(*shape, dtype=torch.float64, device=generator.device, generator=generator)


def uniform_rows(ranges: Iterable[Range], n: int, generator: torch.Generator) -> Float[Tensor, "b k"]:
    """Draw ``n`` rows, each column from a range of its own."""
    options = {"dtype": torch.float64, "device": generator.device}
    low, high = torch.tensor(list(ranges), **options).reshape(-1, 2).unbind(-1)
    return low + (high - low) * torch.rand(n, len(low), generator=generator, **options)


def velocities(
    angle: Range, speed: Range, shape: tuple[int, ...], generator: torch.Generator
) -> Float[Tensor, "... 2"]:
    """Draw velocities of a uniform direction, in degrees, and a uniform size."""
    share = torch.rand(*shape, 2, dtype=torch.float64, device=generator.device, generator=generator)
    direction = torch.deg2rad(angle[0] + (angle[1] - angle[0]) * share[..., 0])
    size = speed[0] + (speed[1] - speed[0]) * share[..., 1]
    return size[..., None] * torch.stack([direction.cos(), direction.sin()], -1)


def annulus(radius: Range, even: bool, shape: tuple[int, ...], generator: torch.Generator) -> Float[Tensor, "... 2"]:
    """Draw points of an annulus in the plane, evenly over its area if ``even``, else evenly in radius."""
    direction = torch.randn(*shape, 2, dtype=torch.float64, device=generator.device, generator=generator)
    bounds = (radius[0] ** 2, radius[1] ** 2) if even else radius
    length = uniform(bounds, (*shape, 1), generator)
    return direction / direction.norm(dim=-1, keepdim=True) * (length.sqrt() if even else length)


def shared_factors(states: int, observations: int, seed: int) -> Float[Tensor, "n p"]:
    """Draw a map from states to observations that all sequences share, its entries uniform in (-1, 1)."""
    return uniform((-1.0, 1.0), (states, observations), torch.Generator().manual_seed(seed))


def von_mises(concentration: float, shape: tuple[int, ...], generator: torch.Generator) -> Float[Tensor, "..."]:
    """Draw angles around 0 of density exp(concentration cos a) / (2 pi I0(concentration)), by inverting its integral.

    The integral is tabulated at 8193 angles and linear between them; the number of draws does not depend on their values.
    """
    angle, integral = _von_mises_table(concentration, str(generator.device))
    share = torch.rand(*shape, dtype=torch.float64, device=generator.device, generator=generator)
    cell = (torch.searchsorted(integral, share, right=True) - 1).clamp_(0, len(angle) - 2)
    low, high = integral[cell], integral[cell + 1]
    return angle[cell] + (share - low) / (high - low) * (angle[1] - angle[0])


@functools.lru_cache(maxsize=16)
def _von_mises_table(concentration: float, device: str) -> tuple[Float[Tensor, " q"], Float[Tensor, " q"]]:
    """Return angles and the share of the draws below each, from where the density is worth a draw on."""
    reach = min(math.pi, 9 / math.sqrt(max(concentration, 1e-9)))
    angle = torch.linspace(-reach, reach, 8193, dtype=torch.float64)
    density = (concentration * (angle.cos() - 1)).exp()
    integral = torch.cat([torch.zeros(1, dtype=torch.float64), ((density[1:] + density[:-1]) / 2).cumsum(0)])
    return angle.to(device), (integral / integral[-1]).to(device)


def truncated_normal(
    mean: float, std: float, bounds: Range, shape: tuple[int, ...], generator: torch.Generator
) -> Float[Tensor, "..."]:
    """Draw from N(mean, std^2) between bounds, by inverting its integral."""
    low, high = (0.5 * (1 + math.erf((bound - mean) / (std * math.sqrt(2)))) for bound in bounds)
    share = uniform((low, high), shape, generator)
    return (mean + std * math.sqrt(2) * torch.erfinv(2 * share - 1)).clamp(*bounds)


def integers(low: int, high: int, shape: tuple[int, ...], generator: torch.Generator) -> Float[Tensor, "..."]:
    """Draw whole numbers from ``low`` to ``high``, both included."""
    return torch.randint(low, high + 1, shape, dtype=torch.float64, device=generator.device, generator=generator)

"""Dots of light: normalised Gaussians, drawn as an outer product of their two one-dimensional profiles."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def gaussian_profiles(centres: Float[Tensor, "*b"], std: float, pixels: int) -> Float[Tensor, "*b p"]:
    """Return exp(-(u - c)^2 / (2 std^2)) / (sqrt(2 pi) std) at the pixel centres u = 0, 1, ..., in float32."""
    u = torch.arange(pixels, dtype=torch.float32, device=centres.device)
    distance = u - centres.float()[..., None]
    return distance.square_().mul_(-0.5 / std**2).exp_().mul_(1 / (math.sqrt(2 * math.pi) * std))


def gaussian_dots(centres: Float[Tensor, "b t k 2"], std: float, side: int) -> Float[Tensor, "b t k h w"]:
    """Draw every dot on a frame of its own: N(u; centre, std^2 I) at the pixel centres, black elsewhere.

    The density is a product of two profiles, so that a frame costs 2 ``side`` exponentials instead of ``side``^2.

    Args:
        centres: Middles (x, y) in pixels; pixel (row i, column j) has its middle at (j, i), so that row 0 is the top.
        std: Standard deviation in pixels; the largest possible value is 1 / (2 pi std^2).
        side: Height and width of the frames in pixels.
    """
    profiles = gaussian_profiles(centres, std, side)
    return profiles[..., 1, :, None] * profiles[..., 0, None, :]


def peak(std: float) -> float:
    """Return the value of a normalised Gaussian of the plane at its middle, 1 / (2 pi std^2)."""
    return 1 / (2 * math.pi * std**2)

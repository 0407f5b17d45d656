"""Anti-aliased frames at any resolution: coverage from signed distances.

Pixel (row i, column j) covers the square ``[j, j+1) x [i, i+1)``; a shape of signed distance d at the pixel's middle
covers ``clamp(1/2 - d, 0, 1)`` of it, exact for straight edges along the axes. Shapes are white (255) on black and
their union is the pixel-wise maximum.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

_FRAMES_AT_ONCE = 16_384

Distance = Callable[[Tensor, Tensor], Tensor]
"""Signed distance, in pixels, at the offsets (x, y) from the middle of a shape; negative inside."""


def antialiased_discs(
    centres: Float[Tensor, "*b k 2"],
    radius: float,
    side: int,
    background: UInt8[Tensor, "*#b h w"] | None = None,
) -> UInt8[Tensor, "*b h w"]:
    """Draw k discs per frame.

    Args:
        centres: (x, y) of each disc, in pixels.
        radius: Radius in pixels.
        side: Height and width of the frames in pixels.
        background: Drawn underneath, shared by all frames or one for each; black if absent.
    """
    return _draw(centres, radius, lambda x, y: torch.sqrt(x * x + y * y) - radius, side, background)


def antialiased_capsules(
    centres: Float[Tensor, "*b k 2"],
    half_axis: tuple[float, float],
    radius: float,
    side: int,
    background: UInt8[Tensor, "*#b h w"] | None = None,
) -> UInt8[Tensor, "*b h w"]:
    """Draw k capsules per frame: all points within ``radius`` of the segment ``centre -+ half_axis``.

    Arguments are in pixels and as in :func:`antialiased_discs`.
    """
    ax, ay = half_axis
    square = max(ax * ax + ay * ay, 1e-12)

    def distance(x: Tensor, y: Tensor) -> Tensor:
        along = ((x * ax + y * ay) / square).clamp(-1, 1)
        return torch.sqrt((x - along * ax) ** 2 + (y - along * ay) ** 2) - radius

    return _draw(centres, radius + math.hypot(ax, ay), distance, side, background)


def antialiased_walls(
    normals: Float[Tensor, "m 2"], offsets: Float[Tensor, " m"], side: int, thickness: float = 1.0
) -> UInt8[Tensor, "h w"]:
    """Draw a band around the convex polygon ``normals @ p <= offsets``, just outside it, ``thickness`` pixels wide."""
    pixel = torch.arange(side, dtype=normals.dtype, device=normals.device) + 0.5
    y, x = torch.meshgrid(pixel, pixel, indexing="ij")
    outside = (torch.stack([x, y], -1) @ normals.mT - offsets).amax(-1)
    return _coverage((outside - thickness / 2).abs() - thickness / 2)


def _coverage(distance: Float[Tensor, "*s"]) -> UInt8[Tensor, "*s"]:
    return ((0.5 - distance).clamp(0, 1) * 255).round().to(torch.uint8)


def _draw(
    centres: Float[Tensor, "*b k 2"],
    extent: float,
    distance: Distance,
    side: int,
    background: UInt8[Tensor, "*#b h w"] | None,
) -> UInt8[Tensor, "*b h w"]:
    shape = centres.shape[:-2]
    flat = centres.reshape(-1, *centres.shape[-2:])
    if background is None:
        background = torch.zeros(side, side, dtype=torch.uint8, device=centres.device)
    under = background.expand(*shape, side, side).reshape(-1, side, side)
    chunks = zip(flat.split(_FRAMES_AT_ONCE), under.split(_FRAMES_AT_ONCE), strict=True)
    return torch.cat([_stamp(c, extent, distance, u) for c, u in chunks]).reshape(*shape, side, side)


def _stamp(
    centres: Float[Tensor, "n k 2"], extent: float, distance: Distance, under: UInt8[Tensor, "n h w"]
) -> UInt8[Tensor, "n h w"]:
    # Only a window around each shape is evaluated; the canvas has a margin so that windows may overlap its edge.
    side = under.shape[-1]
    reach = math.ceil(extent) + 1
    window = 2 * reach + 1
    width = side + 2 * window
    canvas = torch.nn.functional.pad(under, (window,) * 4).flatten(1)
    pixel = torch.arange(window, device=centres.device)
    for k in range(centres.shape[1]):
        first = (centres[:, k].floor().to(torch.int64) - reach).clamp(-window, side)
        offset = (first[..., None] + pixel - centres[:, k, :, None] + 0.5).float()  # n 2 window
        value = _coverage(distance(offset[:, 0, None, :], offset[:, 1, :, None])).flatten(1)
        row, column = (first[:, 1, None] + pixel + window), (first[:, 0, None] + pixel + window)
        index = (row[:, :, None] * width + column[:, None, :]).flatten(1)
        canvas.scatter_(1, index, torch.maximum(value, canvas.gather(1, index)))
    return canvas.unflatten(1, (width, width))[:, window:-window, window:-window]

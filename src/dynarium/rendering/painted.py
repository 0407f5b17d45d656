"""Coloured shapes painted over each other with clean edges, at any resolution: coverage from signed distances.

Pixel (row i, column j) covers the square ``[j, j+1) x [i, i+1)``; a shape of signed distance d at the pixel's middle covers
``clamp(1/2 - d, 0, 1)`` of it.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dynarium.rendering.antialiased import Distance

_PIXELS_AT_ONCE = 2**18  # whose arrays stay in the cache


def paint(
    canvas: Float[Tensor, "n c h w"],
    centres: Float[Tensor, "n 2"],
    extent: float,
    distance: Distance,
    colour: Float[Tensor, "n c"],
    rim: Float[Tensor, "n c"] | None = None,
    rim_width: float = 1.0,
) -> None:
    """Paint one shape onto each frame, in place; only a window around it is looked at.

    Args:
        canvas: Frames.
        centres: (x, y) of the middle of each shape, in pixels.
        extent: Largest distance of a painted point from there.
        distance: Signed distance in pixels at the offsets (x, y) from the middles, each [n, p, p].
        colour: Of each shape.
        rim: Colour of a line along the inside of its edge; none if absent.
        rim_width: Width of that line in pixels.
    """
    height, width = canvas.shape[-2:]
    window = min(2 * (int(extent) + 2), height, width)
    pixel = torch.arange(window, device=centres.device)
    limit = torch.tensor([width - window, height - window], device=centres.device)
    first = (centres - window / 2).round().clamp(min=0).long().minimum(limit)
    index = first[..., None] + pixel  # n 2 p
    offset = index + 0.5 - centres[..., None]
    x, y = offset[:, 0, None, :], offset[:, 1, :, None]
    depth = 0.5 - distance(x.expand(-1, window, -1), y.expand(-1, -1, window))[:, None]
    shade = colour[..., None, None]
    if rim is not None:
        line = rim[..., None, None]
        shade = line + (depth - rim_width).clamp(0, 1) * (shade - line)
    places = (index[:, 1, :, None] * width + index[:, 0, None, :]).flatten(1)[:, None].expand(-1, canvas.shape[1], -1)
    flat = canvas.flatten(2)
    under = flat.gather(2, places).unflatten(2, (window, window))
    flat.scatter_(2, places, (under + depth.clamp(0, 1) * (shade - under)).flatten(2))


def rounded_polygon(corners: Float[Tensor, "n v 2"], rounding: Float[Tensor, " n"]) -> Distance:
    """Return the signed distance from convex polygons, corners from their middles, that are rounded off outwards."""
    edges = corners.roll(-1, 1) - corners
    length = edges.square().sum(-1).clamp(min=1e-12)
    area = (corners[..., 0] * edges[..., 1] - corners[..., 1] * edges[..., 0]).sum(-1)
    sign = torch.where(area.abs() > 1e-6, area.sign(), 0)[:, None, None]

    def distance(x: Tensor, y: Tensor) -> Tensor:
        square, within = torch.full_like(x, torch.inf), sign.abs().expand_as(x) > 0
        for v in range(corners.shape[1]):
            px, py = x - corners[:, v, 0, None, None], y - corners[:, v, 1, None, None]
            ex, ey = edges[:, v, 0, None, None], edges[:, v, 1, None, None]
            share = ((px * ex + py * ey) / length[:, v, None, None]).clamp(0, 1)
            square = torch.minimum(square, (px - share * ex).square() + (py - share * ey).square())
            within = within & (sign * (ex * py - ey * px) >= 0)
        root = square.sqrt()
        return torch.where(within, -root, root) - rounding[:, None, None]

    return distance


def as_bytes(canvas: Float[Tensor, "n c h w"]) -> UInt8[Tensor, "n c h w"]:
    """Return frames in [0, 1] as bytes."""
    return canvas.mul(255).round_().to(torch.uint8)


def frames_at_once(side: int) -> int:
    """Return how many frames are best painted together."""
    return max(1, _PIXELS_AT_ONCE // side**2)

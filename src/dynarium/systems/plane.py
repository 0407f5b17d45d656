"""Points of a plane as frames: how worlds that are no picture by themselves are drawn."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dynarium.rendering import antialiased_discs


def draw_points(
    points: Float[Tensor, "b t k 2"],
    middle: tuple[float, float],
    reach: float,
    side: int,
    radius: float = 2.0,
    background: UInt8[Tensor, "b t h w"] | None = None,
) -> UInt8[Tensor, "b t c h w"]:
    """Draw k points of a plane per frame as white discs on black.

    Args:
        points: (x, y) of each point; x grows to the right and y upwards, so that row 0 shows the largest y.
        middle: Point in the middle of the frame.
        reach: Distance from there to each edge of the frame.
        side: Height and width of the frame in pixels.
        radius: Radius of the discs in 32nds of the frame.
        background: Drawn underneath; black if absent.
    """
    offset = (points - torch.tensor(middle, dtype=points.dtype, device=points.device)) / reach
    # A point far outside is drawn just outside: beyond any frame, and within the range of a pixel's number.
    pixels = ((offset * points.new_tensor([1.0, -1.0])).clamp(-4, 4) + 1) * (side / 2)
    return antialiased_discs(pixels, radius * side / 32, side, background)[:, :, None]

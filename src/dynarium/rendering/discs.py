"""Filled discs, hard-edged as pygame rasterises them."""

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor


def disc_widths(radius: int) -> list[int]:
    """Return half the width of each of the ``2 * radius`` rows of a disc, by Bresenham's midpoint circle.

    The disc has an even diameter and is centred on a pixel corner: the row at distance i from the corner covers
    ``[-widths[i], widths[i])``. For radius 3 the rows are 2, 4, 6, 6, 4 and 2 pixels wide, as `pygame.draw.circle` fills.
    """
    half = [0] * radius
    x, y, error = 0, radius, 1 - radius
    step_y = -2 * radius
    while x < y:
        if error >= 0:
            y -= 1
            step_y += 2
            error += step_y
        x += 1
        error += 2 * x + 1
        if error >= 0:
            half[y - 1] = max(half[y - 1], x)
        half[x - 1] = max(half[x - 1], y)
    return half[::-1] + half


def hard_discs(centres: Float[Tensor, "*b k 2"], radius: float, side: int) -> UInt8[Tensor, "*b h w"]:
    """Draw white discs of whole pixels on black: centre truncated to a pixel corner, no anti-aliasing.

    Args:
        centres: (x, y) of each of the k discs of a frame, in pixels.
        radius: Radius in pixels; rounded.
        side: Height and width of the frames in pixels.
    """
    table = _stamps(round(radius), side, centres.device)
    reach = table.shape[0]
    corner = centres.to(torch.int64).clamp(0, reach - 1)
    index: Int[Tensor, "*b k"] = corner[..., 1] * reach + corner[..., 0]
    flat = table.flatten(0, 1)
    frames = flat.index_select(0, index[..., 0].reshape(-1))
    for k in range(1, index.shape[-1]):
        torch.maximum(frames, flat.index_select(0, index[..., k].reshape(-1)), out=frames)
    return frames.reshape(*index.shape[:-1], side, side)


def _stamps(radius: int, side: int, device: torch.device) -> UInt8[Tensor, "y x h w"]:
    """Return the frame of a disc at every whole-pixel centre."""
    widths = torch.tensor([0, *disc_widths(radius), 0], device=device)
    pixel, corner = torch.arange(side, device=device), torch.arange(side + 1, device=device)
    offset = pixel[None] - corner[:, None]
    width = widths[(offset + radius + 1).clamp(0, 2 * radius + 1)]
    inside = (offset[None, :, None] >= -width[:, None, :, None]) & (offset[None, :, None] < width[:, None, :, None])
    return inside.to(torch.uint8) * 255

"""Hard-edged frames as pygame rasterises them: whole pixels, centres truncated, walls one pixel thick.

Shapes are white (255) on black; the union of shapes is the pixel-wise maximum. Row index is y, downwards.
"""

import functools
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

_LARGEST_TABLE = 2**25  # bytes; enough for 64 x 64 frames


def disc_rows(radius: int) -> list[int]:
    """Return half the width of each of the ``2 * radius`` rows of a filled disc, by Bresenham's midpoint circle.

    The disc has an even diameter and sits on a pixel corner: a row of half width w covers the columns ``[-w, w)``
    around it. For radius 3 the rows are 2, 4, 6, 6, 4 and 2 pixels wide, as ``pygame.draw.circle`` fills them.
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


def hard_discs(
    centres: Float[Tensor, "*b k 2"], radius: float, side: int, background: UInt8[Tensor, "h w"] | None = None
) -> UInt8[Tensor, "*b h w"]:
    """Draw discs of whole pixels: the centre is truncated to a pixel corner, nothing is anti-aliased.

    Like pymunk's debug drawing, each disc carries its radius line, which adds one pixel to the right of the disc: 25
    pixels for radius 3. Frames are looked up in a table of every whole-pixel centre, so drawing is a memory copy.

    Args:
        centres: (x, y) of each of the k discs of a frame, in pixels.
        radius: Radius in pixels; rounded.
        side: Height and width of the frames in pixels.
        background: Drawn underneath; black if absent.
    """
    r = max(round(radius), 1)
    # Beyond this range nothing of the disc is in the frame.
    corners = centres.to(torch.int64).clamp(-r - 1, side + r)
    shape = centres.shape[:-2]
    corners = corners.reshape(-1, *corners.shape[-2:])
    positions = side + 2 * r + 2
    if positions**2 * side**2 <= _LARGEST_TABLE:
        table = _table(r, side, centres.device)
        if background is not None:
            table = torch.maximum(table, background.flatten())
        wide = table.view(torch.int64) if side * side % 8 == 0 else table  # copies eight pixels at a time
        index = (corners[..., 1] + r + 1) * positions + corners[..., 0] + r + 1
        frames = wide.index_select(0, index[:, 0]).view(torch.uint8)
        for k in range(1, index.shape[1]):
            torch.maximum(frames, wide.index_select(0, index[:, k]).view(torch.uint8), out=frames)
        return frames.reshape(*shape, side, side)
    inside = _covers(corners[:, 0], r, side)
    for k in range(1, corners.shape[1]):
        inside |= _covers(corners[:, k], r, side)
    frames = inside.to(torch.uint8).mul_(255).reshape(*shape, side, side)
    return frames if background is None else torch.maximum(frames, background)


def hard_walls(corners: Sequence[tuple[float, float]], side: int, device: torch.device) -> UInt8[Tensor, "h w"]:
    """Draw the closed polygon through ``corners`` (x, y in pixels, truncated) by Bresenham's line."""
    frame = torch.zeros(side, side, dtype=torch.uint8)
    for (x, y), (to_x, to_y) in zip(corners, [*corners[1:], corners[0]], strict=True):
        for column, row in _line(int(x), int(y), int(to_x), int(to_y)):
            if 0 <= column < side and 0 <= row < side:
                frame[row, column] = 255
    return frame.to(device)


def hard_bars(
    low: Int[Tensor, "*b k 2"], high: Int[Tensor, "*b k 2"], side: int, background: UInt8[Tensor, "h w"] | None = None
) -> UInt8[Tensor, "*b h w"]:
    """Fill k upright rectangles of whole pixels per frame, from corner ``low`` to corner ``high``, both included."""
    pixel = torch.arange(side, device=low.device)
    within = (pixel >= low[..., None]) & (pixel <= high[..., None])  # *b k 2 side
    inside = within[..., 0, 1, :, None] & within[..., 0, 0, None, :]
    for k in range(1, low.shape[-2]):
        inside |= within[..., k, 1, :, None] & within[..., k, 0, None, :]
    frames = inside.to(torch.uint8).mul_(255)
    return frames if background is None else torch.maximum(frames, background)


@functools.lru_cache(maxsize=4)
def _table(radius: int, side: int, device: torch.device) -> UInt8[Tensor, "n hw"]:
    corner = torch.arange(-radius - 1, side + radius + 1, device=device)
    y, x = torch.meshgrid(corner, corner, indexing="ij")
    inside = _covers(torch.stack([x, y], -1).flatten(0, 1), radius, side)
    return inside.to(torch.uint8).mul_(255).flatten(1)


def _covers(corners: Int[Tensor, "n 2"], radius: int, side: int) -> Bool[Tensor, "n h w"]:
    half = torch.tensor([0, *disc_rows(radius), 0], device=corners.device)
    right = half.clone()
    right[radius + 1] = radius + 1  # the radius line, in the first row below the corner
    pixel = torch.arange(side, device=corners.device)
    offset = pixel - corners[..., None]  # n 2 side
    row = (offset[:, 1] + radius + 1).clamp(0, 2 * radius + 1)
    return (offset[:, 0, None] >= -half[row][..., None]) & (offset[:, 0, None] < right[row][..., None])


def _line(x: int, y: int, to_x: int, to_y: int) -> list[tuple[int, int]]:
    dx, dy = abs(to_x - x), -abs(to_y - y)
    step_x, step_y = (1 if x < to_x else -1), (1 if y < to_y else -1)
    error = dx + dy
    pixels = [(x, y)]
    while (x, y) != (to_x, to_y):
        twice = 2 * error
        if twice >= dy:
            error += dy
            x += step_x
        if twice <= dx:
            error += dx
            y += step_y
        pixels.append((x, y))
    return pixels

"""Soft coloured discs on a grey ground, as the Hamiltonian suite draws particles (Botev, Jaegle et al. 2021).

On the unit square, with pixel (row i, column j) at (j, i) / (side - 1), disc k with middle u_k and radius r_k covers

    m_k(x) = 1 / (1 + exp(80 (|x - u_k| - r_k)))

of a pixel at x. The first disc lies on top: the frame is sum_k c_k m_k rgb_k + c_K ground with c_0 = 1 and
c_{k+1} = c_k (1 - m_k), times 255, truncated. Everything is float64, so that the bytes are those of the suite; only the
pixels near a disc are computed, because elsewhere the ground's bytes cannot change.
"""

import functools
import math
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

GROUND = (0.321, 0.349, 0.368)
"""Red, green and blue of the ground, in [0, 1]."""
SHARPNESS = 80.0
"""Inverse of the width of the soft rim, in sides of the frame."""
THRESHOLD = 114
"""A binary frame is white where its byte is larger: 0.45 of 255, as the published binary sets have it."""

_VISIBLE = {"grey": 3e-5, "binary": 0.13}
"""What all discs together must cover of a pixel to change a byte of it: the ground's green is 88.995."""
_PIXELS_AT_ONCE = 2**16  # whose arrays stay in the cache


def hues(count: int) -> Float[Tensor, "m 3"]:
    """Return ``count`` colours of full saturation, evenly spaced in hue from red on."""
    sector = torch.arange(count, dtype=torch.float64) / count * 6
    down, fallen = 1 - sector % 1, torch.zeros(count, dtype=torch.float64)
    up, full = 1 - down, torch.ones(count, dtype=torch.float64)
    wheel = ((full, up, fallen), (down, full, fallen), (fallen, full, up))
    wheel += ((fallen, down, full), (up, fallen, full), (full, fallen, down))
    table = torch.stack([torch.stack(colour, -1) for colour in wheel])
    return table[sector.long(), torch.arange(count)]


def soft_discs(
    centres: Float[Tensor, "b t k 2"],
    radii: Float[Tensor, "b k"],
    colours: Int[Tensor, "b k"],
    side: int,
    *,
    num_colors: int = 1,
    channels: Literal[1, 3] = 3,
    frames: Literal["grey", "binary"] = "grey",
    upside_down: bool = False,
) -> UInt8[Tensor, "b t c h w"]:
    """Draw k soft discs per frame.

    Args:
        centres: Middles (x, y) on the unit square, y pointing up.
        radii: Radii in sides of the unit square.
        colours: Which of the ``num_colors`` hues each disc has.
        side: Height and width of the frames in pixels, at least 2.
        num_colors: Number of hues.
        channels: 3 for red, green and blue. 1 for what is in front of the ground, whatever its colour: grey frames show
            how much of the ground 1 - c_K the discs hide, binary frames the largest of the three binary channels.
        frames: ``grey`` for the soft frame, ``binary`` for 255 where it exceeds 0.45 in a channel and 0 elsewhere.
        upside_down: Row 0 has the lowest y, as in the suite; else the largest.
    """
    b, t, discs = centres.shape[:3]
    pixels = side - 1
    reach = float(radii.max() if b else 0.0) + math.log(discs / _VISIBLE[frames]) / SHARPNESS
    window = min(math.ceil(2 * reach * pixels) + 1, side)
    if channels == 1 and frames == "grey":  # white on black
        shades, ground = torch.full((*colours.shape, 1), 255.0, dtype=torch.float64, device=centres.device), [0.0]
    else:
        shown = 1 if frames == "binary" and num_colors == 1 else 3  # red alone leaves the other binary channels dark
        shades = 255 * hues(num_colors).to(centres.device)[colours][..., :shown]
        ground = [255 * value for value in GROUND[:shown]]
    empty = [int(value) for value in ground] if frames == "grey" else [0] * channels
    empty = torch.tensor(empty, dtype=torch.uint8, device=centres.device)[None, :, None, None]
    out = empty.expand(b * t, -1, side, side).contiguous()
    chunk = max(1, _PIXELS_AT_ONCE // window**2)
    middles, sequence = centres.flatten(0, 1), torch.arange(b * t, device=centres.device) // max(t, 1)
    offset = torch.arange(window, device=centres.device)
    for start in range(0, b * t, chunk):
        here = slice(start, start + chunk)
        middle, mine = middles[here], sequence[here]
        radius, shade = radii[mine], shades[mine]
        canvas = out[here].flatten(2)
        for k in range(discs):
            # A window that reaches over the edge is moved inside; it still holds every pixel the disc can reach.
            corner = (middle[:, k] * pixels).round().clamp(-side, 2 * side).long() - window // 2
            corner = corner.clamp(0, side - window)
            column, row = corner[:, :1] + offset, corner[:, 1:] + offset
            values = _composite(middle, radius, shade, ground, column.double() / pixels, row.double() / pixels)
            line = row if upside_down else side - 1 - row
            index = (line[:, :, None] * side + column[:, None, :]).flatten(1)
            if frames == "binary":
                white = [value >= THRESHOLD + 1 for value in values]
                white = white if channels == 3 else [functools.reduce(torch.logical_or, white)]
                values = [value.to(torch.uint8).mul_(255) for value in white]
            for c, value in enumerate(values):
                canvas[:, c].scatter_(1, index, value.to(torch.uint8).flatten(1))
    return out.unflatten(0, (b, t))


def _composite(
    middle: Float[Tensor, "n k 2"],
    radius: Float[Tensor, "n k"],
    shade: Float[Tensor, "n k c"],
    ground: list[float],
    x: Float[Tensor, "n w"],
    y: Float[Tensor, "n w"],
) -> list[Float[Tensor, "n w w"]]:
    """Return the channels at the pixels (x, y), of discs of these shades on the ground."""
    clear, channels = torch.ones((), dtype=middle.dtype, device=middle.device), []
    for k in range(middle.shape[1]):
        dx, dy = (middle[:, k, :1] - x).square(), (middle[:, k, 1:] - y).square()
        distance = _root(dx[:, None, :] + dy[:, :, None])
        mask = distance.neg_().add_(radius[:, k, None, None]).mul_(SHARPNESS).sigmoid_()
        weight = clear * mask if k else mask
        parts = [weight * shade[:, k, c, None, None] for c in range(len(ground))]
        channels = [value.add_(part) for value, part in zip(channels, parts, strict=True)] if k else parts
        clear = clear * (1 - mask) if k else 1 - mask
    return [value.add_(clear * level) for value, level in zip(channels, ground, strict=True)]


def _root(x: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """Take the square root in place; on the CPU by NumPy, which is twice as fast in float64."""
    if x.device.type != "cpu":
        return x.sqrt_()
    np.sqrt(x.numpy(), out=x.numpy())
    return x

"""Digits drawn with a pen: strokes through a few points, bent, slanted and thickened at random; no data set is needed."""

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

SIDE = 28
"""Height and width of a glyph in pixels; the digit fills about 20 of them, as in MNIST."""

Stroke = tuple[bool, tuple[tuple[float, float], ...]]
"""Whether the pen goes smoothly through the points, and the points (x, y), y down, in [-1, 1]."""

_CIRCLE = tuple((0.62 * math.sin(a * math.pi / 6), -0.95 * math.cos(a * math.pi / 6)) for a in range(13))
_BELLY = ((-0.45, -0.12), (-0.05, -0.32), (0.4, -0.12), (0.54, 0.35), (0.3, 0.82), (-0.15, 0.95), (-0.58, 0.72))
_LOOP = ((0.46, -0.5), (0.15, -0.93), (-0.35, -0.82), (-0.5, -0.42), (-0.2, -0.08), (0.25, -0.2), (0.46, -0.55))

STYLES: tuple[tuple[int, tuple[Stroke, ...]], ...] = (
    (0, ((True, _CIRCLE),)),
    (1, ((False, ((0.05, -0.95), (-0.05, 0.95))),)),
    (1, ((False, ((-0.32, -0.55), (0.08, -0.95), (0.08, 0.95))),)),
    (
        2,
        (
            (True, ((-0.52, -0.52), (-0.28, -0.88), (0.2, -0.92), (0.5, -0.55), (0.3, 0.0), (-0.2, 0.5), (-0.6, 0.9))),
            (False, ((-0.6, 0.9), (0.62, 0.86))),
        ),
    ),
    (
        2,
        (
            (True, ((-0.5, -0.62), (-0.1, -0.93), (0.38, -0.75), (0.4, -0.3), (0.05, 0.3), (-0.4, 0.85))),
            (True, ((-0.4, 0.85), (-0.62, 0.62), (-0.35, 0.5), (0.05, 0.75), (0.6, 0.88))),
        ),
    ),
    (
        3,
        (
            (True, ((-0.5, -0.72), (-0.1, -0.95), (0.4, -0.75), (0.35, -0.32), (-0.12, -0.06))),
            (True, ((-0.12, -0.06), (0.4, 0.1), (0.54, 0.48), (0.22, 0.9), (-0.25, 0.93), (-0.58, 0.7))),
        ),
    ),
    (4, ((False, ((0.28, -0.95), (-0.6, 0.28), (0.62, 0.28))), (False, ((0.28, -0.95), (0.28, 0.95))))),
    (4, ((False, ((-0.38, -0.9), (-0.5, 0.08), (0.56, 0.08))), (False, ((0.4, -0.75), (0.28, 0.95))))),
    (5, ((False, ((0.52, -0.92), (-0.36, -0.9), (-0.45, -0.12))), (True, _BELLY))),
    (
        6,
        (
            (
                True,
                (
                    (0.3, -0.95),
                    (-0.2, -0.5),
                    (-0.5, 0.15),
                    (-0.4, 0.75),
                    (0.05, 0.95),
                    (0.48, 0.65),
                    (0.38, 0.15),
                    (-0.05, 0.02),
                    (-0.45, 0.4),
                ),
            ),
        ),
    ),
    (7, ((False, ((-0.55, -0.86), (0.55, -0.9), (-0.12, 0.95))),)),
    (7, ((False, ((-0.55, -0.86), (0.55, -0.9), (-0.12, 0.95))), (False, ((-0.18, 0.02), (0.48, 0.0))))),
    (
        8,
        (
            (
                True,
                (
                    (0.0, -0.05),
                    (-0.42, -0.4),
                    (-0.3, -0.82),
                    (0.08, -0.95),
                    (0.42, -0.65),
                    (0.22, -0.22),
                    (-0.22, 0.1),
                    (-0.5, 0.5),
                    (-0.2, 0.93),
                    (0.28, 0.9),
                    (0.5, 0.5),
                    (0.25, 0.12),
                    (0.0, -0.05),
                ),
            ),
        ),
    ),
    (9, ((True, _LOOP), (True, ((0.46, -0.55), (0.44, 0.1), (0.26, 0.95))))),
    (9, ((True, _LOOP), (True, ((0.46, -0.55), (0.48, 0.2), (0.3, 0.78), (-0.15, 0.94), (-0.42, 0.7))))),
)
"""Ways to write each digit."""

_SEGMENTS = 48
_SAMPLES = 4  # straight pieces between two points of a smooth stroke


def stroke_digits(count: int, seed: int) -> tuple[UInt8[Tensor, "m s s"], UInt8[Tensor, " m"]]:
    """Return ``count`` digits of ``SIDE`` x ``SIDE`` px, white on black, and which they are: 0, 1, ..., 9, 0, 1, ...

    Each is one of its digit's ways of writing, warped by x -> A x + q(x): A turns by N(0, (7 deg)^2), slants by
    N(.12, .15^2), narrows by U(.75, 1.1) and flattens by U(.85, 1); q is quadratic with coefficients N(0, .06^2). The pen is
    a disc of radius U(1, 1.9) px whose rim falls off over 1.6 px.
    """
    generator = torch.Generator().manual_seed(seed)
    styles, segments = _outlines()
    labels = torch.arange(count) % 10
    ways = torch.stack([(styles == digit).float() for digit in range(10)])
    chosen = torch.multinomial(ways, max(count, 1), replacement=True, generator=generator)[labels, torch.arange(count)]
    turn, slant = torch.randn(2, count, generator=generator).unbind(0)
    turn, slant = math.radians(7) * turn, 0.12 + 0.15 * slant
    narrow, flat, radius = torch.rand(3, count, generator=generator).unbind(0)
    narrow, flat, radius = 0.75 + 0.35 * narrow, 0.85 + 0.15 * flat, 1 + 0.9 * radius
    bend = 0.06 * torch.randn(count, 3, 2, generator=generator)
    matrix = torch.stack(
        [
            torch.stack([narrow * turn.cos(), -flat * (turn.sin() + slant)], -1),
            torch.stack([narrow * turn.sin(), flat * turn.cos()], -1),
        ],
        -2,
    )
    return _drawn(_warped(segments[chosen], matrix, bend), radius), labels.to(torch.uint8)


def _warped(
    segments: Float[Tensor, "m g 2 2"], matrix: Float[Tensor, "m 2 2"], bend: Float[Tensor, "m 3 2"]
) -> Float[Tensor, "m g 2 2"]:
    x, y = segments.unbind(-1)
    quadratic = torch.stack([x * x, x * y, y * y], -1)
    return torch.einsum("mgei,mji->mgej", segments, matrix) + torch.einsum("mgeq,mqj->mgej", quadratic, bend)


def _drawn(segments: Float[Tensor, "m g 2 2"], radius: Float[Tensor, " m"]) -> UInt8[Tensor, "m s s"]:
    """Draw points within ``radius`` px of a segment; the digit is shifted so that its box is in the middle."""
    points = segments.flatten(1, 2)
    middle = (points.amax(1) + points.amin(1)) / 2
    ends = (segments - middle[:, None, None]) * (10 - radius)[:, None, None, None]
    start, along = ends[:, :, 0], ends[:, :, 1] - ends[:, :, 0]
    unit = along / along.square().sum(-1, keepdim=True).clamp(min=1e-9)
    square = np.full((len(segments), SIDE, SIDE), np.inf, np.float32)
    _compiled()(start.numpy(), along.numpy(), unit.numpy(), np.float32(SIDE / 2 - 0.5), square)
    ink = 0.5 + (radius[:, None, None] - torch.from_numpy(square).sqrt()) / 1.6
    return (ink.clamp(0, 1) * 255).round().to(torch.uint8)


@functools.cache
def _compiled() -> Callable[..., Any]:
    import numba  # half a second that only those pay who draw digits

    return numba.njit(nogil=True, cache=True)(inspect.unwrap(_nearest))  # a type checker may have wrapped it


def _nearest(start, along, unit, half, square):
    """Write the squared distance of each pixel to the nearest segment."""
    zero, one = np.float32(0), np.float32(1)
    for m in range(square.shape[0]):
        for g in range(start.shape[1]):
            sx, sy = start[m, g]
            ax, ay = along[m, g]
            ux, uy = unit[m, g]
            for i in range(square.shape[1]):
                y = np.float32(i) - half - sy
                row = square[m, i]
                for j in range(row.shape[0]):
                    x = np.float32(j) - half - sx
                    share = min(max(x * ux + y * uy, zero), one)
                    dx, dy = x - share * ax, y - share * ay
                    row[j] = min(row[j], dx * dx + dy * dy)


@functools.cache
def _outlines() -> tuple[Int[Tensor, " k"], Float[Tensor, "k g 2 2"]]:
    """Return the digit of each way of writing, and its straight pieces, as many for all."""
    segments = []
    for _, strokes in STYLES:
        pieces = [piece for smooth, points in strokes for piece in _pieces(torch.tensor(points), smooth)]
        segments.append(torch.stack(pieces + [pieces[-1]] * (_SEGMENTS - len(pieces))))
    return torch.tensor([digit for digit, _ in STYLES]), torch.stack(segments)


def _pieces(points: Float[Tensor, "p 2"], smooth: bool) -> list[Float[Tensor, "2 2"]]:
    """Cut a stroke into straight pieces; a smooth one is a Catmull-Rom spline, closed where its ends meet."""
    if smooth:
        closed = torch.equal(points[0], points[-1])
        before = points[-2:-1] if closed else 2 * points[:1] - points[1:2]
        after = points[1:2] if closed else 2 * points[-1:] - points[-2:-1]
        a, b, c, d = torch.cat([before, points, after]).unfold(0, 4, 1).permute(2, 0, 1)[:, :, None]
        u = (torch.arange(_SAMPLES) / _SAMPLES)[:, None]
        curve = b + u / 2 * (c - a + u * (2 * a - 5 * b + 4 * c - d + u * (3 * (b - c) + d - a)))
        points = torch.cat([curve.flatten(0, 1), points[-1:]])
    return list(torch.stack([points[:-1], points[1:]], 1))

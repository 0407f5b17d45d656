"""Curves of sequences that are measured rather than seen: one row a sequence, one column a field, as a PNG."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from PIL import Image, ImageDraw, ImageFont

from dynarium.errors import UserError
from dynarium.reporting.pictures import save
from dynarium.reporting.scales import Axis, even_ticks, tick_labels

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
INK = ("#0b62b0", "#c2500a", "#08795a", "#9b3a83", "#806200", "#5f6b76", "#2b8fb5", "#b0335a")
"""Colours of the lines, those of the report's charts; further lines begin anew."""
SHADES = ("#ffffff", "#e9eef2", "#f6ead9", "#e3f1e8", "#f3e5f0", "#f4f0dc")
"""Backgrounds of the regimes of a switching system."""
WIDTH, HEIGHT, LEFT, TOP, GAP, BOTTOM = 420, 130, 60, 34, 12, 40
SHARP = 2
"""Pixels drawn for each pixel shown, along each axis: smooth lines."""


def curve_sheet(
    fields: Mapping[str, Float[np.ndarray, "b t _"]],
    path: Path,
    *,
    dt: float | int = 1.0,
    labels: Sequence[str] = (),
    names: Mapping[str, Sequence[str]] | None = None,
    mode: Int[np.ndarray, "b t"] | None = None,
    rows: int = 16,
) -> Path:
    """Write a PNG with one row for each sequence and one column for each field, every dimension a line over time.

    Args:
        fields: Values of each field; the rows of a column share its scale.
        path: Where to write.
        dt: Time between two steps.
        labels: Words at the left of the rows.
        names: Names of the dimensions of each field, for the legend; default their numbers.
        mode: Regime at each step, shown by the background.
        rows: Sequences at most; further ones are left out.

    Raises:
        UserError: There is nothing to draw.
    """
    fields = {name: values[:rows] for name, values in fields.items() if values.size}
    if not fields:
        raise UserError("curves: expected at least one field with values")
    b, t = next(iter(fields.values())).shape[:2]
    font = ImageFont.load_default(size=13 * SHARP)
    margin = max((font.getlength(label) / SHARP for label in labels), default=0) + 16
    size = margin + len(fields) * (LEFT + WIDTH + GAP), TOP + b * (HEIGHT + GAP) + BOTTOM
    image = Image.new("RGB", (math.ceil(size[0]) * SHARP, math.ceil(size[1]) * SHARP), "white")
    draw = ImageDraw.Draw(image)
    for i, label in enumerate(labels[:b]):
        middle = TOP + i * (HEIGHT + GAP) + HEIGHT / 2
        draw.text(((margin - 8) * SHARP, middle * SHARP), label, fill="black", font=font, anchor="rm")
    for column, (name, values) in enumerate(fields.items()):
        left = margin + column * (LEFT + WIDTH + GAP) + LEFT
        entries = (names or {}).get(name) or [str(k) for k in range(values.shape[2])]
        _legend(draw, font, left, [f"{name}:", *entries])
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
        pad = 0.06 * (high - low) or 1.0
        for i in range(b):
            top = TOP + i * (HEIGHT + GAP)
            x = Axis(0.0, max(t - 1, 1) * dt, left * SHARP, (left + WIDTH) * SHARP)
            y = Axis(low - pad, high + pad, (top + HEIGHT) * SHARP, top * SHARP)
            _panel(draw, font, x, y, values[i], dt, None if mode is None else mode[i], times=i == b - 1)
    save(path, lambda file: image.reduce(SHARP).save(file, "PNG", optimize=True))
    return path


def _legend(draw: ImageDraw.ImageDraw, font: Font, left: float, words: Sequence[str]) -> None:
    """Write the names of the lines in their colours, as many as fit."""
    at, end = left * SHARP, (left + WIDTH) * SHARP
    for k, word in enumerate(words):
        width = font.getlength(word + "  ")
        if at + width > end:
            draw.text((at, 8 * SHARP), "...", fill="black", font=font)
            break
        draw.text((at, 8 * SHARP), word, fill=INK[(k - 1) % len(INK)] if k else "black", font=font)
        at += width


def _panel(
    draw: ImageDraw.ImageDraw,
    font: Font,
    x: Axis,
    y: Axis,
    values: Float[np.ndarray, "t _"],
    dt: float | int,
    mode: Int[np.ndarray, " t"] | None,
    *,
    times: bool,
) -> None:
    """Draw the lines of one sequence over its regimes, with ticks at the left and, in the last row, below."""
    if mode is not None:
        for step, regime in enumerate(mode.tolist()):
            ends = [x(min(max((step + shift) * dt, x.low), x.high)) for shift in (-0.5, 0.5)]
            draw.rectangle((ends[0], y.end, ends[1], y.start), fill=SHADES[regime % len(SHADES)])
    for tick, label in _ticks(y.low, y.high, 3):
        draw.line((x.start, y(tick), x.end, y(tick)), fill="#d8dde1", width=SHARP)
        draw.text((x.start - 6 * SHARP, y(tick)), label, fill="black", font=font, anchor="rm")
    draw.rectangle((x.start, y.end, x.end, y.start), outline="#767676", width=SHARP)
    for k, line in enumerate(values.T):
        points = [(x(step * dt), y(float(value))) for step, value in enumerate(line) if math.isfinite(value)]
        colour = INK[k % len(INK)]
        draw.line(points, fill=colour, width=2 * SHARP, joint="curve")
    if times:
        for tick, label in _ticks(x.low, x.high, 5):
            draw.text((x(tick), y.start + 6 * SHARP), label, fill="black", font=font, anchor="ma")
        draw.text((x.end, y.start + 22 * SHARP), "time", fill="black", font=font, anchor="ra")


def _ticks(low: float, high: float, count: int) -> list[tuple[float, str]]:
    """Return round numbers and their labels; Pillow's own font has a hyphen, but no minus."""
    ticks = next((found for n in (count, count + 2) if len(found := even_ticks(low, high, n)) > 1), [low, high])
    return [(tick, label.replace("\N{MINUS SIGN}", "-")) for tick, label in zip(ticks, tick_labels(ticks), strict=True)]

"""Contact sheets and animations of frames: PNG and GIF, enlarged without smoothing, so that a pixel stays a pixel."""

import math
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from dynarium.errors import UserError

SEPARATOR = (118, 118, 118)
"""Mid grey between the frames: visible beside black and beside white."""

Array = Any
"""A NumPy array, or whatever ``numpy.asarray`` takes."""


def to_bytes(video: Array, sequences: int | None = None) -> UInt8[np.ndarray, "b t h w 3"]:
    """Turn frames [b, t, c, h, w] (``uint8`` or floating point in [0, 1], one to four channels) into RGB bytes.

    Two channels, a thing and its surroundings, become red and cyan. Of four, the first three are red, green and blue; the
    fourth, a depth, say, is not shown.

    Args:
        video: The frames.
        sequences: Turn so many sequences at most.

    Raises:
        UserError: Another number of dimensions or channels.
    """
    video = np.asarray(video)
    video = video[:sequences] if video.ndim else video
    if video.ndim != 5 or video.shape[2] > 4 or 0 in video.shape:
        raise UserError(f"video: expected [b, t, c, h, w] with c 1 to 4 and nothing empty, got shape {video.shape}")
    if video.dtype != np.uint8:
        finite = np.nan_to_num(video.astype(np.float64), nan=0.0, posinf=1.0, neginf=0.0)
        video = (finite.clip(0, 1) * 255 + 0.5).astype(np.uint8)
    video = video[:, :, [0, 1, 1]] if video.shape[2] == 2 else video[:, :, :3]
    pixels = np.moveaxis(video, 2, -1)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:-1], 3)))


def contact_sheet(
    video: Array,
    path: Path,
    *,
    labels: Sequence[str] = (),
    rows: int = 16,
    columns: int = 40,
    size: int = 64,
) -> Path:
    """Write a PNG with one row for each sequence and one column for each step.

    Args:
        video: Frames [b, t, c, h, w], ``uint8`` or floating point in [0, 1].
        path: Where to write.
        labels: Words at the left of the rows.
        rows: Sequences at most; further ones are left out.
        columns: Frames at most; a longer sequence is thinned evenly.
        size: Least width of a frame in pixels; small frames are enlarged by a whole factor.

    Raises:
        UserError: ``video`` has another shape.
    """
    path = Path(path)
    pixels = to_bytes(video, rows)
    if pixels.shape[1] > columns:
        pixels = pixels[:, np.linspace(0, pixels.shape[1] - 1, columns).round().astype(int)]
    factor = max(1, math.ceil(size / max(pixels.shape[2:4])))
    save(path, lambda file: _sheet(_enlarge(pixels, factor), labels).save(file, "PNG", optimize=True))
    return path


def animation(
    video: Array, path: Path, *, fps: float | int = 10, sequences: int = 16, size: int = 96, heads: Sequence[str] = ()
) -> Path:
    """Write a GIF that loops, several sequences side by side in a grid.

    Args:
        video: Frames [b, t, c, h, w], ``uint8`` or floating point in [0, 1].
        path: Where to write.
        fps: Frames per second, at most 50 (what browsers play).
        sequences: Sequences at most; further ones are left out.
        size: Least width of a frame in pixels; small frames are enlarged by a whole factor.
        heads: Words above the columns, one for each; default: none, and about as many columns as rows.

    Raises:
        UserError: ``video`` has another shape, or ``fps`` is not positive.
    """
    path = Path(path)
    data = gif_bytes(video, fps=fps, size=size, sequences=sequences, heads=heads)
    save(path, lambda file: file.write(data))
    return path


def framed(
    films: UInt8[np.ndarray, "b t h w 3"], colours: UInt8[np.ndarray, "b t 3"], border: int = 2
) -> UInt8[np.ndarray, "b t H W 3"]:
    """Put a border of its colour around every frame, so many pixels wide."""
    b, t, h, w, _ = films.shape
    canvas = np.empty((b, t, h + 2 * border, w + 2 * border, 3), dtype=np.uint8)
    canvas[:] = colours[:, :, None, None]
    canvas[:, :, border : border + h, border : border + w] = films
    return canvas


def gif_bytes(
    video: Array,
    *,
    fps: float | int = 10,
    size: int = 96,
    sequences: int = 16,
    columns: int | None = None,
    heads: Sequence[str] = (),
) -> bytes:
    """Return the bytes of a looping GIF of the sequences in a grid of ``columns`` (default: about square).

    ``heads`` are words above the columns, one for each.
    """
    if not fps > 0:
        raise UserError(f"fps: expected a positive number, got {fps}")
    pixels = to_bytes(video, sequences)
    factor = max(1, math.ceil(size / max(pixels.shape[2:4])))
    pixels = _enlarge(pixels, factor)
    columns = columns or len(heads) or math.ceil(math.sqrt(len(pixels)))
    frames = [_headed(_grid(pixels[:, t], columns), heads) for t in range(pixels.shape[1])]
    grey = all((f[..., 0] == f[..., 1]).all() and (f[..., 0] == f[..., 2]).all() for f in frames)
    images = [Image.fromarray(f[..., 0]) if grey else Image.fromarray(f).quantize(256) for f in frames]
    duration = max(20, round(1000 / fps / 10) * 10)  # GIF counts in hundredths of a second
    # Pillow merges equal frames in a row into one of a longer duration: right for the eye, and smaller.
    buffer = BytesIO()
    images[0].save(buffer, "GIF", save_all=True, append_images=images[1:], duration=duration, loop=0, optimize=False)
    return buffer.getvalue()


def _enlarge(pixels: UInt8[np.ndarray, "b t h w 3"], factor: int) -> UInt8[np.ndarray, "b t H W 3"]:
    return pixels.repeat(factor, axis=2).repeat(factor, axis=3)


def _grid(frames: UInt8[np.ndarray, "b h w 3"], columns: int, gap: int = 2) -> UInt8[np.ndarray, "H W 3"]:
    count, height, width, _ = frames.shape
    lines = math.ceil(count / columns)
    canvas = np.empty((lines * (height + gap) + gap, columns * (width + gap) + gap, 3), dtype=np.uint8)
    canvas[:] = SEPARATOR
    for i, frame in enumerate(frames):
        top, left = (i // columns) * (height + gap) + gap, (i % columns) * (width + gap) + gap
        canvas[top : top + height, left : left + width] = frame
    return canvas


def _headed(grid: UInt8[np.ndarray, "H W 3"], heads: Sequence[str]) -> UInt8[np.ndarray, "_ W 3"]:
    """Write words above the columns of a grid."""
    if not heads:
        return grid
    image = Image.new("RGB", (grid.shape[1], grid.shape[0] + 20), "white")
    image.paste(Image.fromarray(grid), (0, 20))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=14)
    for i, head in enumerate(heads):
        draw.text(((i + 0.5) * grid.shape[1] / len(heads), 10), head, fill="black", font=font, anchor="mm")
    return np.asarray(image)


def _sheet(pixels: UInt8[np.ndarray, "b t h w 3"], labels: Sequence[str]) -> Image.Image:
    count, steps = pixels.shape[:2]
    grid = _grid(pixels.reshape(count * steps, *pixels.shape[2:]), columns=steps)
    if not labels:
        return Image.fromarray(grid)
    font = ImageFont.load_default(size=14)
    margin = math.ceil(max(font.getlength(label) for label in labels)) + 16
    image = Image.new("RGB", (grid.shape[1] + margin, grid.shape[0]), "white")
    image.paste(Image.fromarray(grid), (margin, 0))
    draw = ImageDraw.Draw(image)
    for i, label in enumerate(labels[:count]):
        draw.text((margin - 8, (i + 0.5) * grid.shape[0] / count), label, fill="black", font=font, anchor="rm")
    return image


def save(path: Path, write: Any) -> None:
    """Write beside and rename: a picture is there whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".partial")
    try:
        with temporary.open("wb") as file:
            write(file)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)

"""Film strips and animations for the page: rows of frames with words beside them, missing frames marked."""

from collections.abc import Mapping
from io import BytesIO

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from dynarium.errors import UserError
from dynarium.reporting.html import Html, data_uri, join, tag
from dynarium.reporting.pictures import framed, to_bytes

LABELS = {
    "observed": "observed",
    "filter": "filtered",
    "smooth": "smoothed",
    "reconstruction": "reconstructed",
    "generate": "generated",
    "mean": "forecast",
    "best": "best sample",
    "worst": "worst sample",
}
"""What a film strip of this name shows, where the name alone does not say it."""

ORDER = (
    "truth",
    "observed",
    "filter",
    "smooth",
    "reconstruction",
    "posterior",
    "generated",
    "generate",
    "deterministic",
)
ORDER += ("mean", "best", "worst")
CELL, GAP = 41, 6
UNMARKED = frozenset({"truth", "observed", "reconstruction", "generated", "generate"})
"""Films that do not depend on which frames were observed."""

MOST_FRAMES = 40
MARK = (217, 119, 6)
"""Amber, for frames that were not observed; seen on black and on white."""
PLAIN = (90, 90, 90)
"""Grey, for frames that were."""


def ordered(videos: Mapping[str, np.ndarray]) -> dict[str, UInt8[np.ndarray, "b t h w 3"]]:
    """Return the films as RGB bytes, truth first; those of another shape than the first cannot be aligned and go.

    Of four channels the fourth is not shown.
    """
    rank = {name: i for i, name in enumerate(ORDER)}
    films = {}
    for name in sorted(videos, key=lambda n: rank.get(n, len(ORDER))):
        try:
            films[name] = to_bytes(videos[name])
        except UserError:
            continue
    if not films:
        return {}
    shape = next(iter(films.values())).shape
    return {name: film for name, film in films.items() if film.shape == shape}


def strip(
    films: Mapping[str, UInt8[np.ndarray, "b t h w 3"]],
    sequence: int,
    observed: Bool[np.ndarray, " t"] | None,
    hidden: str,
) -> Html:
    """Draw the films of one sequence under each other, time to the right.

    Args:
        films: Films by name, from ``ordered``.
        sequence: Which sequence to show.
        observed: True where the model saw the frame; ``None``: nothing is marked.
        hidden: The word for a frame that it did not see: ``missing`` or ``predicted``.
    """
    steps = next(iter(films.values())).shape[1]
    shown = np.unique(np.linspace(0, steps - 1, min(steps, MOST_FRAMES)).round().astype(int))
    pitch = CELL + GAP
    width, height, top = len(shown) * pitch, len(films) * pitch, 18
    pieces: list[str] = []
    every = 1 if len(shown) <= 24 else 2
    for i, t in enumerate(shown):
        if i % every == 0:
            pieces.append(tag("text", str(t), x=i * pitch + CELL / 2, y=12, text_anchor="middle"))
    for r, (name, film) in enumerate(films.items()):
        for i, t in enumerate(shown):
            x, y = i * pitch, top + r * pitch
            unseen = observed is not None and not observed[t]
            if name == "observed" and unseen:
                pieces.append(_missing(x, y))
                continue
            href = data_uri(_png(film[sequence, t]), "image/png")
            pieces.append(tag("image", href=href, x=x, y=y, width=CELL, height=CELL, class_="pixels"))
            if unseen and name != "truth" and (name not in UNMARKED or hidden == "predicted"):
                pieces.append(tag("rect", x=x, y=y + CELL + 1, width=CELL, height=3, class_="unseen"))
    labels = [tag("div", LABELS.get(name, name), class_="strip-label") for name in films]
    alt = f"Film strip of sequence {sequence + 1}: {', '.join(LABELS.get(n, n) for n in films)}; {steps} steps"
    if observed is not None:
        alt += f", {int((~observed).sum())} {hidden}"
    frame = f"0 0 {width} {height + top}"
    drawing = tag("svg", *pieces, viewBox=frame, width=width, height=height + top, role="img", aria_label=alt)
    return tag(
        "div",
        tag("div", tag("div", class_="strip-head"), *labels, class_="strip-labels"),
        drawing,
        class_="strip",
        tabindex=0,
    )


def animated(
    films: Mapping[str, UInt8[np.ndarray, "b t h w 3"]],
    observed: Bool[np.ndarray, "b t"] | None,
    hidden: str,
    fps: float | int = 8,
    size: int = 84,
    colours: tuple[tuple[int, int, int], tuple[int, int, int]] = (PLAIN, MARK),
) -> Html:
    """Make one looping picture of all films: a row for each film, a column for each sequence, all in step.

    Frames have borders of two ``colours``: those that the model had to infer the second; those that were not ``observed`` are
    hatched.

    Readers who ask their system for less motion see the last frame instead. A sequence is ``size`` wide on the page.
    """
    first = next(iter(films.values()))
    count, steps, height, width, _ = first.shape
    count = min(count, 6)
    unseen = np.zeros((count, steps), dtype=bool) if observed is None else ~observed[:count]
    rows = []
    for name, film in films.items():
        inferred = name == "observed" or name not in UNMARKED or (hidden == "predicted" and name != "truth")
        marked = unseen if inferred else np.zeros_like(unseen)
        shown = film[:count]
        if name == "observed":
            shown = np.where(unseen[..., None, None, None], _hatched(height, width), shown)
        given, guessed = (np.array(colour, dtype=np.uint8) for colour in colours)
        rows.append(framed(shown, np.where(marked[..., None], guessed, given)))
    cells = np.pad(
        np.stack(rows), [(0, 0)] * 3 + [(0, 2)] * 2 + [(0, 0)]
    )  # films, sequences, steps, height, width, RGB
    opaque = np.zeros((*cells.shape[:-1], 1), dtype=np.uint8)
    opaque[..., :-2, :-2, :] = 255
    grid = np.concatenate([cells, opaque], axis=-1).transpose(2, 0, 3, 1, 4, 5)
    frames = list(grid.reshape(steps, len(films) * grid.shape[2], count * grid.shape[4], 4))
    moving, still = _webp(frames, fps), _webp(frames[-1:], fps)
    labels = [tag("div", LABELS.get(name, name), class_="film-label") for name in films]
    alt = f"Animation of {count} sequences: {', '.join(LABELS.get(n, n) for n in films)}"
    image = tag("img", src=data_uri(moving, "image/webp"), alt=alt, class_="pixels", width=count * size)
    calm = tag("source", media="(prefers-reduced-motion: reduce)", srcset=data_uri(still, "image/webp"))
    return tag("div", tag("div", *labels, class_="film-labels"), tag("picture", calm, image), class_="films")


def _missing(x: int, y: int) -> Html:
    """Draw a frame that is not there: an empty box, crossed out."""
    box = tag("rect", x=x + 0.5, y=y + 0.5, width=CELL - 1, height=CELL - 1, class_="gone")
    cross = tag("path", d=f"M{x + 14} {y + 14}l16 16m0 -16l-16 16", class_="cross")
    return join(box, cross)


def _hatched(height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
    y, x = np.mgrid[:height, :width]
    grey = np.where((x + y) % 6 < 2, 130, 70).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _png(frame: UInt8[np.ndarray, "h w 3"]) -> bytes:
    grey = bool((frame == frame[..., :1]).all())
    buffer = BytesIO()
    Image.fromarray(frame[..., 0] if grey else frame).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _webp(frames: list[UInt8[np.ndarray, "h w 4"]], fps: float | int) -> bytes:
    images = [Image.fromarray(frame) for frame in frames]
    buffer = BytesIO()
    images[0].save(
        buffer,
        "WEBP",
        save_all=True,
        append_images=images[1:],
        duration=round(1000 / fps),
        loop=0,
        lossless=True,
        method=4,
    )
    return buffer.getvalue()

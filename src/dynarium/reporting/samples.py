"""Samples of a stochastic predictor as its users know them: sheets of reconstructions and samples, and a GIF with borders.

A green border is around a frame that the model was given, a red one around a frame that it predicted; the truth is green.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from dynarium.reporting.html import Html, tag
from dynarium.reporting.pictures import animation, contact_sheet, framed
from dynarium.reporting.runs import TaskRecord
from dynarium.reporting.strips import LABELS, animated, ordered

GIVEN, PREDICTED = (0, 150, 60), (215, 40, 45)
SHOWN = ("truth", "posterior", "best", "sample-1", "sample-2", "sample-3")
"""What the GIF shows, from left to right."""

Films = Mapping[str, UInt8[np.ndarray, "b t h w 3"]]


def samples_of(record: TaskRecord) -> tuple[Films, int] | None:
    """Return the films of a task and how many frames were given; ``None`` where it left no best sample."""
    films, context = ordered(record.group("video")), record.examples.get("context")
    if not {"truth", "best"} <= films.keys() or context is None or context.size != 1:
        return None
    return films, int(context.reshape(()))


def samples_shown(films: Films, context: int) -> Html:
    """Show all films as an animation with borders in green and red."""
    count, steps = next(iter(films.values())).shape[:2]
    observed = np.broadcast_to(np.arange(steps) < context, (count, steps))
    return animated(films, observed, "predicted", fps=4, colours=(GIVEN, PREDICTED))


def samples_legend() -> Html:
    """Say what the borders mean."""
    keys = []
    for words, colour in (("given", GIVEN), ("predicted", PREDICTED)):
        swatch = tag("rect", x=0, y=0, width=14, height=10, fill=f"rgb{colour}".replace(" ", ""))
        drawing = tag("svg", swatch, viewBox="0 0 14 10", width=14, height=10, aria_hidden="true")
        keys.append(tag("span", drawing, " ", words, class_="key"))
    return tag("div", *keys, class_="legend")


def write_samples(record: TaskRecord) -> list[Path]:
    """Write ``<task>-reconstruction.png``, ``<task>-samples.png`` and ``<task>-samples.gif`` beside the results of a task.

    Returns:
        The files; none where the task left no samples.
    """
    found = samples_of(record)
    if found is None:
        return []
    films, context = found
    bordered = {name: _bordered(film, context, name == "truth") for name, film in films.items()}
    shown = [name for name in SHOWN if name in films]
    stem = record.arrays.with_suffix("")
    written = []
    if "posterior" in films:
        file = stem.with_name(f"{stem.name}-reconstruction.png")
        written.append(_sheet(bordered, ("truth", "posterior"), file, sequences=8))
    samples = [name for name in shown if name != "posterior"]
    written.append(_sheet(bordered, samples, stem.with_name(f"{stem.name}-samples.png"), sequences=3))
    rows = np.stack([bordered[name][:4] for name in shown], 1)
    heads = [LABELS.get(name, name).replace("-", " ") for name in shown]
    file = stem.with_name(f"{stem.name}-samples.gif")
    written.append(animation(_video(rows), file, fps=4, sequences=len(rows) * len(shown), heads=heads))
    return written


def _bordered(film: UInt8[np.ndarray, "b t h w 3"], context: int, true: bool) -> UInt8[np.ndarray, "b t H W 3"]:
    b, t = film.shape[:2]
    given = (np.arange(t) < context) | true
    colours = np.where(given[:, None], np.array(GIVEN, dtype=np.uint8), np.array(PREDICTED, dtype=np.uint8))
    return framed(film, np.broadcast_to(colours, (b, t, 3)), border=1)


def _sheet(films: Films, names: Sequence[str], file: Path, *, sequences: int) -> Path:
    """Write a row for each film, sequence by sequence."""
    rows = np.stack([films[name][:sequences] for name in names], 1)
    labels = [LABELS.get(name, name).replace("-", " ") for name in names] * len(rows)
    return contact_sheet(_video(rows), file, labels=labels, rows=len(labels))


def _video(rows: UInt8[np.ndarray, "b m t h w 3"]) -> UInt8[np.ndarray, "n t 3 h w"]:
    return np.moveaxis(rows.reshape(-1, *rows.shape[2:]), -1, 2)

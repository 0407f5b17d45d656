"""Vector fields side by side, as one SVG file that stands alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dynarium.reporting.html import Html, join, tag
from dynarium.reporting.scales import Axis, even_ticks, tick_labels

SIDE, MARGIN, GAP, TOP = 260.0, 34.0, 16.0, 26.0
COLOURS = ("#4269d0", "#efb118", "#ff725c", "#3ca951", "#a463f2", "#6cc5b0", "#97bbf5", "#9c6b4e")
SIDES, PARTS = ("true", "inferred"), ("step", "mode", "path", "path_mode")
"""Whose fields the arrays of a result hold, and which arrays each of them has."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """One panel: arrows ``step`` [m, 2] at ``place`` [m, 2], and paths [t, 2], coloured by mode; a mode of -1 is grey."""

    title: str
    place: np.ndarray
    step: np.ndarray
    mode: np.ndarray
    path: np.ndarray
    path_mode: np.ndarray


def vector_fields(fields: Sequence[Field], *, axes: tuple[str, str], scale: float | None = None) -> Html:
    """Draw the panels over one pair of axes.

    Args:
        fields: The panels; the first one decides the range of the axes and the scale.
        axes: Names of the axes.
        scale: Length of an arrow of length 1 in data; ``None``: the longest arrow of the first panel is as long as a tenth
            of the picture.

    Raises:
        ValueError: There are no fields.
    """
    if not fields:
        raise ValueError("fields: at least one wanted")
    every = np.concatenate([fields[0].place, fields[0].path])
    low, high = every.min(0), every.max(0)
    margin = 0.06 * (high - low)
    low, high = low - margin, high + margin
    if scale is None:
        sizes = np.linalg.norm(fields[0].step / np.maximum(high - low, 1e-12), axis=1)
        scale = 0.1 / max(float(sizes.max(initial=0.0)), 1e-12)
    panels = [_panel(field, low, high, scale, axes, i) for i, field in enumerate(fields)]
    width = len(fields) * (SIDE + GAP) + MARGIN
    height = TOP + SIDE + MARGIN
    marker = tag("marker", tag("path", d="M0 0 6 3 0 6z", fill="context-stroke"), id="tip", viewBox="0 0 6 6", refX=5,
                 refY=3, markerWidth=4, markerHeight=4, orient="auto")  # fmt: skip
    return tag(
        "svg",
        tag("rect", width=width, height=height, fill="white"),
        tag("defs", marker),
        join(*panels),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:g} {height:g}",
        **{"font-family": "sans-serif", "font-size": 11},
    )


def true_and_inferred(arrays: Mapping[str, np.ndarray], axes: tuple[str, str] | None = None) -> Html | None:
    """Draw the arrays ``field/<name>`` that a segmentation leaves, by name; ``None`` where one is missing."""
    names = {(who, part): f"{part.replace('_', '-')}/{who}" for who in SIDES for part in PARTS}
    if not {"dimensions", "place", *names.values()} <= set(arrays):
        return None
    first, second = (f"state {int(d) + 1}" for d in arrays["dimensions"])
    fields = [
        Field(title=who, place=arrays["place"], **{part: arrays[names[who, part]] for part in PARTS}) for who in SIDES
    ]
    return vector_fields(fields, axes=axes or (first, second))


def _panel(field: Field, low: np.ndarray, high: np.ndarray, scale: float, axes: tuple[str, str], i: int) -> Html:
    left, bottom = MARGIN + i * (SIDE + GAP), TOP + SIDE
    x = Axis(low=float(low[0]), high=float(high[0]), start=left, end=left + SIDE)
    y = Axis(low=float(low[1]), high=float(high[1]), start=bottom, end=TOP)

    def points(rows: np.ndarray) -> str:
        return " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in rows.tolist())

    parts = [tag("rect", x=left, y=TOP, width=SIDE, height=SIDE, fill="none", stroke="#999")]
    cuts = [0, *(np.flatnonzero(np.diff(field.path_mode)) + 1), len(field.path)]
    for start, stop in pairwise(cuts):
        colour = _colour(int(field.path_mode[start]))
        piece = field.path[start : stop + 1]
        parts.append(tag("polyline", points=points(piece), fill="none", stroke=colour, **{"stroke-width": 2}))
    for place, step, mode in zip(field.place, field.step, field.mode, strict=True):
        a, b = place.tolist(), (place + scale * step).tolist()
        ends = {"x1": f"{x(a[0]):.1f}", "y1": f"{y(a[1]):.1f}", "x2": f"{x(b[0]):.1f}", "y2": f"{y(b[1]):.1f}"}
        look = {"stroke-width": 1, "marker-end": "url(#tip)"}
        parts.append(tag("line", stroke=_colour(int(mode)), opacity=0.75, **ends, **look))
    for ticks, axis, across in ((even_ticks(x.low, x.high, 5), x, True), (even_ticks(y.low, y.high, 5), y, False)):
        if not across and i > 0:
            continue
        for value, label in zip(ticks, tick_labels(ticks), strict=True):
            where = (
                {"x": axis(value), "y": bottom + 14, "text-anchor": "middle"}
                if across
                else {"x": left - 5, "y": axis(value) + 4, "text-anchor": "end"}
            )
            parts.append(tag("text", label, **where))
    parts.append(
        tag("text", field.title, x=left + SIDE / 2, y=TOP - 9, **{"text-anchor": "middle", "font-weight": "bold"})
    )
    parts.append(tag("text", axes[0], x=left + SIDE / 2, y=bottom + 29, **{"text-anchor": "middle"}))
    if i == 0:
        parts.append(tag("text", axes[1], x=4, y=TOP - 9))
    return join(*parts)


def _colour(mode: int) -> str:
    return "#aaa" if mode < 0 else COLOURS[mode % len(COLOURS)]

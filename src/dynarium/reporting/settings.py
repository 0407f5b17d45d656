"""A metric over a numeric setting: our lines, the paper's points, trivial rows in grey, each named where it ends."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dynarium.reporting.charts import COLOURS, frame, path_of
from dynarium.reporting.html import Html, tag
from dynarium.reporting.page import stylesheet
from dynarium.reporting.rows import Panel, Record, number, words
from dynarium.reporting.scales import Axis, even_ticks, log_ticks, tick_labels

WIDTH, TOP, BELOW = 336.0, 12.0, 38.0
LETTER, LEAST_PLOT = 6.4, 150.0
"""Room for a letter of a label (a wide typeface), and for the curves."""
LINE = 12.5
"""Least distance of two labels."""
GREY = 6
PHRASES = {
    "mask random": "frames missing at random",
    "mask block": "a block of frames missing",
    "mask all": "any frame may be missing, the first included",
    "missing": "on missing frames",
    "all": "on all frames",
}
"""How the words of a setting, or the last word of a metric, read in a title."""

AXES = {
    "p": "share of frames missing, p",
    "steps": "frames missing in a row",
    "offset": "steps since a bounce by chance",
    "petaflop": "compute of the training, petaflop",
}
"""How the name of a setting reads below its axis."""

WIDE = ("petaflop",)
"""Settings that range over powers of ten."""

DECIBELS = "psnr"
"""How the name of a metric in decibels begins."""

PREFERRED = {"smooth": 1, "filter": 2, "generate": 3, "generated": 3, "reconstruction": 4, "forecast": 1, "mean": 1}
"""A method keeps its colour in all charts."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One line or one set of points.

    Attributes:
        label: Its name, written at its end.
        x: Settings.
        y: Values; those that are not finite are left out.
        error: Half-width of the band around the line; ``None``: no band.
        colour: 1..8.
        kind: A ``model``'s line, the ``paper``'s points, a ``bound`` (dotted) or a ``trivial`` row (thin).
        dashed: Tells the methods of one model apart where a colour stands for the model: a dashed line, square points.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    error: Sequence[float] | None = None
    colour: int = 1
    kind: Literal["model", "paper", "bound", "trivial"] = "model"
    dashed: bool = False


def is_sweep(panel: Panel, least: int = 2) -> bool:
    """Tell whether a panel has one numeric setting, with at least so many values."""
    values = [setting[0] for setting in panel.settings if len(setting) == 1]
    return len(values) >= least and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def curves_of(panel: Panel, paper: Sequence[Record] = ()) -> list[Curve]:
    """Return the curves of a panel, and of the published records that answer the same question."""
    colours = colours_of([*panel.methods, *dict.fromkeys(record.method for record in paper)])
    curves = []
    for method, kind in panel.methods.items():
        points = [(s[0], panel.points[method, s]) for s in panel.settings if (method, s) in panel.points]
        curves.append(
            Curve(
                label=words(method),
                x=[float(x) for x, _ in points],
                y=[record.value for _, record in points],
                error=[record.standard_error for _, record in points],
                colour=GREY if kind == "baseline" else colours[method],
                kind="trivial" if kind == "baseline" else kind,
            )
        )
    return curves + paper_curves(panel, paper, colours)


def paper_curves(panel: Panel, paper: Sequence[Record], colours: dict[str, int]) -> list[Curve]:
    """Return the published points that belong into a panel: of its metric, at its fixed conditions, along its axis."""
    curves = []
    for method in dict.fromkeys(record.method for record in paper):
        points = {
            float(record.condition[panel.axis[0]]): record.value
            for record in paper
            if record.method == method
            and record.metric == panel.metric
            and record.condition.keys() == {*panel.fixed, *panel.axis}
            and all(record.condition[k] == v for k, v in panel.fixed.items())
        }
        if points:
            x = sorted(points)
            y = [points[at] for at in x]
            curves.append(Curve(label=f"{words(method)}, paper", x=x, y=y, colour=colours[method], kind="paper"))
    return curves


def colours_of(methods: Sequence[str]) -> dict[str, int]:
    """Give each method a colour: its own where it has one, else the next that is free; none is the grey of trivial rows."""
    given = {m: PREFERRED[m] for m in methods if m in PREFERRED}
    free = [c for c in range(1, COLOURS + 1) if c not in (*given.values(), GREY)] or [COLOURS]
    others = [m for m in methods if m not in given]
    return given | {m: free[i % len(free)] for i, m in enumerate(others)}


def settings_chart(curves: Sequence[Curve], panel: Panel, *, task: str) -> Html:
    """Draw curves as a figure of a page.

    The vertical axis begins at 0, unless it is logarithmic, which is then said, or of decibels, whose zero means nothing.
    """
    parts, width, height, note = _drawing(curves, panel)
    title, *about = titles(panel, task)
    about += [note] if note else []
    caption = tag("figcaption", title, *(tag("span", f" {words}", class_="quiet") for words in about))
    if not parts:
        return tag("figure", caption, tag("p", "no finite values", class_="quiet"), class_="chart")
    view = f"0 0 {width:g} {height:g}"
    drawing = tag("svg", *parts, viewBox=view, role="img", aria_label=_alternative(title, curves))
    return tag("figure", caption, drawing, class_="chart")


def settings_picture(curves: Sequence[Curve], panel: Panel, *, task: str) -> str:
    """Draw curves as an SVG file of its own, light or dark as the page around it.

    Returns:
        The file's text; empty where there is nothing finite to draw.
    """
    parts, width, height, note = _drawing(curves, panel)
    if not parts:
        return ""
    lines = [*titles(panel, task), *([note] if note else [])]
    above = 4 + 15 * len(lines)
    heads = [
        tag("text", line, x=8, y=15.0 + 15 * i, class_="title" if i == 0 else None) for i, line in enumerate(lines)
    ]
    style = (
        stylesheet("palette", "drawing") + "svg{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',"
        "Arial,sans-serif;background:var(--paper)}svg text.title{fill:var(--ink);font-weight:600;font-size:12.5px}"
    )
    whole = height + above
    drawing = tag(
        "svg",
        tag("title", _alternative(lines[0], curves)),
        tag("style", Html(style)),
        *heads,
        tag("g", *parts, transform=f"translate(0 {above:g})"),
        xmlns="http://www.w3.org/2000/svg",
        width=width,
        height=whole,
        viewBox=f"0 0 {width:g} {whole:g}",
        role="img",
    )
    return drawing + "\n"


def titles(panel: Panel, task: str) -> list[str]:
    """Return the lines of a title: task and metric, then what is fixed."""
    metric = re.sub(r" (missing|all)$", lambda found: f" {PHRASES[found[1]]}", words(panel.metric))
    fixed = [f"{words(k)} {number(v)}" for k, v in panel.fixed.items()]
    about = ", ".join(PHRASES.get(text, text) for text in fixed)
    return [f"{words(task)}: {metric}", *([about] if about else [])]


def _x_ticks(panel: Panel, axis: Axis) -> list[float]:
    """Return the settings that can be written below the axis without touching, the largest included; or powers of ten."""
    if axis.log:
        return log_ticks(axis.low, axis.high)
    kept: list[float] = []
    for value in sorted((float(s[0]) for s in panel.settings), reverse=True):
        if not kept or axis(kept[-1]) - axis(value) >= 4 * LETTER:
            kept.append(value)
    return kept[::-1]


def spread(wanted: Sequence[float], least: float, low: float, high: float) -> list[float]:
    """Move heights as little as possible, in the least-squares sense, so that they are ``least`` apart in ``low..high``.

    Pool-adjacent-violators on the heights less their place in the order times the distance; what does not fit is squeezed.
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    least = min(least, (high - low) / max(1, len(wanted) - 1))
    pools: list[tuple[float, int]] = []
    for place, i in enumerate(order):
        pools.append((wanted[i] - place * least, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, n), (b, m) = pools[-2:]
            pools[-2:] = [((a * n + b * m) / (n + m), n + m)]
    heights = [value for value, count in pools for _ in range(count)]
    last = high - (len(wanted) - 1) * least
    placed = [0.0] * len(wanted)
    for place, i in enumerate(order):
        placed[i] = min(max(heights[place], low), last) + place * least
    return placed


def _drawing(curves: Sequence[Curve], panel: Panel) -> tuple[list[Html], float, float, str]:
    """Return the shapes, the size of the picture and what is to be said about its scale; no shapes: nothing finite."""
    shown = [(curve, points) for curve in curves if (points := _finite(curve))]
    if not shown:
        return [], 0.0, 0.0, ""
    height = max(236.0, LINE * len(shown) + TOP + BELOW + 24)
    x = [p[0] for _, points in shown for p in points]
    y = [p[1] for _, points in shown for p in points]
    ours = [p[1] for curve, points in shown for p in points if curve.kind == "model"]
    log = min(y) > 0 and bool(ours) and max(ours) / min(ours) > 100
    low, high = (min(y) / 1.15, max(y) * 1.15) if log else (min(0.0, 1.06 * min(y)), 1.06 * max(0.0, *y) or 1.0)
    if panel.metric.startswith(DECIBELS):
        margin = 0.06 * (max(y) - min(y)) or 1.0
        log, low, high = False, min(y) - margin, max(y) + margin
    ticks = log_ticks(low, high) if log else even_ticks(low, high, 5)
    labels = tick_labels(ticks)
    left = 14 + 6.4 * max(map(len, labels))
    words_beside = 20 + LETTER * max(len(curve.label) for curve, _ in shown)
    width = max(WIDTH, left + LEAST_PLOT + words_beside)
    right = width - words_beside
    horizontal = Axis(min(x), max(x), left + 6, right, log=panel.axis[0] in WIDE)
    vertical = Axis(low, high, height - BELOW, TOP, log)
    parts = [
        frame(
            horizontal,
            vertical,
            ticks,
            labels,
            AXES.get(panel.axis[0], words(panel.axis[0])),
            _x_ticks(panel, horizontal),
            left,
        )
    ]
    if min(x) < 0 < max(x):  # before and after something that happens at 0
        parts.append(tag("line", x1=horizontal(0), y1=TOP, x2=horizontal(0), y2=height - BELOW, class_="axis"))
    ends = [(horizontal(points[-1][0]), vertical(points[-1][1])) for _, points in shown]
    # Where lines end in one point, their labels stand in the order in which the lines come.
    middles = [vertical(sum(p[1] for p in points) / len(points)) for _, points in shown]
    wanted = [end + 0.02 * (middle - end) for (_, end), middle in zip(ends, middles, strict=True)]
    heights = spread(wanted, LINE, TOP, height - BELOW)
    # Grey lies below, the paper's points on top.
    rank = {"trivial": 0, "bound": 1, "model": 2, "paper": 3}
    for curve, points in sorted(shown, key=lambda pair: rank[pair[0].kind]):
        parts += _curve(curve, points, horizontal, vertical)
    for (curve, _), (x1, y1), y2 in zip(shown, ends, heights, strict=True):
        colour = f"c{curve.colour}"
        bend = f"M{x1 + 4:.1f} {y1:.1f}L{right + 10:.1f} {y2:.1f}h3"
        parts.append(tag("path", d=bend, class_=f"leader {colour}"))
        parts.append(tag("text", curve.label, x=right + 16, y=y2 + 4, class_=f"label {colour}"))
    return parts, width, height, "logarithmic" if log else ""


def _curve(curve: Curve, points: Sequence[tuple[float, float, float]], horizontal: Axis, vertical: Axis) -> list[Html]:
    colour = f"c{curve.colour}"
    placed = [(horizontal(x), vertical(y)) for x, y, _ in points]
    style = {"trivial": " thin", "bound": " dotted", "paper": " faint", "model": " dashed" if curve.dashed else ""}
    parts = [tag("path", d=path_of(placed), class_=f"line {colour}{style[curve.kind]}")]
    if curve.kind == "model" and curve.error is not None:
        above = [(horizontal(x), vertical(y + error)) for x, y, error in points]
        below = [(horizontal(x), vertical(y - error)) for x, y, error in reversed(points)]
        parts.insert(0, tag("path", d=path_of(above + below) + "Z", class_=f"spread {colour}"))
    if curve.kind == "paper" or len(placed) == 1:
        for x, y in placed:
            square = tag("rect", x=x - 2.8, y=y - 2.8, width=5.6, height=5.6, class_=f"point {colour}")
            parts.append(square if curve.dashed else tag("circle", cx=x, cy=y, r=3.1, class_=f"point {colour}"))
    return parts


def _finite(curve: Curve) -> list[tuple[float, float, float]]:
    """Return the finite points (x, y, half-width of the band) of a curve."""
    errors = curve.error if curve.error is not None else [0.0] * len(curve.x)
    found = zip(curve.x, curve.y, errors, strict=True)
    return [(x, y, error if math.isfinite(error) else 0.0) for x, y, error in found if math.isfinite(y)]


def _alternative(title: str, curves: Sequence[Curve]) -> str:
    """Say in words what the picture shows, for those who cannot see it."""
    ends = [f"{c.label} from {number(p[0][1])} to {number(p[-1][1])}" for c in curves if (p := _finite(c))]
    return f"{title}: {'; '.join(ends)}"

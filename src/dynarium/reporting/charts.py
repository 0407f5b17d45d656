"""Charts as inline SVG, in the colour classes of the page (``c1``.. ``c8``, ``t0``.. ``t9``), so they follow its mode.

Sizes are in units of about one CSS pixel on a phone: a chart is 340 wide, and its text stays legible there.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dynarium.reporting.html import Html, join, tag
from dynarium.reporting.scales import Axis, even_ticks, log_ticks, tick_labels

WIDTH, HEIGHT = 340.0, 220.0
COLOURS = 8
TIMES = 10


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line: ``y`` over ``x`` with an optional half-width of error bars; ``colour`` 1..8; dashed for baselines."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    error: Sequence[float] | None = None
    colour: int = 1
    dashed: bool = False
    marks: bool = False


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    zero: bool = False,
    log: bool | None = None,
    robust: bool = False,
    bands: Iterable[tuple[float, float]] = (),
    x_ticks: Sequence[float] | None = None,
) -> Html:
    """Draw lines over a common axis, with a legend where there are several.

    Args:
        series: The lines; values that are not finite leave a gap.
        title: What the vertical axis shows.
        x_label: What the horizontal axis shows.
        zero: Start the vertical axis at zero, unless it is logarithmic.
        log: Logarithmic vertical axis; ``None``: where all values are positive and span a factor of more than 30.
        robust: Begin the horizontal axis at zero; let its first tenth (the first steps of a training) leave the picture
            where it would flatten the rest, and say so.
        bands: Stretches of the horizontal axis to shade.
        x_ticks: Ticks of the horizontal axis, if not evenly spaced ones.
    """
    x = np.array([v for s in series for v in s.x], dtype=float)
    y = np.array([v for s in series for v in s.y], dtype=float)
    y = y[np.isfinite(y)]
    if not len(y):
        return tag("figure", tag("figcaption", title), tag("p", "no finite values", class_="quiet"), class_="chart")
    if log is None:
        log = bool(y.min() > 0 and y.max() / y.min() > 30)
    low, high = float(y.min()), float(y.max())
    clipped = False
    if robust and not log and len(y) >= 20:
        start = 0.1 * float(x.max())
        later = [v for one in series for u, v in zip(one.x, one.y, strict=True) if u >= start and math.isfinite(v)]
        inner_low, inner_high = (min(later), max(later)) if later else (low, high)
        clipped = high - low > 3 * (inner_high - inner_low) > 0
        low, high = (inner_low, inner_high) if clipped else (low, high)
    if log:
        low, high = low / 1.15, high * 1.15
    else:
        margin = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
        low, high = (0.0 if zero and low >= 0 else low - margin), high + margin
    ticks = log_ticks(low, high) if log else even_ticks(low, high)
    labels = tick_labels(ticks)
    left = 10 + 6.4 * max(map(len, labels), default=1)
    horizontal = Axis(0.0 if robust else float(x.min()), float(x.max()), left + 8, WIDTH - 12)
    vertical = Axis(low, high, HEIGHT - 36, 10.0, log)
    parts = [frame(horizontal, vertical, ticks, labels, x_label, x_ticks, left)]
    for start, end in bands:
        parts.insert(0, _band(horizontal, vertical, start, end))
    drawn = join(*(_drawn(one, horizontal, vertical) for one in series))
    if clipped:  # an inner svg shows nothing outside of its own frame
        x0, width, height = left, WIDTH - left, HEIGHT - 36
        drawn = tag("svg", drawn, x=x0, y=0, width=width, height=height, viewBox=f"{x0:g} 0 {width:g} {height:g}")
    parts.append(drawn)
    notes = [w for w, on in (("logarithmic", log), ("first steps cut off", clipped)) if on]
    return _figure(title, ", ".join(notes), parts, legend(series) if len(series) > 1 else None)


def area_chart(
    shares: np.ndarray,
    *,
    title: str,
    x_label: str = "step",
    names: Sequence[str] = (),
    ticks: Sequence[int] = (),
) -> Html:
    """Draw shares [t, k] of one as stacked areas over the steps; ``ticks`` are steps to mark below the areas."""
    steps, modes = shares.shape
    left = 34.0
    horizontal = Axis(0.0, float(max(1, steps - 1)), left, WIDTH - 12)
    vertical = Axis(0.0, 1.0, HEIGHT - 44, 10.0)
    edges = np.concatenate([np.zeros((steps, 1)), np.cumsum(shares, axis=1)], axis=1)
    areas = []
    for k in range(modes):
        above = [(horizontal(t), vertical(edges[t, k + 1])) for t in range(steps)]
        below = [(horizontal(t), vertical(edges[t, k])) for t in reversed(range(steps))]
        areas.append(tag("path", d=path_of(above + below) + "Z", class_=f"area c{k % COLOURS + 1}"))
    axes = frame(horizontal, vertical, [0.0, 0.5, 1.0], ["0", "0.5", "1"], x_label, None, left - 8, below=24)
    marks = [tag("rect", x=horizontal(t) - 3, y=HEIGHT - 43, width=6, height=4, class_="missing-mark") for t in ticks]
    keys = [_key(names[k] if k < len(names) else f"mode {k + 1}", f"c{k % COLOURS + 1}", "area") for k in range(modes)]
    return _figure(title, "", [axes, *areas, *marks], tag("div", *keys, class_="legend"))


def path_chart(points: np.ndarray, *, title: str, dots: np.ndarray | None = None) -> Html:
    """Draw a path [t, 2] in the plane, coloured from its first step to its last; ``dots`` [t, 2] are drawn hollow."""
    points = points.astype(np.float64)
    everything = points if dots is None else np.concatenate([points, dots])
    everything = everything[np.isfinite(everything).all(axis=1)]
    if not len(everything):
        return tag("figure", tag("figcaption", title), tag("p", "no finite values", class_="quiet"), class_="chart")
    (x_low, y_low), (x_high, y_high) = everything.min(axis=0).tolist(), everything.max(axis=0).tolist()
    # One unit is as long on both axes: a path keeps its shape.
    size, height = max(x_high - x_low, y_high - y_low, 1e-9) * 1.1, 260.0
    x_mid, y_mid = (x_low + x_high) / 2, (y_low + y_high) / 2
    left = 0.5
    horizontal = Axis(x_mid - size / 2, x_mid + size / 2, left, left + height)
    vertical = Axis(y_mid - size / 2, y_mid + size / 2, height, 0.0)
    parts = [tag("rect", x=left, y=0.5, width=height, height=height - 1, class_="box")]
    if dots is not None:
        for t, (x, y) in enumerate(dots.astype(np.float64)):
            if math.isfinite(x) and math.isfinite(y):
                colour = f"hollow t{_time(t, len(dots))}"
                parts.append(tag("circle", cx=horizontal(x), cy=vertical(y), r=4, class_=colour))
    placed = [(horizontal(x), vertical(y)) for x, y in np.nan_to_num(points)]
    for t in range(len(placed) - 1):
        (x1, y1), (x2, y2) = placed[t], placed[t + 1]
        parts.append(tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=f"line t{_time(t, len(placed) - 1)}"))
    for t, (x, y) in enumerate(placed):
        parts.append(tag("circle", cx=x, cy=y, r=2.2, class_=f"dot t{_time(t, len(placed))}"))
    return _figure(title, "", parts, None, size=(height + 1, height))


def time_legend(last: int) -> Html:
    """Write the legend of the colours of time, from step 0 to ``last``."""
    swatches = [tag("rect", x=i * 14.0, y=0, width=14.5, height=10, class_=f"dot t{i}") for i in range(TIMES)]
    scale = tag("svg", *swatches, viewBox="0 0 140 10", width=140, height=10, aria_hidden="true")
    return tag("div", tag("span", "step 0 ", scale, f" {last}", class_="key"), class_="legend")


def legend(series: Sequence[Series]) -> Html:
    """Write a legend that wraps as text does."""
    keys = [_key(s.label, f"c{s.colour}" + (" dashed" if s.dashed else ""), "line") for s in series]
    return tag("div", *keys, class_="legend")


def thinned(x: Sequence[float], y: Sequence[float], most: int = 300) -> tuple[list[float], list[float]]:
    """Average neighbours, so that a line has ``most`` points at most."""
    if len(x) <= most:
        return list(x), list(y)
    parts = np.array_split(np.arange(len(x)), most)
    xs, ys = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    return [float(xs[p].mean()) for p in parts], [float(ys[p].mean()) for p in parts]


def frame(
    horizontal: Axis,
    vertical: Axis,
    ticks: Sequence[float],
    labels: Sequence[str],
    x_label: str,
    x_ticks: Sequence[float] | None,
    left: float,
    below: float = 16.0,
) -> Html:
    """Draw the grid, the ticks and the names of two axes; the horizontal one's labels stand ``below`` its line."""
    parts = []
    right, bottom = horizontal.end, vertical.start
    for value, label in zip(ticks, labels, strict=True):
        y = vertical(value)
        parts.append(tag("line", x1=left, y1=y, x2=right, y2=y, class_="grid"))
        parts.append(tag("text", label, x=left - 5, y=y + 4, text_anchor="end"))
    across = list(x_ticks) if x_ticks is not None else even_ticks(horizontal.low, horizontal.high, 4)
    room = (horizontal.end - horizontal.start) / max(1, len(across))
    for value, label in zip(across, tick_labels(across), strict=True):
        if 6.6 * len(label) > room and value not in (across[0], across[-1]):
            continue
        x = horizontal(value)
        anchor = "end" if x > right - 10 else "middle"
        parts.append(tag("line", x1=x, y1=bottom, x2=x, y2=bottom + 4, class_="axis"))
        parts.append(tag("text", label, x=right + 8 if anchor == "end" else x, y=bottom + below, text_anchor=anchor))
    parts.append(tag("line", x1=left, y1=bottom, x2=right, y2=bottom, class_="axis"))
    parts.append(tag("text", x_label, x=right, y=bottom + below + 16, text_anchor="end", class_="name"))
    return join(*parts)


def path_of(points: Sequence[tuple[float, float]]) -> str:
    """Write a path through points."""
    body = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f"M{body}" if len(points) > 1 else f"M{body}h.01"


def _key(label: str, colour: str, kind: str) -> Html:
    shape = (
        tag("rect", x=0, y=0, width=14, height=10, class_=f"area {colour}")
        if kind == "area"
        else tag("line", x1=0, y1=5, x2=22, y2=5, class_=f"line {colour}")
    )
    width = 14 if kind == "area" else 22
    drawing = tag("svg", shape, viewBox=f"0 0 {width} 10", width=width, height=10, aria_hidden="true")
    return tag("span", drawing, " ", label, class_="key")


def _figure(
    title: str, note: str, parts: Sequence[str], below: Html | None, size: tuple[float, float] = (WIDTH, HEIGHT)
) -> Html:
    label = title + (f" ({note})" if note else "")
    drawing = tag("svg", *parts, viewBox=f"0 0 {size[0]:g} {size[1]:g}", role="img", aria_label=label)
    caption = tag("figcaption", title, tag("span", " ", note, class_="quiet") if note else None)
    return tag("figure", caption, drawing, below, class_="chart")


def _drawn(one: Series, horizontal: Axis, vertical: Axis) -> Html:
    colour = f"c{one.colour}"
    parts, stretch = [], []
    for x, y in [*zip(one.x, one.y, strict=True), (0.0, math.nan)]:
        if math.isfinite(y):
            stretch.append((horizontal(x), vertical(y)))
        elif stretch:
            parts.append(tag("path", d=path_of(stretch), class_=f"line {colour}" + (" dashed" if one.dashed else "")))
            stretch = []
    for i, (x, y) in enumerate(zip(one.x, one.y, strict=True)):
        error = one.error[i] if one.error is not None else 0.0
        if math.isfinite(y) and math.isfinite(error) and error > 0:
            ends = vertical(y - error), vertical(y + error)
            across = horizontal(x)
            parts.append(tag("line", x1=across, y1=ends[0], x2=across, y2=ends[1], class_=f"error {colour}"))
            for end in ends:
                parts.append(tag("line", x1=across - 3, y1=end, x2=across + 3, y2=end, class_=f"error {colour}"))
        if one.marks and math.isfinite(y):
            parts.append(tag("circle", cx=horizontal(x), cy=vertical(y), r=2.6, class_=f"dot {colour}"))
    return join(*parts)


def _band(horizontal: Axis, vertical: Axis, start: float, end: float) -> Html:
    x1, x2 = max(horizontal.start, horizontal(start)), min(horizontal.end, horizontal(end))
    return tag(
        "rect", x=x1, y=vertical.end, width=max(0.0, x2 - x1), height=vertical.start - vertical.end, class_="band"
    )


def _time(step: int, steps: int) -> int:
    return min(TIMES - 1, step * TIMES // max(1, steps))

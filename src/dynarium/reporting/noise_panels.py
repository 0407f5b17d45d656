"""Error against the level of the noise, a panel for each kind of noise: the figure of a noise study."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from dynarium.reporting.html import Html, join, tag
from dynarium.reporting.scales import Axis, even_ticks, tick_labels

PANELS = (("changing", "uniform"), ("fixed", "uniform"), ("changing", "structured"), ("fixed", "structured"))
WIDTH, HEIGHT = 360.0, 250.0
"""Size of one panel."""

KEY = 200.0
"""Width of one entry of the legend."""

LIGHT = ("#0b62b0", "#c2500a", "#08795a", "#9b3a83", "#806200", "#2b8fb5", "#b0335a", "#463a9e", "#59636c", "#6b8e23")
DARK = ("#6db3ff", "#ff9a57", "#4fcfa4", "#e396d0", "#e0c04c", "#7fdcf5", "#ff8fae", "#9d8cf2", "#9ba6af", "#b5d86a")
STYLE = (
    "svg{background:#fdfdfc;color:#1b2126}text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,Arial,sans-serif;"
    "fill:currentColor}.soft{fill:#59636c}.title{font-weight:600;font-size:13px}.grid{stroke:#e6e9ea}.axis{stroke:#59636c}"
    ".line{fill:none;stroke:currentColor;stroke-width:2;stroke-linejoin:round}.trivial{stroke-width:1.4;stroke-dasharray:6 4}"
    ".band{fill:currentColor;opacity:.18}.dot{fill:currentColor}"
)
STYLE_DARK = "svg{background:#14181b;color:#e5e8ea}.soft{fill:#9ba6af}.grid{stroke:#272e33}.axis{stroke:#9ba6af}"


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One method in one panel: levels, means over seeds, standard errors of these."""

    level: list[float]
    value: list[float]
    error: list[float]


def noise_panels(
    records: Iterable[Mapping[str, Any]],
    *,
    y_label: str = "position error, px (Euclidean RMSE)",
    limit: float | None = None,
) -> str:
    """Draw four panels, changing or fixed noise across, uniform or structured down, as a standalone SVG.

    A line is the mean over seeds, its band one standard error of that mean over seeds (of a single seed: the record's own
    standard error). Trivial rows are dashed. Light and dark follow the reader's system.

    Args:
        records: One for each number: ``method``, ``noise`` (``changing``, ``fixed``; ``none``: of every panel, at level 0),
            ``source`` (``uniform``, ``structured``), ``level``, ``value``, and, where there are, ``seed``,
            ``standard_error``, ``baseline``. Methods keep the order in which they come; several records of the same method,
            noise and level are seeds. Values that are not finite are left out.
        y_label: What the vertical axis shows.
        limit: Top of the vertical axis; ``None``: the largest value.
    """
    found = [r for r in records if math.isfinite(_number(r.get("value"))) and math.isfinite(_number(r.get("level")))]
    methods = list(dict.fromkeys(str(r["method"]) for r in found))
    trivial = {str(r["method"]) for r in found if r.get("baseline")}
    methods.sort(key=lambda m: m in trivial)
    curves = {panel: {m: _curve(found, m, *panel) for m in methods} for panel in PANELS}
    most = [v + e for panel in curves.values() for c in panel.values() for v, e in zip(c.value, c.error, strict=True)]
    levels = [x for panel in curves.values() for c in panel.values() for x in c.level]
    top = max(most, default=1.0) * 1.05 if limit is None else limit
    right = max(levels, default=1.0) or 1.0
    parts = []
    for i, panel in enumerate(PANELS):
        drawn = _panel(panel, curves[panel], trivial, (0.0, right), (0.0, top), y_label if i % 2 == 0 else "")
        parts.append(tag("g", drawn, transform=f"translate({i % 2 * WIDTH:g} {i // 2 * HEIGHT:g})"))
    columns = int(2 * WIDTH // KEY)
    for i, method in enumerate(methods):
        x, y = 20 + i % columns * KEY, 2 * HEIGHT + 18 + i // columns * 20
        parts.append(_key(method, i, method in trivial, x, y))
    height = 2 * HEIGHT + 24 + 20 * -(-len(methods) // columns)
    dark = STYLE_DARK + "".join(f".m{i}{{color:{c}}}" for i, c in enumerate(DARK))
    light = STYLE + "".join(f".m{i}{{color:{c}}}" for i, c in enumerate(LIGHT))
    style = Html(f"<style>{light}@media (prefers-color-scheme:dark){{{dark}}}</style>")
    title = f"{y_label} against the level of the noise: {', '.join(methods) or 'no records'}"
    return tag(
        "svg",
        style,
        tag("title", title),
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {2 * WIDTH:g} {height:g}",
        width=2 * WIDTH,
        height=height,
        role="img",
    )


def _curve(records: Sequence[Mapping[str, Any]], method: str, noise: str, source: str) -> Curve:
    """Gather one method's numbers in one panel, by level."""
    by_level: dict[float, list[Mapping[str, Any]]] = {}
    for record in records:
        here = record.get("noise") == "none" or (record.get("noise") == noise and record.get("source") == source)
        if here and str(record["method"]) == method:
            by_level.setdefault(float(record["level"]), []).append(record)
    level = sorted(by_level)
    values = [[float(r["value"]) for r in by_level[x]] for x in level]
    alone = [_number(by_level[x][0].get("standard_error")) for x in level]
    errors = [
        stdev(v) / math.sqrt(len(v)) if len(v) > 1 else e if math.isfinite(e) else 0.0
        for v, e in zip(values, alone, strict=True)
    ]
    return Curve(level=level, value=[mean(v) for v in values], error=errors)


def _panel(
    panel: tuple[str, str],
    curves: Mapping[str, Curve],
    trivial: set[str],
    across: tuple[float, float],
    up: tuple[float, float],
    y_label: str,
) -> Html:
    """Draw one panel: grid, bands, lines, marks."""
    left, bottom = 52.0, HEIGHT - 44
    horizontal, vertical = Axis(*across, left + 6, WIDTH - 14), Axis(*up, bottom, 30.0)
    parts = [tag("text", f"{panel[0]} noise, {panel[1]}", x=left, y=18, class_="title")]
    ticks = even_ticks(*up, 5)
    for value, label in zip(ticks, tick_labels(ticks), strict=True):
        parts.append(tag("line", x1=left, y1=vertical(value), x2=WIDTH - 14, y2=vertical(value), class_="grid"))
        parts.append(tag("text", label, x=left - 6, y=vertical(value) + 4, text_anchor="end", class_="soft"))
    marks = even_ticks(*across, 6)
    for value, label in zip(marks, tick_labels(marks), strict=True):
        parts.append(tag("line", x1=horizontal(value), y1=bottom, x2=horizontal(value), y2=bottom + 4, class_="axis"))
        parts.append(tag("text", label, x=horizontal(value), y=bottom + 17, text_anchor="middle", class_="soft"))
    parts.append(tag("line", x1=left, y1=bottom, x2=WIDTH - 14, y2=bottom, class_="axis"))
    parts.append(tag("text", "level of the noise", x=WIDTH - 14, y=bottom + 33, text_anchor="end", class_="soft"))
    if y_label:
        turned = f"rotate(-90 14 {(30 + bottom) / 2:g})"
        middle = (30 + bottom) / 2
        parts.append(tag("text", y_label, x=14, y=middle, text_anchor="middle", transform=turned, class_="soft"))
    drawn = [_drawn(c, i, method in trivial, horizontal, vertical) for i, (method, c) in enumerate(curves.items())]
    # An inner picture shows nothing beyond its frame: what is above the limit is cut.
    width, height = WIDTH - left, bottom - 24
    view = f"{left:g} 30 {width:g} {height:g}"
    parts.append(tag("svg", *drawn, x=left, y=30.0, width=width, height=height, viewBox=view))
    return join(*parts)


def _drawn(curve: Curve, colour: int, trivial: bool, horizontal: Axis, vertical: Axis) -> Html:
    """Draw the band, the line and the marks of one method; a trivial row known at one level is a level line."""
    if not curve.level:
        return Html("")
    level, value, error = curve.level, curve.value, curve.error
    if trivial and len(level) == 1:
        level, value, error = [horizontal.low, horizontal.high], value * 2, error * 2
    points = [(horizontal(x), vertical(y)) for x, y in zip(level, value, strict=True)]
    edges = [(horizontal(x), vertical(y + e)) for x, y, e in zip(level, value, error, strict=True)]
    edges += [(horizontal(x), vertical(y - e)) for x, y, e in reversed(list(zip(level, value, error, strict=True)))]
    shapes = [tag("path", d=f"M{_joined(edges)}Z", class_="band")] if any(error) and len(level) > 1 else []
    shapes.append(tag("path", d=f"M{_joined(points)}", class_="line trivial" if trivial else "line"))
    shapes += [] if trivial else [tag("circle", cx=x, cy=y, r=3, class_="dot") for x, y in points]
    return tag("g", *shapes, class_=f"m{colour % len(LIGHT)}")


def _key(method: str, colour: int, trivial: bool, x: float, y: float) -> Html:
    line = tag("line", x1=x, y1=y - 4, x2=x + 26, y2=y - 4, class_="line trivial" if trivial else "line")
    return join(tag("g", line, class_=f"m{colour % len(LIGHT)}"), tag("text", method, x=x + 32, y=y))


def _joined(points: Sequence[tuple[float, float]]) -> str:
    return "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan

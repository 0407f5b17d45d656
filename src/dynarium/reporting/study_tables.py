"""Tables of a study: a number for each method and level, kind of noise by kind, and its claims."""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from dynarium.reporting.noise_panels import PANELS
from dynarium.reporting.tables import Cell, Line, Table


def level_tables(name: str, points: Sequence[Mapping[str, Any]]) -> list[Table]:
    """Make one table for each kind of noise of which there are points: a line a method, a column a level.

    Args:
        name: Name of the study.
        points: As ``noise_panels`` takes them.
    """
    tables = []
    for noise, source in PANELS:
        here = [p for p in points if p["noise"] == "none" or (p["noise"], p.get("source")) == (noise, source)]
        if any(p["noise"] == noise for p in here):
            tables.append(_level_table(f"{name}: {noise} noise, {source}", here))
    if not tables and points:
        tables = [_level_table(f"{name}: no noise", points)]
    return tables


def _level_table(title: str, points: Sequence[Mapping[str, Any]]) -> Table:
    levels = sorted({float(p["level"]) for p in points if not p.get("baseline")})
    lines, ruled = [], False
    for method in dict.fromkeys(p["method"] for p in points):
        mine = [p for p in points if p["method"] == method]
        trivial = bool(mine[0].get("baseline"))
        at = {x: [p for p in mine if trivial or float(p["level"]) == x] for x in levels}
        cells = (Cell(text=method), *(Cell(text=_text(found)) for found in at.values()))
        lines.append(Line(cells=cells, tag="trivial" if trivial else "", rule=trivial and not ruled and bool(lines)))
        ruled = ruled or trivial
    return Table(
        title=title,
        columns=("method", *(f"level {x:g}" for x in levels)),
        rows=tuple(lines),
        note="Euclidean RMSE of the position in px; mean ± standard error over n seeds, of one seed over sequences. "
        "Lower is better.",
    )


def _text(points: Sequence[Mapping[str, Any]]) -> str:
    """Write mean, standard error and number of seeds."""
    values = [float(p["value"]) for p in points]
    if not values:
        return "–"
    alone = points[0].get("standard_error")
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan if alone is None else float(alone)
    text = f"{mean(values):.2f}" + (f" ± {error:.2f}" if math.isfinite(error) else "")
    return text if points[0].get("baseline") else f"{text} (n={len(values)})"


def claims_table(name: str, claims: Iterable[Any]) -> Table:
    """Make the table of what a study claims (``statement``, ``holds``, ``measured``)."""
    answer = {True: "yes", False: "no", None: "–"}
    rows = [(answer[claim.holds], claim.statement, claim.measured) for claim in claims]
    lines = tuple(Line(cells=tuple(Cell(text=text) for text in (first, *rest))) for first, *rest in rows)
    return Table(title=f"{name}: claims", columns=("holds", "claim", "measured"), rows=lines, labels=3)

"""How a study is shown: its tables, and its figures as SVG files."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dynarium.reporting.noise_panels import noise_panels
from dynarium.reporting.results_page import pooled
from dynarium.reporting.results_sections import CHARTED, compared_curves, folded, merged_rows, protocols
from dynarium.reporting.rows import panels
from dynarium.reporting.settings import is_sweep, settings_picture
from dynarium.reporting.study_tables import level_tables
from dynarium.reporting.tables import Table, markdown, result_tables

Points = Sequence[Mapping[str, Any]]


def noise_figures(name: str, points: Points) -> tuple[list[Table], dict[str, str]]:
    """Show errors against the level of the noise, kind by kind, in one picture (see ``noise_panels``)."""
    return level_tables(name, points), {"panels.svg": noise_panels(points) + "\n"}


def settings_figures(name: str, points: Points) -> tuple[list[Table], dict[str, str]]:
    """Show rows of several methods, ``of``, over their numeric settings: a picture for every metric and kind of setting.

    Bounds are left out. A number is the mean over the seeds of a method, its error that mean's standard error.
    """
    of = {str(point["of"]): [p for p in points if p["of"] == point["of"]] for point in points}
    rows, owner = merged_rows({label: pooled([{"rows": mine}]) for label, mine in of.items()}, {x: x for x in of})
    pictures = {}
    for panel in panels(rows):
        if is_sweep(panel):
            svg = settings_picture(compared_curves(panel, owner, list(of), ()), panel, task=name)
            where = [value for value in panel.fixed.values() if isinstance(value, str)]
            pictures |= {"-".join([panel.metric, *where]) + ".svg": svg} if svg else {}
    over = "seeds" if len({point["seed"] for point in points}) > 1 else "sequences"
    return result_tables(name, rows, over=over), pictures


def split_tables(tables: Sequence[Table]) -> tuple[list[Table], list[Table]]:
    """Part the tables that are read from those, of many settings, whose picture is looked at."""
    short = [table for table in tables if len(table.columns) - table.labels <= CHARTED]
    return short, [table for table in tables if table not in short]


def study_page(tables: Sequence[Table], pictures: Mapping[str, str], records: Points = ()) -> str:
    """Write what a study found as Markdown: its pictures, which lie beside the page, its tables, and how the numbers were made.

    Wide tables, and what ``records`` say of how they were made, are folded.
    """
    shown = [f"![{name.removesuffix('.svg')}]({name})\n" for name in pictures]
    short, wide = split_tables(tables)
    hidden = [folded("Every number of the charts", "\n".join(map(markdown, wide)))] if wide else []
    return "\n".join([*shown, *map(markdown, short), *hidden, protocols(records)]).rstrip() + "\n"


FIGURES: dict[str, Callable[[str, Points], tuple[list[Table], dict[str, str]]]] = {
    "noise": noise_figures,
    "settings": settings_figures,
}
"""What a study says of how it is drawn -> what makes its tables and pictures of its points."""

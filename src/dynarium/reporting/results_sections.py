"""The parts of the page of results: what was measured over a setting as charts first, the tables folded below them."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from dynarium.reporting.rows import BOUNDS, Panel, Record, panels, record_of, words
from dynarium.reporting.settings import (
    Curve,
    colours_of,
    curves_of,
    is_sweep,
    paper_curves,
    settings_picture,
    titles,
)
from dynarium.reporting.tables import Table, comparison_table, markdown, result_tables

PICTURES = "images/results"
"""Folder of the pictures, beside the page."""

CHARTED = 5
"""A table with so many settings is drawn, and folded."""

NOT_DRAWN = ("generate",)
"""A roll-out of the first frames: at every setting of a mask the same number, or the filter's."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Markdown, and the pictures it shows: file name -> SVG."""

    text: str
    pictures: dict[str, str] = field(default_factory=dict)


def join(parts: Iterable[Part]) -> Part:
    """Put parts under each other."""
    parts = [part for part in parts if part.text]
    pictures = {name: svg for part in parts for name, svg in part.pictures.items()}
    return Part(text="\n".join(part.text for part in parts), pictures=pictures)


def folded(title: str, text: str) -> str:
    """Fold Markdown behind a line to click on; read by MkDocs with ``md_in_html``, and by GitHub."""
    return f'<details markdown="1">\n<summary>{title}</summary>\n\n{text}\n</details>\n'


def protocols(records: Iterable[Mapping[str, Any]]) -> str:
    """Fold how the numbers of some records were made, every way of asking once; empty where no record says it."""
    found = [(task, said) for record in records for task, said in (record.get("protocol") or {}).items()]
    lines = dict.fromkeys(f"- **{words(task)}**: {_said(protocol)}" for task, protocol in found)
    return folded("Protocol: two numbers can be compared if these are equal", "\n".join(lines) + "\n") if lines else ""


def _said(value: Any) -> str:
    if not isinstance(value, Mapping):
        return str(value)
    said = {words(str(name)): inner for name, inner in value.items() if inner not in (None, {}, [])}
    return "; ".join(f"{k} ({_said(v)})" if isinstance(v, Mapping) else f"{k} {_said(v)}" for k, v in said.items())


def task_part(name: str, task: str, rows: Sequence[Any], paper: Sequence[Record], over: str) -> Part:
    """Show what a recipe answered to a task.

    Args:
        name: Name of the recipe.
        task: Name of the task.
        rows: Its rows, mappings or ``types.Row``.
        paper: Published records, drawn into the charts where they fit.
        over: What the standard errors are over, see ``result_tables``.
    """
    estimated = [record for record in paper if record.method not in BOUNDS]

    def curves(panel: Panel) -> list[Curve]:
        return [curve for curve in curves_of(panel, estimated) if curve.label not in NOT_DRAWN]

    tables = result_tables(task, rows, over=over)
    return _part(name, task, list(zip(panels(rows), tables, strict=True)), curves)


def compared_part(task: str, recipes: Mapping[str, Sequence[Any]], paper: Sequence[Record]) -> Part:
    """Show what several recipes answered to a task about the same data: the summaries as a table, the sweeps as charts."""
    summary = comparison_table(task, recipes)
    names = short_names(list(recipes))
    merged, owner = merged_rows(recipes, names)
    tables = result_tables(task, merged, over="seeds")
    shared = []
    for panel, table in zip(panels(merged), tables, strict=True):
        asked = {owner[method][0] for method in panel.methods if method in owner}
        if len(asked) > 1 and is_sweep(panel, CHARTED):
            note = "Mean over seeds ± its standard error; of one seed ± the standard error over sequences."
            shared.append((panel, Table(**{**vars(table), "note": note})))

    def curves(panel: Panel) -> list[Curve]:
        return compared_curves(panel, owner, list(names.values()), paper)

    charts = _part(f"compared-{next(iter(recipes))}-and-{len(recipes) - 1}", task, shared, curves)
    return join([Part(text=markdown(summary) if summary else ""), charts])


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Leave out the words that all names begin or end with, as far as each keeps one: ``kvae-x, vae-rnn-x``: kvae, vae-rnn."""
    parts = {name: name.split("-") for name in names}
    for end in (-1, 0):
        while len(names) > 1 and all(len(p) > 1 for p in parts.values()) and len({p[end] for p in parts.values()}) == 1:
            for words_of in parts.values():
                words_of.pop(end)
    return {name: "-".join(left) for name, left in parts.items()}


def merged_rows(
    recipes: Mapping[str, Sequence[Any]], names: Mapping[str, str]
) -> tuple[list[dict[str, Any]], dict[str, tuple[str, str]]]:
    """Return the rows of all recipes, a model's method renamed to recipe and method, and whose each of these is.

    Trivial rows are the same for all and stand once; bounds, and numbers of single tasks, are left out.
    """
    merged: dict[str, dict[str, Any]] = {}
    owner: dict[str, tuple[str, str]] = {}
    for recipe, rows in recipes.items():
        records = [(vars(record_of(row)), row) for row in rows]
        methods = {r["method"] for r, _ in records if r["kind"] == "model" and r["method"] not in NOT_DRAWN}
        for record, _ in records:
            if record["kind"] == "bound" or "task" in record["condition"]:
                continue
            row = {**record, "baseline": record["kind"] == "baseline"}
            if record["kind"] == "model":
                single = len(methods) == 1 and record["method"] in methods
                row["method"] = names[recipe] if single else f"{names[recipe]} {record['method']}"
                owner[row["method"]] = names[recipe], record["method"]
            key = f"{row['method']} {row['metric']} {sorted(row['condition'].items())}"
            merged.setdefault(key, row)
    return list(merged.values()), owner


def compared_curves(
    panel: Panel, owner: Mapping[str, tuple[str, str]], names: Sequence[str], paper: Sequence[Record]
) -> list[Curve]:
    """Give each recipe a colour and each of its methods a stroke; the paper's points follow the recipe they belong to."""
    published = list(dict.fromkeys(record.method for record in paper if record.method not in BOUNDS))
    named = {method.lower() for method in published} & set(names)
    owned = {method: _owner_of(method, owner, named) for method in published}
    strange = [method for method in published if owned[method] is None]
    colours = colours_of([*names, *strange])
    own: dict[str, list[str]] = {name: [] for name in names}
    for name, method in owner.values():
        own[name] += [method] if method not in (*NOT_DRAWN, *own[name]) else []
    curves = []
    for curve in curves_of(panel):
        name, method = owner.get(curve.label, ("", ""))
        if method in NOT_DRAWN:
            continue
        if name:
            curve = Curve(**{**vars(curve), "colour": colours[name], "dashed": own[name].index(method) % 2 == 1})
        curves.append(curve)
    for method in published:
        name = owned[method]
        colour = colours[name if name is not None else method]
        for curve in paper_curves(panel, [r for r in paper if r.method == method], {method: colour}):
            label = curve.label if name in (None, method.lower()) else f"{name} {curve.label}"
            second = name is not None and method in own[name] and own[name].index(method) % 2 == 1
            curves.append(Curve(**{**vars(curve), "label": label, "dashed": second}))
    return curves


def _owner_of(method: str, owner: Mapping[str, tuple[str, str]], named: Collection[str]) -> str | None:
    """Return the recipe that a published method belongs to.

    That is the one of its name; else the first that answers by such a method and has no published method of its name.
    """
    if method.lower() in named:
        return method.lower()
    return next((name for name, answered in owner.values() if answered == method and name not in named), None)


def _part(name: str, task: str, shown: Sequence[tuple[Panel, Table]], curves: Callable[[Panel], list[Curve]]) -> Part:
    """Show the charts of one metric, of one that a paper has if there is one; fold the other charts and all the tables."""
    drawn = [(panel, table) for panel, table in shown if is_sweep(panel, CHARTED)]
    plain = [markdown(table) for panel, table in shown if not is_sweep(panel, CHARTED)]
    pictures: dict[str, str] = {}
    charts: list[tuple[str, str]] = []
    published = set()
    for panel, _ in drawn:
        found = [curve for curve in curves(panel) if curve.kind != "bound"]
        published |= {panel.metric} if any(curve.kind == "paper" for curve in found) else set()
        svg = settings_picture(found, panel, task=task)
        if svg:
            file = _slug(f"{name}-{task}-{panel.metric}-{'-'.join(map(str, panel.fixed.values()))}-{panel.axis[0]}")
            pictures[file] = svg
            charts.append((panel.metric, f"![{', '.join(titles(panel, task))}]({PICTURES}/{file})"))
    charts.sort(key=lambda chart: chart[0] not in published)  # stable: the metrics that a paper has come first
    groups = [[image for _, image in group] for _, group in groupby(charts, key=lambda chart: chart[0])]
    first = "\n".join(groups[0]) + "\n" if groups else ""
    rest = ["\n".join(group) + "\n" for group in groups[1:]]
    tables = [markdown(table) for _, table in drawn]
    title = f"{words(task).capitalize()}: {'other metrics, and ' if rest else ''}every number"
    hidden = folded(title, "\n".join([*rest, *tables])) if tables else ""
    return Part(text="\n".join(text for text in (first, *plain, hidden) if text), pictures=pictures)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") + ".svg"

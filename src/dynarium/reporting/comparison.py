"""Several runs on one page: what differs between them, their tables joined, their curves in the same charts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dynarium.errors import UserError
from dynarium.reporting.html import Html, join, tag
from dynarium.reporting.page import page, section
from dynarium.reporting.results_sections import compared_curves, merged_rows, short_names
from dynarium.reporting.rows import panels, words
from dynarium.reporting.runs import RunRecord, TaskRecord, read_run
from dynarium.reporting.sections import tables_shown
from dynarium.reporting.settings import is_sweep, settings_chart
from dynarium.reporting.summary import sentence
from dynarium.reporting.tables import Table, comparison_table, result_tables
from dynarium.reporting.training import training_section


def write_comparison(directories: Sequence[Path], out: Path | None = None) -> Path:
    """Write one self-contained HTML page about several runs.

    Args:
        directories: The runs, two at least; each gets the colour of its place.
        out: The file to write; ``comparison.html`` in the folder of the first run when left out.

    Returns:
        The file written.

    Raises:
        UserError: Fewer than two runs, the same run twice, or one that is no run.
    """
    places = [Path(d).resolve() for d in directories]
    if len(set(places)) < max(2, len(places)):
        raise UserError(f"runs: expected at least two different runs, got {', '.join(map(str, directories))}")
    found = [read_run(Path(d)) for d in directories]
    runs = dict(zip(_labels(found), found, strict=True))
    head = tag(
        "header",
        tag("p", f"dynarium · {len(runs)} runs compared", class_="eyebrow"),
        tag("h1", ", ".join(runs)),
        *(tag("p", tag("b", label), f": {sentence(run)}") for label, run in runs.items()),
    )
    body = join(head, _differences(runs), _results(runs), training_section(runs))
    path = Path(out) if out is not None else found[0].directory.parent / "comparison.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(page(f"{', '.join(runs)} · dynarium", body), encoding="utf-8")
    partial.replace(path)
    return path


def _labels(runs: Sequence[RunRecord]) -> list[str]:
    """Name runs by their recipes, as short as they can be told apart, or by their directories."""
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        return [run.directory.resolve().name for run in runs]
    return list(short_names(names).values())


def _differences(runs: Mapping[str, RunRecord]) -> Html:
    """Show the options in which the configurations differ."""
    flat = {label: _flat(run.config) for label, run in runs.items()}
    options = dict.fromkeys(option for values in flat.values() for option in values if option != "name")
    lines = []
    for option in options:
        values = [values.get(option, "–") for values in flat.values()]
        if len(set(values)) > 1:
            cells = (tag("td", value) for value in values)
            lines.append(tag("tr", tag("th", option, scope="row", class_="name"), *cells))
    if not lines:
        quiet = tag("p", "Their configurations are the same but for their names.", class_="quiet")
        return section("differences", "What differs", quiet)
    heads = (tag("th", label, scope="col", class_=None if i else "name") for i, label in enumerate(["option", *runs]))
    table = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *lines))
    return section("differences", "What differs", tag("div", table, class_="scroll", tabindex=0))


def _flat(values: Any, path: str = "") -> dict[str, str]:
    """Write a configuration as dotted options; the tasks, which are compared by their answers, are left out."""
    if not isinstance(values, Mapping):
        return {path: str(values)} if path else {}
    parts = [(f"{path}.{key}" if path else str(key), value) for key, value in values.items()]
    return {k: v for name, value in parts if name != "tasks" for k, v in _flat(value, name).items()}


def _results(runs: Mapping[str, RunRecord]) -> Html:
    """Show the tasks that at least two runs were asked about the same data: summaries, charts, tables."""
    asked: dict[tuple[str, ...], dict[str, TaskRecord]] = {}
    for label, run in runs.items():
        for record in run.tasks:
            about = record.task, str(record.about.get("dataset")), str(record.about.get("split"))
            asked.setdefault(about, {})[label] = record
    content: list[Html | None] = []
    for (task, dataset, split), records in asked.items():
        if len(records) < 2:
            continue
        rows = {label: record.rows for label, record in records.items()}
        merged, owner = merged_rows(rows, {label: label for label in rows})
        shown = panels(merged)
        charts = [
            settings_chart(compared_curves(panel, owner, list(runs), ()), panel, task=task)
            for panel in shown
            if is_sweep(panel)
        ]
        summary = comparison_table(task, rows)
        tables = [*([summary] if summary else []), *result_tables(task, merged)]
        content += [
            tag("h3", words(task).capitalize()),
            tag("p", f"dataset {dataset} · split {split}", class_="quiet"),
            tag("div", *charts, class_="charts wide") if charts else None,
            _folded(tables) if charts else tables_shown(tables),
        ]
    nothing = tag("p", "No two of these runs were asked the same about the same data.", class_="quiet")
    return section("results", "Results", *(content or [nothing]))


def _folded(tables: list[Table]) -> Html:
    return tag("details", tag("summary", "Every number"), tables_shown(tables))

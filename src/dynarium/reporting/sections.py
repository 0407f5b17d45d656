"""The sections of the report, each from what a run directory holds; a section without material is a quiet line."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from dynarium.reporting.charts import COLOURS, Series, area_chart, line_chart, path_chart, time_legend
from dynarium.reporting.fields import true_and_inferred
from dynarium.reporting.html import Html, join, tag
from dynarium.reporting.page import section
from dynarium.reporting.rows import Record, panels, words
from dynarium.reporting.runs import RunRecord, TaskRecord
from dynarium.reporting.samples import samples_legend, samples_of, samples_shown
from dynarium.reporting.settings import curves_of, is_sweep, settings_chart
from dynarium.reporting.strips import MOST_FRAMES, animated, ordered, strip
from dynarium.reporting.tables import Table, paper_table, result_tables
from dynarium.reporting.training import training_section

SEQUENCES = 3
"""Sequences shown in pictures of single sequences."""

MOST_TABLES = 4
"""Tables of a task that are open at once; the others can be unfolded."""


def results(run: RunRecord, paper: Sequence[Any] = ()) -> Html:
    """Show the tables of every task, and what the paper printed beside ours."""
    if not any(record.rows for record in run.tasks):
        return section("results", "Results", _quiet("No results yet: dynarium evaluate makes them."))
    content = []
    for record in run.tasks:
        words_about = [f"{k} {v}" for k in ("dataset", "split", "checkpoint") if (v := record.about.get(k))]
        content.append(tag("h3", words(record.task).capitalize()))
        content.append(_quiet(" · ".join(words_about)) if words_about else None)
        content.append(_protocol(record))
        tables = result_tables(record.task, record.rows)
        content.append(tables_shown(tables[:MOST_TABLES]))
        if rest := tables[MOST_TABLES:]:
            names = ", ".join(_caption(table) for table in rest)
            content.append(tag("details", tag("summary", f"{len(rest)} more: {names}"), tables_shown(rest)))
    if paper:
        rows = [row for record in run.tasks for row in record.rows]
        printed = [row if isinstance(row, dict) else asdict(row) for row in paper]
        table = paper_table(run.name, [{"seed": run.seed, "rows": rows, "paper": printed}])
        content.append(tag("details", tag("summary", "The paper's numbers beside ours"), tables_shown([table])))
    return section("results", "Results", *content)


def _protocol(record: TaskRecord) -> Html | None:
    """Show how the numbers of a task were made, where it says so: two numbers are comparable if these are equal."""
    protocol = record.about.get("protocol")
    if not isinstance(protocol, dict) or not protocol:
        return None
    return tag("details", tag("summary", "Protocol of these numbers"), _environment(protocol))


def films(run: RunRecord) -> Html | None:
    """Show film strips and animations of every task that left examples."""
    content: list[Html] = []
    for record in run.tasks:
        found = ordered(record.group("video"))
        if not found:
            continue
        observed, hidden = _observed(record, next(iter(found.values())).shape[:2])
        count, steps = next(iter(found.values())).shape[:2]
        content.append(tag("h3", words(record.task).capitalize()))
        if observed is not None and (~observed).any():
            swatch = tag("span", class_="swatch", aria_hidden="true")
            content.append(tag("p", swatch, f"marks a frame that the model did not see ({hidden}).", class_="quiet"))
        if steps > MOST_FRAMES:
            content.append(_quiet(f"The strips show {MOST_FRAMES} of {steps} frames; the animation shows all."))
        sampled = samples_of(record)
        content += [samples_legend(), samples_shown(*sampled)] if sampled else [animated(found, observed, hidden)]
        for b in range(min(count, SEQUENCES)):
            content.append(strip(found, b, None if observed is None else observed[b], hidden))
    return section("films", "Films", *content) if content else None


def vector_field(run: RunRecord) -> Html | None:
    """Draw the true and the inferred vector field, with one path in each, side by side."""
    pictures = [picture for record in run.tasks if (picture := true_and_inferred(record.group("field")))]
    if not pictures:
        return None
    about = _quiet(
        "Arrows: the step that is taken from states of the data, the true one and the model's, in the world's coordinates. "
        "Thick: one sequence as it was and as the model infers it. Colours: the mode that acts; grey: one without a name."
    )
    return section("field", "Vector field", about, tag("div", *pictures, class_="scroll", tabindex=0))


def metric_charts(run: RunRecord, paper: Sequence[Record] = ()) -> Html | None:
    """Draw every table whose settings are numbers as lines with bands, the paper's points among them."""
    charts, published = [], False
    for record in run.tasks:
        for panel in panels(record.rows):
            if is_sweep(panel):
                found = curves_of(panel, paper)
                published |= any(curve.kind == "paper" for curve in found)
                charts.append(settings_chart(found, panel, task=record.task))
    if not charts:
        return None
    about = "Coloured lines: the model. Dotted: bounds. Grey: baselines. Bands: one standard error over sequences."
    about += " Circles: what the paper printed." if published else ""
    return section("settings", "Across settings", _quiet(about), tag("div", *charts, class_="charts wide"))


def curves(run: RunRecord) -> Html:
    """Draw the training curves."""
    return training_section({"": run})


def latents(run: RunRecord) -> Html | None:
    """Draw the paths of the latents in the plane and over time, and the weights of the modes."""
    content: list[Html] = []
    for record in run.tasks:
        observed, hidden = _observed(record, None)
        blocks = [
            _planes(record),
            _over_time(record, observed),
            _weights(record, observed),
        ]
        if any(blocks):
            content.append(tag("h3", words(record.task).capitalize()))
            if observed is not None and (blocks[1] or blocks[2]):
                content.append(_quiet(f"Shaded stretches and amber marks: frames the model did not see ({hidden})."))
            content += [block for block in blocks if block]
    return section("latents", "Latent states", *content) if content else None


def configuration(run: RunRecord) -> Html:
    """Show configuration, environment and the commands that make this run again."""
    config = run.config_text.strip() or "config.yaml is not there."
    where = shlex.quote(str(run.directory))
    commands = "\n".join(
        [
            f"dynarium train --config {shlex.quote(str(run.directory / 'config.yaml'))}",
            f"dynarium evaluate {where}",
            f"dynarium report {where}",
        ]
    )
    return section(
        "again",
        "Make it again",
        tag(
            "p",
            "These commands train this configuration again, evaluate this run and write this page.",
        ),
        tag("pre", commands),
        tag("details", tag("summary", "Configuration"), tag("pre", config)),
        tag("details", tag("summary", "Environment"), _environment(run.environment)),
        _quiet(f"Not in this page: {'; '.join(run.missing)}.") if run.missing else None,
    )


def tables_shown(tables: list[Table]) -> Html:
    """Put tables under each other, a note that several share after the last of them."""
    content = []
    for k, table in enumerate(tables):
        content.append(_table(table))
        if k + 1 == len(tables) or tables[k + 1].note != table.note:
            content.append(tag("p", table.note, class_="note"))
    return join(*content)


def _caption(table: Table) -> str:
    """Return the title without the task, which is the heading already."""
    return table.title.partition(": ")[2] or table.title


def _table(table: Table) -> Html:
    # Short heads stay on one line, long ones may break before their value: columns as narrow as their numbers.
    columns = [c.replace(" ", "\u00a0") if len(c) <= 9 else c.replace(" = ", "\u00a0=\u00a0") for c in table.columns]
    heads = [tag("th", c, scope="col", class_="name" if i < table.labels else None) for i, c in enumerate(columns)]
    lines = []
    for line in table.rows:
        label = tag("span", f" {line.tag}", class_="tag") if line.tag else None
        cells = [tag("th", line.cells[0].text, label, scope="row", class_="name")]
        cells += [tag("td", cell.text, class_="name") for cell in line.cells[1 : table.labels]]
        for cell in line.cells[table.labels :]:
            mark = tag("span", cell.mark, class_="mark") if cell.mark else None
            value, sign, error = cell.text.partition(" ± ")
            shown = join(value, tag("span", sign, error, class_="plus") if sign else None)
            cells.append(tag("td", tag("b", shown) if cell.best else shown, mark))
        kind = " ".join(w for w, on in (("rule", line.rule), ("plain", line.tag)) if on)
        lines.append(tag("tr", *cells, class_=kind or None))
    caption = tag("caption", _caption(table))
    body = tag("table", caption, tag("thead", tag("tr", *heads)), tag("tbody", *lines))
    return tag("div", body, class_="scroll", tabindex=0)


def _planes(record: TaskRecord) -> Html | None:
    """Draw the encoded and the smoothed path of ``a`` and the true path, one chart each for a few sequences."""
    found = record.group("latent")
    lines = next((found[n] for n in ("a_smooth", "a", "a_filter") if _is_series(found.get(n), 2)), None)
    dots = found.get("a") if lines is not None and lines is not found.get("a") else None
    dots = dots if dots is not None and lines is not None and dots.shape == lines.shape else None
    charts = []
    state = record.examples.get("state")
    state = state[..., :2] if _is_series(state, 2) else None  # type: ignore[index]
    plane, about = (None, []) if lines is None else _plane(lines)
    for b in range(min(len(lines), SEQUENCES) if lines is not None else 0):
        assert lines is not None and plane is not None
        hollow = None if dots is None else plane(dots[b])
        charts.append(path_chart(plane(lines[b]), title=f"a, sequence {b + 1}", dots=hollow))
    for b in range(min(len(state), SEQUENCES) if state is not None else 0):
        assert state is not None
        charts.append(path_chart(state[b], title=f"true state, sequence {b + 1}"))
    if not charts:
        return None
    last = (lines if lines is not None else state).shape[1] - 1  # type: ignore[union-attr]
    about += ["circles: encoded from the whole film"] if dots is not None else []
    about += ["true state: its first two dimensions"] if state is not None else []
    note = f"In the plane, coloured by time; {'; '.join(about)}." if about else "In the plane, coloured by time."
    return join(_quiet(note), time_legend(last), tag("div", *charts, class_="charts paths"))


def _plane(points: np.ndarray) -> tuple[Callable[[np.ndarray], np.ndarray], list[str]]:
    """Return how to bring latents into the plane, as they are or on their two main axes, and that in words."""
    if points.shape[-1] == 2:
        return (lambda values: values), []
    flat = np.nan_to_num(points.reshape(-1, points.shape[-1]).astype(np.float64))
    centre = flat.mean(axis=0)
    axes = np.linalg.svd(flat - centre, full_matrices=False)[2][:2].T
    return (lambda values: (np.nan_to_num(values) - centre) @ axes), [f"a: the two main axes of {points.shape[-1]}"]


def _over_time(record: TaskRecord, observed: np.ndarray | None) -> Html | None:
    """Draw z (or else a) over time, a line for each dimension."""
    found = record.group("latent")
    name = next((n for n in ("z_smooth", "z", "z_filter", "a_smooth", "a") if _is_series(found.get(n), 1)), None)
    if name is None:
        return None
    charts = []
    for b, path in enumerate(found[name][:SEQUENCES]):
        steps = [float(t) for t in range(len(path))]
        dimensions = range(min(path.shape[1], COLOURS))
        series = [
            Series(label=f"{name[0]}{d + 1}", x=steps, y=path[:, d].astype(float).tolist(), colour=d + 1)
            for d in dimensions
        ]
        bands = _stretches(observed, b, len(path))
        title = f"{words(name)}, sequence {b + 1}"
        charts.append(line_chart(series, title=title, x_label="step", log=False, bands=bands))
    return _charts(charts)


def _weights(record: TaskRecord, observed: np.ndarray | None) -> Html | None:
    weights = record.examples.get("weights")
    if not _is_series(weights, 1):
        return None
    charts = []
    for b, shares in enumerate(np.nan_to_num(weights[:SEQUENCES])):  # type: ignore[index]
        missing = [
            t
            for start, end in _stretches(observed, b, len(shares))
            for t in range(round(start + 0.5), round(end + 0.5))
        ]
        charts.append(area_chart(shares.astype(float), title=f"mode weights, sequence {b + 1}", ticks=missing))
    return _charts(charts)


def _observed(record: TaskRecord, shape: tuple[int, ...] | None) -> tuple[np.ndarray | None, str]:
    """Return which frames the model saw, if the examples tell, and the word for the others."""
    mask, context = record.examples.get("mask"), record.examples.get("context")
    if mask is not None and mask.ndim == 2 and shape in (None, mask.shape):
        return mask.astype(bool), "missing"
    if context is not None and context.size == 1 and shape is not None:
        return np.broadcast_to(np.arange(shape[1]) < int(context.reshape(())), shape), "predicted"
    return None, ""


def _stretches(observed: np.ndarray | None, sequence: int, steps: int) -> list[tuple[float, float]]:
    """Return the runs of unseen steps as intervals half a step wider on both sides."""
    if observed is None or sequence >= len(observed) or observed.shape[1] != steps:
        return []
    edges = np.flatnonzero(np.diff(np.concatenate([[True], observed[sequence], [True]]).astype(int)))
    return [(float(a) - 0.5, float(b) - 0.5) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _environment(environment: dict[str, Any]) -> Html:
    if not environment:
        return _quiet("environment.json is not there.")
    items = []
    for key, value in environment.items():
        text = ", ".join(f"{k} {_plain(v)}" for k, v in value.items()) if isinstance(value, dict) else _plain(value)
        items += [tag("dt", words(str(key))), tag("dd", text or "–")]
    return tag("dl", *items)


def _plain(value: Any) -> str:
    if isinstance(value, list) and value and all(isinstance(word, str) for word in value):  # a command, as it was typed
        return shlex.join([Path(value[0]).name, *value[1:]])
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict | list):
        return yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True).strip()
    return "–" if value is None else str(value)


def _charts(charts: list[Html]) -> Html:
    return tag("div", *charts, class_="charts")


def _quiet(text: str) -> Html:
    return tag("p", text, class_="quiet")


def _is_series(value: Any, least: int) -> bool:
    """Tell whether an array is [b, t, d] of numbers with at least ``least`` dimensions d."""
    return isinstance(value, np.ndarray) and value.ndim == 3 and value.dtype.kind in "fiu" and value.shape[2] >= least


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

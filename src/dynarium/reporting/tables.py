"""Tables of results: the model beside its trivial baselines, the paper beside us; for terminal, Markdown and HTML."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median, stdev
from typing import Any

from dynarium.reporting.rows import (
    OF_THE_ANSWER,
    Panel,
    Record,
    baseline_tag,
    higher_is_better,
    is_ordered,
    number,
    panels,
    record_of,
    with_intervals,
    words,
)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell: its text, whether it is the model's best and beats every baseline, or a mark: what it loses to."""

    text: str
    best: bool = False
    mark: str = ""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a table; ``rule`` draws a line above it, ``tag`` names its kind (``trivial``, ``bound``)."""

    cells: tuple[Cell, ...]
    tag: str = ""
    rule: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table, independent of how it is printed; the first ``labels`` columns are names, the others numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Line, ...]
    note: str = ""
    labels: int = 1


def result_tables(task: str, rows: Iterable[Any], *, over: str = "sequences") -> list[Table]:
    """Make the tables of a task's rows (mappings or ``types.Row``): one for each metric and kind of mask.

    A row is a method, a column a setting, a cell value ± standard error (``over`` says over what). In each column the
    best of the model's methods is marked best where it beats every trivial baseline; where not, with what it loses to.
    """
    return [_result_table(task, panel, over) for panel in panels(rows)]


def paper_table(recipe: str, records: Sequence[Mapping[str, Any]]) -> Table:
    """Put a paper's numbers beside ours.

    Args:
        recipe: Name of the recipe.
        records: One mapping for each seed, as ``dynarium reproduce`` writes them: ``seed``, ``rows``, ``paper``, ...

    Returns:
        For each number of the paper: paper | ours | difference, then the trivial baselines at the same settings. A standard
        error of the paper's is shown where it printed one. Ours is the mean over seeds ± the standard error over seeds; of a
        single seed ± the standard error over sequences. Where not every seed has a finite value, the cell says how many have.
    """
    ours = [[record_of(row) for row in record.get("rows") or ()] for record in records]
    paper = [record_of(row) for row in (records[0].get("paper") or () if records else ())]
    baselines: dict[tuple[str, str], Record] = {}
    for wanted in paper:
        for found in (r for rows in ours for r in rows if r.kind == "baseline" and _answers(r, wanted)):
            baselines.setdefault((found.method, f"{found.metric} {found.condition}"), found)
    everything = [*paper, *sorted(baselines.values(), key=lambda r: (r.metric, str(r.condition.get("mask")), r.method))]
    pooled = [_pool(ours, record) for record in everything]
    printed = [len(f"{record.value:.6f}".rstrip("0").partition(".")[2]) for record in paper]
    # No digit that the paper printed is lost.
    digits = max([_decimals([record.value for record in everything if math.isfinite(record.value)]), *printed])
    lines: list[Line] = []
    before = None
    for i, (record, (value, error, n)) in enumerate(zip(everything, pooled, strict=True)):
        trivial = i >= len(paper)
        group = (trivial, record.metric, record.method, [v for v in record.condition.values() if isinstance(v, str)])
        published = "–" if trivial else _with_error(record.value, record.standard_error, digits)
        difference = "–" if trivial or not math.isfinite(value) else f"{value - record.value:+.{digits}f}"
        cells = (words(record.metric), _setting(record), record.method, published, _with_error(value, error, digits))
        if 0 < n < len(records):
            cells = (*cells[:-1], f"{cells[-1]} ({n} of {len(records)} seeds)")
        better = (value > record.value) == higher_is_better(record.metric) and value != record.value
        last = Cell(text=difference, best=difference != "–" and better)
        rule = before is not None and group != before
        lines.append(
            Line(
                cells=(*(Cell(text=t) for t in cells), last),
                tag=baseline_tag(record.method) if trivial else "",
                rule=rule,
            )
        )
        before = group
    seeds = [str(record.get("seed", "?")) for record in records]
    spread = (
        f"mean ± standard error over {len(seeds)} seeds"
        if len(seeds) > 1
        else "one seed, ± standard error over sequences"
    )
    return Table(
        title=f"{recipe}: the paper's numbers beside ours",
        columns=("metric", "setting", "method", "paper", "ours", "difference"),
        rows=tuple(lines),
        note=f"ours: {spread} (seed {', '.join(seeds)}). Bold difference: ours is better."
        if seeds
        else "no results yet",
        labels=3,
    )


def comparison_table(task: str, recipes: Mapping[str, Sequence[Any]]) -> Table | None:
    """Put recipes that were asked the same task about the same data side by side: a row a method, a column a summary.

    A summary is a metric that has one setting only, e.g. a mean over the horizon; numbers of single tasks are left out.
    In each column the best of the models is marked best where it beats every trivial row; where not, with what it loses
    to. The trivial rows, which are the same for all, stand below.

    Args:
        task: Name of the task.
        recipes: Recipe -> its rows of that task, mappings or ``types.Row``.

    Returns:
        The table; ``None`` where there is nothing to compare.
    """
    records = {name: [r for r in with_intervals(rows) if "task" not in r.condition] for name, rows in recipes.items()}
    settings: dict[str, set[str]] = {}
    for record in (r for found in records.values() for r in found):
        asked = sorted((k, v) for k, v in record.condition.items() if k not in OF_THE_ANSWER)
        settings.setdefault(record.metric, set()).add(str(asked))
    metrics = [metric for metric, conditions in settings.items() if len(conditions) == 1]
    cells: dict[tuple[str, str], dict[str, Record]] = {}
    for name, found in records.items():
        for record in found:
            if record.metric in metrics:
                row = ("", record.method) if record.kind == "baseline" else (name, record.method)
                cells.setdefault(row, {}).setdefault(record.metric, record)
    if len({name for name, _ in cells if name}) < 2:
        return None
    digits, leading = {}, {}
    for metric in metrics:
        column = [row[metric] for row in cells.values() if metric in row]
        digits[metric] = _decimals([r.value for r in column], [r.standard_error for r in column])
        finite = [r for r in column if math.isfinite(r.value)]
        order = sorted(finite, key=lambda r: r.value, reverse=higher_is_better(metric))
        first = next((r for r in order if r.kind == "model"), None)
        better = [r.method for r in order[: order.index(first)] if r.kind == "baseline"] if first else []
        leading[metric] = first, f"loses to {better[0]}" if better else ""
    lines: list[Line] = []
    for trivial in (False, True):
        for (name, method), row in cells.items():
            if (not name) == trivial:
                found = [row.get(metric) for metric in metrics]
                texts = ["–" if r is None else _with_error(r.value, r.standard_error, digits[r.metric]) for r in found]
                marks = [leading[r.metric][1] if r and r is leading[r.metric][0] else None for r in found]
                numbers = [
                    Cell(text=text, best=mark == "", mark=mark or "") for text, mark in zip(texts, marks, strict=True)
                ]
                rule = trivial and not any(line.tag for line in lines)
                labels = (Cell(text=name or "any"), Cell(text=method))
                lines.append(Line(cells=(*labels, *numbers), tag=baseline_tag(method) if trivial else "", rule=rule))
    return Table(
        title=task,
        columns=("recipe", "method", *map(words, metrics)),
        rows=tuple(lines),
        note="Mean over seeds ± its standard error; of one seed ± the standard error over sequences. "
        "Bold: the best model, where it beats every baseline.",
        labels=2,
    )


def print_table(table: Table) -> None:
    """Print a table with rich, in as many parts as the terminal's width asks for; plain where there is no terminal."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console = Console(width=10_000, no_color=True)
    console.print(Text(table.title, "bold"))
    for columns in _parts(table, console.width):
        console.print(_rich(table, columns))
    if table.note:
        console.print(Text(table.note, "dim"))


def _parts(table: Table, width: int) -> list[list[int]]:
    """Cut the columns into groups that fit beside the labels; a group holds at least one column."""
    cells = [
        [column, *(text for r in table.rows for text in _lines(r, i, table.labels))]
        for i, column in enumerate(table.columns)
    ]
    widths = [2 + max(len(text) for text in texts) for texts in cells]
    free = width - sum(widths[: table.labels])
    parts: list[list[int]] = [[]]
    for i in range(table.labels, len(widths)):
        if parts[-1] and sum(widths[k] for k in parts[-1]) + widths[i] > free:
            parts.append([])
        parts[-1].append(i)
    return parts


def _lines(line: Line, i: int, labels: int) -> tuple[str, str]:
    tag = f" ({line.tag})" if line.tag and i == labels - 1 else ""
    return line.cells[i].text + tag, line.cells[i].mark


def _rich(table: Table, columns: Sequence[int]) -> Any:
    """Draw the labels and some columns of a table."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    chosen = [*range(table.labels), *columns]
    drawn = RichTable(box=box.HORIZONTALS, pad_edge=False)
    for i in chosen:
        drawn.add_column(Text(table.columns[i]), justify="left" if i < table.labels else "right", no_wrap=True)
    for line in table.rows:
        if line.rule:
            drawn.add_section()
        texts = []
        for i in chosen:
            text, mark = _lines(line, i, table.labels)
            style = "bold" if line.cells[i].best else ""
            texts.append(Text.assemble((text, style), (f"\n{mark}" if mark else "", "red")))
        drawn.add_row(*texts, style="dim" if line.tag else None)
    return drawn


def markdown(table: Table) -> str:
    """Write a table as Markdown, title and note included."""
    head = [f"**{_escaped(table.title)}**", "", "| " + " | ".join(map(_escaped, table.columns)) + " |"]
    head.append("|" + "|".join(" :-- " if i < table.labels else " --: " for i in range(len(table.columns))) + "|")
    body = []
    for line in table.rows:
        cells = [f"**{_escaped(c.text)}**" if c.best else _escaped(c.text) for c in line.cells]
        cells = [text + (f" ({_escaped(c.mark)})" if c.mark else "") for text, c in zip(cells, line.cells, strict=True)]
        if line.tag:
            cells[table.labels - 1] += f" *({line.tag})*"
        body.append("| " + " | ".join(cells) + " |")
    return "\n".join([*head, *body, *(["", _escaped(table.note)] if table.note else [])]) + "\n"


def _result_table(task: str, panel: Panel, over: str) -> Table:
    records = panel.points.values()
    digits = _decimals([r.value for r in records], [r.standard_error for r in records])
    emphasis = {setting: _verdict(panel, setting) for setting in panel.settings}
    bracketed = over == "sequences" and any(r.interval for r in records)
    lines, before = [], None
    for method, kind in panel.methods.items():
        cells = [Cell(text=method)]
        for setting in panel.settings:
            record = panel.points.get((method, setting))
            best, mark = emphasis[setting].get(method, (False, "")) if kind == "model" else (False, "")
            text = _measured(record, digits, bracketed) if record else "–"
            cells.append(Cell(text=text, best=best, mark=mark))
        tag = {"model": "", "bound": "bound", "baseline": baseline_tag(method)}[kind]
        lines.append(Line(cells=tuple(cells), tag=tag, rule=before is not None and before != kind))
        before = kind
    sizes = sorted({record.n for record in records if record.n})
    count = f"{sizes[0]} " if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]} " if sizes else ""
    spread = f"{count}sequences" if over == "sequences" else f"{over} of {count}sequences"
    arrow = "higher" if higher_is_better(panel.metric) else "lower"
    kinds = set(panel.methods.values())
    ordered = is_ordered(panel.metric)
    what = "Over {}, with 95 % intervals" if bracketed else "Mean ± standard error over {}"
    notes = [what.format(spread) + (f"; {arrow} is better." if ordered else ".")]
    compared = ordered and {"model", "baseline"} <= kinds
    notes += ["Bold: the model's best, where it beats every baseline."] if compared else []
    notes += ["A bound has seen what the others must infer, or is the data themselves."] if "bound" in kinds else []
    return Table(
        title=f"{task}: {panel.title}",
        columns=("method", *map(panel.label, panel.settings)),
        rows=tuple(lines),
        note=" ".join(notes),
    )


def _verdict(panel: Panel, setting: tuple[Any, ...]) -> dict[str, tuple[bool, str]]:
    """Return, for the model's best method at a setting, whether it beats every baseline, or else which it does not."""
    model, trivial = panel.at(setting, "model"), panel.at(setting, "baseline")
    if not model or not is_ordered(panel.metric):
        return {}
    best = model[0]
    trivial = [record for record in trivial if 2 * record.n >= best.n]  # how fast a goal was reached, of one that was
    if not trivial:
        return {best.method: (True, "")}
    rival = trivial[0]
    if best.value == rival.value:
        return {best.method: (False, f"ties with {rival.method}")}
    wins = (best.value > rival.value) == higher_is_better(panel.metric)
    return {best.method: (True, "") if wins else (False, f"loses to {rival.method}")}


def _answers(ours: Record, wanted: Record) -> bool:
    """Tell whether our record is of the metric and setting of the wanted one; ours may say more about its setting."""
    return ours.metric == wanted.metric and all(ours.condition.get(k) == v for k, v in wanted.condition.items())


def _pool(seeds: list[list[Record]], wanted: Record) -> tuple[float, float, int]:
    """Return mean and standard error of one number over seeds (of a single seed: over sequences), and how many have it."""
    firsts = [next((r for r in rows if r.method == wanted.method and _answers(r, wanted)), None) for rows in seeds]
    found = [record for record in firsts if record is not None and math.isfinite(record.value)]
    if not found:
        return math.nan, math.nan, 0
    values = [record.value for record in found]
    single = found[0].standard_error if len(seeds) == 1 else math.nan
    return mean(values), stdev(values) / math.sqrt(len(values)) if len(values) > 1 else single, len(values)


def _setting(record: Record) -> str:
    return ", ".join(str(v) if isinstance(v, str) else f"{words(k)} = {number(v)}" for k, v in record.condition.items())


def _decimals(values: Iterable[float], errors: Iterable[float] = ()) -> int:
    """Choose the decimals: two digits of the smallest value, one more where the typical error needs it, six at most."""
    sizes = [abs(v) for v in values if math.isfinite(v) and abs(v) > 1e-6]
    spreads = [e for e in errors if math.isfinite(e) and e > 1e-6]
    digits = 1 - math.floor(math.log10(min(sizes))) if sizes else 2
    if spreads and -math.floor(math.log10(median(spreads))) > digits:
        digits += 1
    return min(6, max(0, digits))


def _fixed(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"


def _measured(record: Record, digits: int, bracketed: bool) -> str:
    """Write a value with its interval, where there is one, or else with its standard error."""
    if bracketed and record.interval and math.isfinite(record.value):
        low, high = record.interval
        return f"{_fixed(record.value, digits)} [{_fixed(low, digits)}, {_fixed(high, digits)}]"
    return _with_error(record.value, record.standard_error, digits)


def _with_error(value: float, error: float, digits: int) -> str:
    return _fixed(value, digits) + (f" ± {error:.{digits}f}" if math.isfinite(value) and math.isfinite(error) else "")


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")

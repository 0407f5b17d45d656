"""The page of results in the documentation, written from ``results/<recipe>/*.json`` and from nothing else.

``python -m dynarium.reporting.results_page results docs/results.md``
"""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from dynarium.errors import UserError
from dynarium.reporting.results_sections import PICTURES, Part, compared_part, folded, join, task_part
from dynarium.reporting.rows import Record, record_of, words
from dynarium.reporting.tables import markdown, paper_table

HEAD = """\
# Results

<!-- Written by `python -m dynarium.reporting.results_page`; changes by hand are lost. -->

Every number on this page comes from a file in `results/`, which says with which commit, versions and hardware it was
made. A recipe's experiment is run again by `dynarium reproduce RECIPE`.
"""


def results_page(results: Path) -> Part:
    """Write the page of all recipes in a folder of results: Markdown, and the pictures it shows.

    Raises:
        UserError: The folder does not exist, or a file in it is no record of results.
    """
    results = Path(results)
    if not results.is_dir():
        raise UserError(f"results: expected a folder of results, got {str(results)!r}, which is no directory")
    recipes = {d.name: [_read(f) for f in sorted(d.glob("*.json"))] for d in sorted(results.iterdir()) if d.is_dir()}
    parts = [_recipe(name, sorted(records, key=_seed)) for name, records in recipes.items() if records]
    return join([Part(text=HEAD), *_compared(recipes), *(parts or [Part(text="There are no results yet.\n")])])


def _compared(recipes: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Part]:
    """Write a section for every dataset about which several recipes were asked the same."""
    about: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for name, records in recipes.items():
        if records and records[0].get("data"):
            about.setdefault(str(records[0]["data"]), {})[name] = pooled(records)
    parts = []
    for rows in about.values():
        tasks = dict.fromkeys(str(row.get("task")) for found in rows.values() for row in found)
        asked = {
            task: {n: [r for r in found if str(r.get("task")) == task] for n, found in rows.items()} for task in tasks
        }
        paper = list({str(record): record for name in rows for record in _published(recipes[name])}.values())
        section = join(compared_part(task, found, paper) for task, found in asked.items())
        if section.text:
            parts += [Part(text=f"## Compared: {', '.join(rows)}\n"), section]
    return parts


def _published(records: Sequence[Mapping[str, Any]]) -> list[Record]:
    return [record_of(row) for row in (records[0].get("paper") or () if records else ())]


def pooled(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of several seeds as one: the mean over seeds, and the standard error over seeds.

    Of a number that only one seed has, the row stays as it is, with its standard error over sequences.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        for row in record.get("rows") or ():
            key = json.dumps([row.get(k) for k in ("task", "method", "metric", "condition")], sort_keys=True)
            groups.setdefault(key, []).append(row)
    found = []
    for rows in groups.values():
        values = [
            row["value"] for row in rows if isinstance(row.get("value"), int | float) and math.isfinite(row["value"])
        ]
        if len(values) > 1:
            rows = [{**rows[0], "value": mean(values), "standard_error": stdev(values) / math.sqrt(len(values))}]
        found.append(rows[0])
    return found


def _recipe(name: str, records: list[dict[str, Any]]) -> Part:
    parts = []
    rows = pooled(records)
    over = f"{len(records)} seeds" if len(records) > 1 else "sequences"
    for task in dict.fromkeys(str(row.get("task", "results")) for row in rows):
        asked = [row for row in rows if str(row.get("task", "results")) == task]
        parts.append(task_part(name, task, asked, _published(records), over))
    if any(record.get("paper") for record in records):
        table = paper_table(name, records)
        text = markdown(table)
        parts.append(Part(text=folded("The paper's numbers beside ours", text) if len(table.rows) > 12 else text))
    made = folded("How it was made: commits, hardware, versions", _provenance(records))
    return join([Part(text=f"## {name}\n"), *parts, Part(text=made)])


def _provenance(records: list[dict[str, Any]]) -> str:
    lines = [
        "| seed | trained with | evaluated with | training | hardware | versions |",
        "| --: | :-- | :-- | --: | :-- | :-- |",
    ]
    for record in records:
        seconds = record.get("training_seconds")
        minutes = f"{seconds / 60:.1f} min" if isinstance(seconds, int | float) else "–"
        commits = (f"`{str(record[k])[:10]}`" if record.get(k) else "–" for k in ("commit", "evaluated"))
        cells = [
            str(record.get("seed", "–")),
            *commits,
            minutes,
            _flat(record.get("hardware")),
            _flat(record.get("versions")),
        ]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{words(str(k))} {v}" for k, v in value.items() if v is not None) or "–"
    return str(value) if value else "–"


def _seed(record: Mapping[str, Any]) -> tuple[bool, Any]:
    seed = record.get("seed")
    return (False, seed) if isinstance(seed, int) else (True, str(seed))


def _read(file: Path) -> dict[str, Any]:
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"results: {file} cannot be read ({error})") from None
    if not isinstance(record, dict) or not isinstance(record.get("rows"), list):
        raise UserError(f"results: {file}: expected a mapping with rows, as dynarium reproduce writes it")
    return record


def _write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page: the arguments are the folder of results and the Markdown file; pictures go into a folder beside it."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if len(arguments) != 2:
        print("usage: python -m dynarium.reporting.results_page RESULTS FILE.md", file=sys.stderr)
        return 2
    try:
        page = results_page(Path(arguments[0]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    path = Path(arguments[1])
    pictures = path.parent / PICTURES
    pictures.mkdir(parents=True, exist_ok=True)
    for file in pictures.glob("*.svg"):
        if file.name not in page.pictures:
            file.unlink()
    for name, svg in page.pictures.items():
        _write(pictures / name, svg)
    _write(path, page.text)
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""The pages of results in the documentation, written from ``results/<recipe>/*.json`` and from nothing else.

``results.md`` compares the recipes that were asked the same about the same data; ``results/RECIPE.md`` has every number of one.

``python -m dynarium.reporting.results_page results docs``
"""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from dynarium.errors import UserError
from dynarium.reporting.results_sections import PICTURES, Part, compared_part, folded, join, protocols, task_part
from dynarium.reporting.rows import Record, record_of, words
from dynarium.reporting.tables import markdown, paper_table

STUDY_PAGE = "study.md"
"""Name of the file in the folder of a study that says what it found; its pictures lie beside it."""

HEAD = """\
# Results

<!-- Written by `python -m dynarium.reporting.results_page`; changes by hand are lost. -->

Every number on this page comes from a file in `results/`, which says with which commit, versions and hardware it was
made. A recipe's experiment is run again by `dynarium reproduce RECIPE`.
"""


def results_pages(results: Path) -> dict[str, Part]:
    """Write the pages of all recipes in a folder of results: file name -> Markdown, and the pictures it shows.

    Raises:
        UserError: The folder does not exist, or a file in it is no record of results.
    """
    results = Path(results)
    if not results.is_dir():
        raise UserError(f"results: expected a folder of results, got {str(results)!r}, which is no directory")
    recipes = {d.name: [_read(f) for f in sorted(d.glob("*.json"))] for d in sorted(results.iterdir()) if d.is_dir()}
    recipes = {name: sorted(records, key=_seed) for name, records in recipes.items() if records}
    studies = {file.parent.name: file for file in sorted(results.glob(f"*/{STUDY_PAGE}"))}
    pages = {f"results/{name}.md": _recipe(name, records) for name, records in recipes.items()}
    trainings = {name: _trainings(file) for name, file in studies.items()}
    pages |= {f"results/{name}.md": _study(name, file, trainings[name]) for name, file in studies.items()}
    front = [Part(text=HEAD), *_compared(recipes), _studies(trainings), _contents(recipes)]
    return {"results.md": join(front)} | pages


def _studies(trainings: Mapping[str, str]) -> Part:
    """List the studies, each with a link to its page and what it took."""
    if not trainings:
        return Part(text="")
    lines = ["## Studies\n", *(f"- [{name}](results/{name}.md): {took}" for name, took in trainings.items())]
    return Part(text="\n".join(lines) + "\n")


def _study(name: str, file: Path, took: str) -> Part:
    """Show what a study found, as it wrote it down."""
    text, pictures = file.read_text(encoding="utf-8"), {}
    for picture in sorted(file.parent.glob("*.svg")):
        pictures[f"{name}-{picture.name}"] = picture.read_text(encoding="utf-8")
        text = text.replace(f"]({picture.name})", f"](../{PICTURES}/{name}-{picture.name})")
    head = f"# {name}\n\n{took}. [All results](../results.md)\n"
    return Part(text=f"{head}\n{text}", pictures=pictures)


def _trainings(file: Path) -> str:
    """Say how many trainings a study took, and how long."""
    records = [_read(found) for found in sorted(file.parent.glob("*/*.json"))]
    seconds = [s for record in records if isinstance(s := record.get("training_seconds"), int | float)]
    hardware = dict.fromkeys(_flat(record.get("hardware")) for record in records)
    return f"{len(records)} trainings of {sum(seconds) / 3600:.1f} h in all ({'; '.join(hardware)})"


def _contents(recipes: Mapping[str, Sequence[Mapping[str, Any]]]) -> Part:
    """List the recipes, each with a link to its page."""
    if not recipes:
        return Part(text="There are no results yet.\n")
    lines = ["## Every recipe\n", "| recipe | seeds | asked | training |", "| :-- | --: | :-- | --: |"]
    for name, records in recipes.items():
        tasks = dict.fromkeys(str(row.get("task", "results")) for row in records[0]["rows"])
        lines.append(f"| [{name}](results/{name}.md) | {len(records)} | {', '.join(tasks)} | {_minutes(records[0])} |")
    return Part(text="\n".join(lines) + "\n")


def _compared(recipes: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Part]:
    """Write a section for every dataset about which several recipes were asked the same."""
    about: dict[str, dict[str, list[dict[str, Any]]]] = {}
    # Published points go to the first recipe that answers by such a method: those that have a paper come first.
    for name, records in sorted(recipes.items(), key=lambda item: not (item[1] and item[1][0].get("paper"))):
        if records and records[0].get("data"):
            about.setdefault(str(records[0]["data"]), {})[name] = pooled(records)
    parts = []
    for rows in about.values():
        tasks = dict.fromkeys(str(row.get("task")) for found in rows.values() for row in found)
        asked = {
            task: {n: [r for r in found if str(r.get("task")) == task] for n, found in rows.items()} for task in tasks
        }
        paper = _published_once([recipes[name] for name in rows])
        section = join(compared_part(task, found, paper) for task, found in asked.items())
        if section.text:
            parts += [Part(text=f"## Compared: {', '.join(rows)}\n"), section]
    return parts


def _published(records: Sequence[Mapping[str, Any]]) -> list[Record]:
    return [record_of(row) for row in (records[0].get("paper") or () if records else ())]


def _published_once(recipes: Sequence[Sequence[Mapping[str, Any]]]) -> list[Record]:
    """Return what was published about some recipes, each number once: as the recipe with the longest table calls it."""
    kept: list[Record] = []
    for records in sorted(map(_published, recipes), key=len, reverse=True):
        known = {(row.metric, str(row.condition), row.value) for row in kept}
        kept += [row for row in records if (row.metric, str(row.condition), row.value) not in known]
    return kept


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
    head = f"# {name}\n\nRun again by `dynarium reproduce {name}`. [All results](../results.md)\n"
    page = join([Part(text=head), *parts, Part(text=protocols(records)), Part(text=made)])
    return replace(page, text=page.text.replace(f"]({PICTURES}/", f"](../{PICTURES}/"))  # a folder deeper


def _provenance(records: list[dict[str, Any]]) -> str:
    lines = [
        "| seed | trained with | evaluated with | training | hardware | versions |",
        "| --: | :-- | :-- | --: | :-- | :-- |",
    ]
    for record in records:
        commits = (f"`{str(record[k])[:10]}`" if record.get(k) else "–" for k in ("commit", "evaluated"))
        cells = [
            str(record.get("seed", "–")),
            *commits,
            _minutes(record),
            _flat(record.get("hardware")),
            _flat(record.get("versions")),
        ]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _minutes(record: Mapping[str, Any]) -> str:
    seconds = record.get("training_seconds")
    return f"{seconds / 60:.1f} min" if isinstance(seconds, int | float) else "–"


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
    """Write the pages: the arguments are the folder of results and that of the documentation."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if len(arguments) != 2:
        print("usage: python -m dynarium.reporting.results_page RESULTS DOCS", file=sys.stderr)
        return 2
    try:
        pages = results_pages(Path(arguments[0]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    docs, files = Path(arguments[1]), {name: page.text for name, page in pages.items()}
    files |= {f"{PICTURES}/{name}": svg for page in pages.values() for name, svg in page.pictures.items()}
    for folder, kind in (("results", "*.md"), (PICTURES, "*.svg")):
        (docs / folder).mkdir(parents=True, exist_ok=True)
        for file in (docs / folder).glob(kind):
            if f"{folder}/{file.name}" not in files:
                file.unlink()
    for name, text in files.items():
        _write(docs / name, text)
    print(f"wrote {docs / 'results.md'} and {len(pages) - 1} pages of recipes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

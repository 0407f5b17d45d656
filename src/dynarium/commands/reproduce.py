"""``dynarium reproduce``: run a paper's experiment and print its numbers beside ours."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from dynarium.commands.parse import parse


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train a recipe once per seed, evaluate it, and print the paper's value | ours | the difference.

    Where a paper printed nothing comparable, ours alone is printed. A seed whose results are in the results folder already
    is not run again (--force runs it); an interrupted one goes on from its last checkpoint. Dotted options override the
    recipe as in ``dynarium train``.
    """

    recipe: Annotated[str, tyro.conf.Positional]
    """The recipe, e.g. kvae-fraccaro2017."""
    tier: str | None = None
    """A size of the recipe, e.g. cpu or paper, where it has several; its default when left out."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the training."""
    out: Path = Path("results")
    """Folder of the results: one JSON file a seed, in a folder named after the recipe (and tier)."""
    runs: Path = Path("runs")
    """Folder of the run directories."""
    force: bool = False
    """Run seeds again that have results."""


def reproduce(arguments: Sequence[str], prog: str) -> None:
    """Parse and run ``dynarium reproduce``."""
    options, dotted = parse(Options, arguments, prog, allow_unknown=True)

    from dynarium import config
    from dynarium.recipes import experiment_of, paper_of

    base = config.resolve(experiment_of(options.recipe, tier=options.tier), arguments=dotted, prog=prog)
    records = []
    for seed in options.seeds:
        file = options.out / base.name / f"seed-{seed}.json"
        if options.force or not file.exists():
            experiment = replace(base, training=replace(base.training, seed=seed))
            record = _run(experiment, seed, options.runs, paper_of(options.recipe))
            file.parent.mkdir(parents=True, exist_ok=True)
            partial = file.with_suffix(".partial")
            partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
            partial.replace(file)
        records.append(json.loads(file.read_text(encoding="utf-8")))
    _print(base.name, records)


def _run(experiment: Any, seed: int, runs: Path, paper: Sequence[Any]) -> dict[str, Any]:
    from dynarium.recipes import find_run, train
    from dynarium.training import here

    run = train(experiment, runs=runs, resume=find_run(experiment, runs))
    start, rows = time.time(), []
    for task in experiment.tasks:
        result = task.run(run.model, run.dataset)
        run.files.write_result(result, dataset=str(run.dataset.directory), split=task.split, checkpoint=run.checkpoint)
        rows += [asdict(row) | {"task": result.task} for row in result.rows]
    trained = run.files.read_environment()
    return {
        "recipe": experiment.name,
        "seed": seed,
        "commit": trained.get("commit"),
        "versions": trained.get("versions"),
        "hardware": trained.get("hardware"),
        "precision": trained.get("precision"),
        "evaluated": here()["commit"],
        "data": run.dataset.schema.content_hash,
        "training_seconds": run.files.read_metrics()[-1]["seconds"],
        "evaluation_seconds": round(time.time() - start, 1),
        "rows": rows,
        "paper": [asdict(row) | {"standard_error": None} for row in paper],
    }


def _print(recipe: str, records: list[dict[str, Any]]) -> None:
    from dynarium.reporting.results_page import pooled
    from dynarium.reporting.tables import paper_table, print_table, result_tables

    if any(record["paper"] for record in records):
        print_table(paper_table(recipe, records))
        return
    rows = pooled(records)
    for task in dict.fromkeys(row["task"] for row in rows):
        over = f"{len(records)} seeds" if len(records) > 1 else "sequences"
        for table in result_tables(task, [row for row in rows if row["task"] == task], over=over):
            print_table(table)

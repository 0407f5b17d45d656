"""``dynarium reproduce``: run a paper's experiment, or a study of many, and print its numbers beside ours."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from dynarium.commands.parse import Backend, parse
from dynarium.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train a recipe once per seed, evaluate it, and print the paper's value | ours | the difference.

    Our numbers come first, beside the trivial answers; then the paper's beside ours, where it printed some. A seed whose
    results are in the results folder already is not run again (--force runs it), and refused if they were made with other
    options; an interrupted one goes on from its last checkpoint. Dotted options override the recipe as in ``dynarium
    train``. A study (jepa-slow-features, stochastic-bounces) is run the same way, condition by condition, and may be
    narrowed down: --methods vicreg contrast --noise fixed-uniform --levels 0 1.
    """

    recipe: Annotated[str, tyro.conf.Positional]
    """The recipe, e.g. kvae-fraccaro2017, or a study, e.g. jepa-slow-features."""
    data: str | None = None
    """A world, or the directory of a dataset; the recipe's own when left out."""
    tier: str | None = None
    """A size of the recipe, e.g. cpu or paper, where it has several; its default when left out."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the training."""
    out: Path = Path("results")
    """Folder of the results: one JSON file a seed, in a folder named after the recipe (and tier)."""
    runs: Path = Path("runs")
    """Folder of the run directories."""
    workers: int = 1
    """Trainings at a time, each in a process of its own."""
    backend: Backend = "loky"
    """Where the processes are: on this machine, or on a cluster that shares the file system."""
    scheduler: str | None = None
    """Address of the cluster; without it a local one is started."""
    force: bool = False
    """Run seeds again that have results."""


def reproduce(arguments: Sequence[str], prog: str) -> None:
    """Parse and run ``dynarium reproduce``."""
    options, rest = parse(Options, arguments, prog, allow_unknown=True)
    if options.workers < 1:
        raise UserError(f"--workers: expected at least 1, got {options.workers}")

    from dynarium.recipes import STUDIES

    run: dict[str, Any] = {"runs": options.runs, "workers": options.workers, "force": options.force}
    run |= {"backend": options.backend, "scheduler": options.scheduler}
    if options.recipe in STUDIES:
        if options.data is not None:
            raise UserError(f"--data: {options.recipe} is a study, which has worlds of its own; got {options.data!r}")
        _reproduce_study(options, rest, prog, run)
    else:
        _reproduce_recipe(options, rest, prog, run)


def _reproduce_recipe(options: Options, dotted: Sequence[str], prog: str, run: dict[str, Any]) -> None:
    from dynarium import config
    from dynarium.recipes import experiment_of, paper_of
    from dynarium.recipes.study import Cell, run_cells
    from dynarium.reporting.results_page import pooled
    from dynarium.reporting.study_figures import split_tables
    from dynarium.reporting.tables import paper_table, print_table, result_tables

    base = config.resolve(experiment_of(options.recipe, options.data, options.tier), arguments=dotted, prog=prog)
    paper = paper_of(base)
    seeds = [replace(base, training=replace(base.training, seed=seed)) for seed in dict.fromkeys(options.seeds)]
    cells = [Cell(experiment=experiment, condition={}, paper=paper) for experiment in seeds]
    records = run_cells(cells, options.out / base.name, **run)
    rows = pooled(records)
    for task in dict.fromkeys(row["task"] for row in rows):
        over = f"{len(records)} seeds" if len(records) > 1 else "sequences"
        tables = result_tables(task, [row for row in rows if row["task"] == task], over=over)
        for table in split_tables(tables)[0] or tables:
            print_table(table)
    if any(record["paper"] for record in records):
        print_table(paper_table(base.name, records))


def _reproduce_study(options: Options, rest: Sequence[str], prog: str, run: dict[str, Any]) -> None:
    """Run what is missing of a study; print its table and its claims, and draw its figure."""
    from dynarium.recipes import STUDIES
    from dynarium.recipes.study import cells_of, every_record, run_cells
    from dynarium.reporting.pictures import save
    from dynarium.reporting.results_page import STUDY_PAGE
    from dynarium.reporting.study_figures import split_tables, study_page
    from dynarium.reporting.tables import print_table

    words = [*rest, "--tier", options.tier] if options.tier else list(rest)
    study = parse(STUDIES[options.recipe], words, prog)
    cells = cells_of(study, options.seeds)
    if not cells:
        raise UserError(f"{study.name}: nothing to run: no method has that noise at that level")
    out = options.out / study.name
    missing = sum(options.force or not (out / cell.file).exists() for cell in cells)
    print(f"{study.name}: {len(cells)} trainings, {missing} of them to run", file=sys.stderr, flush=True)
    done = _counter(missing)
    records = run_cells(cells, out, metrics=study.metrics, quiet=True, done=done, **run)
    whole = every_record(study, out)  # the page is of the whole study, whatever was asked for now
    tables, pictures = _shown(study, whole)
    asked = tables if len(whole) == len(records) else _shown(study, records)[0]
    for table in split_tables(asked)[0]:
        print_table(table)
    for name, text in {**pictures, STUDY_PAGE: study_page(tables, pictures, whole)}.items():
        save(out / name, lambda file, text=text: file.write(text.encode()))
    for name in pictures:
        print(f"figure: {out / name}")
    print(f"every number: {out / STUDY_PAGE}")


def _shown(study: Any, records: Sequence[Any]) -> tuple[list[Any], dict[str, str]]:
    """Return the tables of some records of a study, its claims among them, and its pictures."""
    from dynarium.reporting.study_figures import FIGURES
    from dynarium.reporting.study_tables import claims_table

    tables, pictures = FIGURES[study.drawn](study.name, study.points(records))
    return [*tables, claims_table(study.name, study.claims(records))], pictures


def _counter(missing: int) -> Callable[[Any, str], None]:
    """Return what says after each training how many are done and how long the others will take."""
    began, count = time.monotonic(), 0

    def done(cell: Any, problem: str) -> None:
        nonlocal count
        count += 1
        left = (time.monotonic() - began) / count * (missing - count) / 60
        said = f"{count}/{missing} {cell.experiment.name} seed {cell.experiment.training.seed}"
        print(f"{said}: {problem or 'done'}; about {left:.0f} min left", file=sys.stderr, flush=True)

    return done

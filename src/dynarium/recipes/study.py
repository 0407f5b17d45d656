"""Studies: many experiments, each under a condition and a seed, whose results are one figure; and how any is run.

A cell is run once: when its file of results exists it is done, and what was interrupted goes on from its last checkpoint.
"""

import json
import math
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from dynarium import config
from dynarium.data.jobs import Backend, cluster, run_jobs
from dynarium.errors import RunError, UserError, nearest
from dynarium.recipes.experiment import Experiment, find_run, prepare_data, train, trained
from dynarium.training import here

Record = Mapping[str, Any]
"""What is kept of a cell: where it came from, its condition, its seed and its rows."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One training.

    Attributes:
        experiment: What is trained and asked, at its seed.
        condition: What it stands for in the study; nothing for a recipe by itself.
        paper: Published rows that belong to it.
    """

    experiment: Experiment[Any, Any]
    condition: Mapping[str, str | float]
    paper: Sequence[Any] = ()

    @property
    def file(self) -> Path:
        """Where its results are, within the folder of the study."""
        words = [f"{v:g}" if isinstance(v, int | float) else v for v in self.condition.values()]
        return Path("-".join(words)) / f"seed-{self.experiment.training.seed}.json"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a study claims, held against its numbers.

    Attributes:
        statement: The claim and the rule by which it is judged.
        holds: Whether it holds; ``None`` where its cells were not run.
        measured: The numbers that decide.
    """

    statement: str
    holds: bool | None
    measured: str


@runtime_checkable
class Study(Protocol):
    """Conditions and their experiments. A frozen dataclass: ``tier`` is its size, its other fields narrow it down."""

    def __init__(self, *, tier: Any) -> None: ...

    @property
    def tier(self) -> str:
        """Size of the study."""
        ...

    @property
    def name(self) -> str:
        """Name of the study, its tier included."""
        ...

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that are kept; the first one is drawn."""
        ...

    @property
    def drawn(self) -> Literal["noise", "settings"]:
        """What its points are shown as: errors against a level of noise, or rows over their numeric settings."""
        ...

    def conditions(self) -> Iterable[tuple[Mapping[str, str | float], Experiment[Any, Any]]]:
        """Return each condition with its experiment, as of any seed."""
        ...

    def points(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        """Return the records of the figure, a mapping for each number."""
        ...

    def claims(self, records: Sequence[Record]) -> list[Claim]:
        """Return what the study claims and whether it holds."""
        ...


def check_words(option: str, asked: Iterable[str], offered: Iterable[str]) -> None:
    """Raise a UserError that names the first word that a study does not offer."""
    known = list(offered)
    for word in asked:
        if word not in known:
            raise UserError(f"--{option}: unknown {word!r}{nearest(word, known)}; known: {', '.join(known)}")


def cells_of(study: Study, seeds: Sequence[int]) -> list[Cell]:
    """Return the cells of a study, seed by seed, so that an interrupted study has whole figures early."""
    found = [
        Cell(
            experiment=replace(experiment, name=_named(study, condition), training=replace(training, seed=seed)),
            condition=condition,
        )
        for seed in seeds
        for condition, experiment in study.conditions()
        for training in (experiment.training,)
    ]
    return list({cell.file: cell for cell in found}.values())  # a level that is named twice is one


def _named(study: Study, condition: Mapping[str, str | float]) -> str:
    return "-".join([study.name, *(f"{v:g}" if isinstance(v, int | float) else v for v in condition.values())])


def run_cells(
    cells: Sequence[Cell],
    out: Path,
    *,
    runs: Path = Path("runs"),
    workers: int = 1,
    backend: Backend = "loky",
    scheduler: str | None = None,
    force: bool = False,
    metrics: tuple[str, ...] | None = None,
    quiet: bool = False,
    done: Callable[[Cell, str], None] | None = None,
) -> list[dict[str, Any]]:
    """Train and ask all cells that have no results yet; return the records of all, in order.

    Args:
        cells: What to run.
        out: Folder of the results, one JSON file a cell.
        runs: Folder of the run directories.
        workers: Processes at a time.
        backend: Where they are.
        scheduler: Address of the cluster.
        force: Run cells again that have results.
        metrics: Keep only these metrics, and of each run no more than its weights; ``None``: everything.
        quiet: No progress of the single trainings.
        done: Called with each cell that was run and what went wrong with it (nothing: an empty string).

    Raises:
        RunError: Some cells failed; the others are done and kept.
        UserError: A result is there that was made with another configuration.
    """
    if not force:
        check_made(cells, out)
    todo = [cell for cell in cells if force or not (out / cell.file).exists()]
    made: set[str] = set()
    for cell in todo:  # before there are processes that would make the same data, or train the same model, at once
        key = json.dumps([config.to_dict(cell.experiment.world), config.to_dict(cell.experiment.data)], sort_keys=True)
        if key not in made:
            made.add(key)
            prepare_data(cell.experiment)
        first = cell.experiment.before
        if first is not None and (key := json.dumps(config.to_dict(first), sort_keys=True)) not in made:
            made.add(key)
            trained(first, runs, quiet)
    jobs = [partial(run_cell, cell, out / cell.file, runs, metrics, quiet) for cell in todo]
    by_file = {str(out / cell.file): cell for cell in todo}
    failed = []
    with cluster(backend, workers, scheduler):
        for file, problem in run_jobs(jobs, workers, backend):
            failed += [f"{by_file[file].experiment.name}: {problem}"] if problem else []
            if done is not None:
                done(by_file[file], problem)
    if failed:
        raise RunError(f"{len(failed)} of {len(todo)} trainings failed, the others are kept; {failed[0]}")
    return list(read_records(cells, out))


HOW = ("data.workers", "training.trackers", "training.log_every", "training.media_every")
"""Options that change no result."""


def check_made(cells: Sequence[Cell], out: Path) -> None:
    """Raise a UserError if the results of a cell were made with another configuration than is asked for now.

    Options that did not exist when they were made are not compared, nor results without a configuration (of older versions).
    """
    for cell in cells:
        made = next((record.get("configuration", {}) for record in read_records([cell], out)), {})
        differing = [found for found in config.differences(made, _configuration(cell)) if found[0] not in HOW]
        if differing:
            path, before, now = differing[0]
            more = f" (and {len(differing) - 1} more)" if differing[1:] else ""
            raise UserError(
                f"{out / cell.file}: was made with {path} {before}, asked for {now}{more}; "
                "--force makes it again, another --out keeps both"
            )


def _configuration(cell: Cell) -> dict[str, Any]:
    """Return what is trained and asked, as plain values."""
    return config.to_dict(replace(cell.experiment, name=""), type(cell.experiment))


def read_records(cells: Sequence[Cell], out: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of those cells that have results."""
    for cell in cells:
        if (out / cell.file).exists():
            yield json.loads((out / cell.file).read_text(encoding="utf-8"))


def every_record(study: Study, out: Path) -> list[dict[str, Any]]:
    """Return all records in the folder of a study, of whatever seeds and conditions: the whole study's own ones first."""
    files = sorted(out.glob("*/seed-*.json"), key=lambda file: (int(file.stem.removeprefix("seed-")), file))
    seeds = dict.fromkeys(int(file.stem.removeprefix("seed-")) for file in files)
    own = [out / cell.file for cell in cells_of(type(study)(tier=study.tier), tuple(seeds))]
    ordered = [file for file in dict.fromkeys([*own, *files]) if file.exists()]
    return [json.loads(file.read_text(encoding="utf-8")) for file in ordered]


def run_cell(
    cell: Cell, file: Path, runs: Path, metrics: tuple[str, ...] | None = None, quiet: bool = False
) -> tuple[str, str]:
    """Train or go on training, ask, and write the record; return its file and what went wrong.

    Where only some metrics are kept, what only going on would need is removed from the finished run.
    """
    experiment = cell.experiment
    try:
        run = train(experiment, runs=runs, resume=find_run(experiment, runs), quiet=quiet)
    except RunError as error:
        return str(file), str(error)
    start, rows, protocols = time.time(), [], {}
    for task in experiment.tasks:
        result = task.run(run.model, run.dataset)
        run.files.write_result(result, dataset=str(run.dataset.directory), split=task.split, checkpoint=run.checkpoint)
        protocols |= {result.task: dict(result.protocol)} if result.protocol else {}
        rows += [asdict(row) | {"task": result.task} for row in result.rows if not metrics or row.metric in metrics]
    trained, curves = run.files.read_environment(), run.files.read_metrics()
    record = {
        "recipe": experiment.name,
        "seed": experiment.training.seed,
        **({"condition": cell.condition} if cell.condition else {}),
        "commit": trained.get("commit"),
        "versions": trained.get("versions"),
        "hardware": trained.get("hardware"),
        "precision": trained.get("precision"),
        "evaluated": here()["commit"],
        "data": run.dataset.schema.content_hash,
        "training_seconds": curves[-1]["seconds"],
        "evaluation_seconds": round(time.time() - start, 1),
        **({"validation": _last(curves, "val")} if metrics else {}),
        **({"protocol": protocols} if protocols else {}),
        "configuration": _configuration(cell),
        "rows": rows,
        "paper": [asdict(row) | {"standard_error": _or_none(row.standard_error)} for row in cell.paper],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".partial")
    unfinished.write_text(_json(record) if metrics else json.dumps(record, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(file)
    if metrics:
        shutil.rmtree(run.files.checkpoints / "last", ignore_errors=True)
    return str(file), ""


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _last(curves: Sequence[Mapping[str, Any]], split: str) -> Mapping[str, Any]:
    return next((line for line in reversed(curves) if line["split"] == split), {})


def _json(record: Record) -> str:
    """Write a record with a line for each of its rows: a study has hundreds."""
    rows = ",\n".join("  " + json.dumps(row) for row in record["rows"])
    head = json.dumps({k: v for k, v in record.items() if k != "rows"}, indent=1)
    return f'{head[:-2]},\n "rows": [\n{rows}\n ]\n}}\n'

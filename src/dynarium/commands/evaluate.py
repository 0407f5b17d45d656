"""``dynarium evaluate``: ask a trained model questions."""

import atexit
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, make_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import tyro

from dynarium.commands.parse import parse
from dynarium.errors import UserError

if TYPE_CHECKING:
    from dynarium.data import Dataset


TaskName = Literal[
    "bounces",
    "impute",
    "generate",
    "elbo",
    "forecast",
    "forecast-observations",
    "forecast-video",
    "geometry",
    "identify",
    "plan",
    "probe",
    "probe-rollout",
    "segment",
    "select-modes",
    "surprise",
]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Ask a trained model the questions of its recipe, or others, about its own data or another dataset.

    Prints the tables, trivial rows beside the model, and writes RUN/results/TASK.json and .npz. Dotted options change a
    question, e.g. --impute.hidden noise or --forecast.samples 8.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Directory of the run."""
    task: tuple[TaskName, ...] = ()
    """Questions to ask; default: those of the recipe."""
    data: Path | None = None
    """Another dataset with frames of the same shape, e.g. an imported one; or a .mat, .csv or .npz file with inputs u and
    outputs y, which is imported for the occasion, cut into pieces as long as the model reads. The recipe's questions with a
    label of their own, about its own data, are then left out."""
    split: Literal["train", "val", "test"] | None = None
    """Split to ask about; default: the task's own (test)."""
    sequences: int | None = None
    """Ask about so many sequences; default: the task's own number."""
    checkpoint: Literal["best", "last"] = "best"
    """Which weights to load."""


def evaluate(arguments: Sequence[str], prog: str) -> None:
    """Parse and run ``dynarium evaluate``."""
    arguments = _run_first(arguments)
    options, dotted = parse(Options, arguments, prog, allow_unknown=True)
    if any(word.startswith("--") and "." not in word.partition("=")[0] for word in dotted):
        parse(Options, arguments, prog)  # says what is wrong
    if options.sequences is not None and options.sequences < 1:
        raise UserError(f"--sequences: expected at least 1, got {options.sequences}")

    from dynarium.recipes import load_run
    from dynarium.reporting.tables import print_table, result_tables
    from dynarium.tasks import TASKS

    run = load_run(options.run, options.checkpoint)
    own = run.experiment.tasks
    wanted = [[task for task in own if type(task) is TASKS[name]] or [TASKS[name]()] for name in options.task]
    tasks = [task for found in wanted for task in found] or list(own)
    tasks = _changed(tasks, dotted, prog) if dotted else tasks
    changes = {k: v for k, v in (("split", options.split), ("sequences", options.sequences)) if v is not None}
    dataset = run.dataset if options.data is None else _dataset(options.data, run.experiment.model)
    if options.data is not None:
        tasks = [task for task in tasks if not getattr(task, "label", "")]
    frame: tuple[int, ...] | None = getattr(run.experiment.model, "frame", None)
    if frame is not None and dataset.shapes.get("video", frame)[-3:] != frame:
        raise UserError(f"--data: expected frames {frame}, got {dataset.shapes['video'][-3:]} in {dataset.directory}")
    control: int | None = getattr(run.experiment.model, "control", None)
    given = dataset.shapes.get("action", (0,))[-1]
    if control is not None and given != control:
        raise UserError(f"--data: expected actions of {control} numbers, got {given} in {dataset.directory}")
    refused: list[str] = []
    for task in tasks:
        asked = replace(task, **changes)
        try:
            result = asked.run(run.model, dataset)
        except UserError as error:  # the other questions may still make sense
            refused.append(str(error))
            continue
        name = asked.name if options.data is None else f"{asked.name}-{dataset.directory.name}"
        file = run.files.write_result(
            result,
            dataset=str(options.data or dataset.directory),
            split=asked.split,
            checkpoint=options.checkpoint,
            name=name,
        )
        for table in result_tables(result.task, [vars(row) for row in result.rows]):
            print_table(table)
        print(f"written: {file}")
    if refused:
        raise UserError("; ".join(refused))


def _run_first(arguments: Sequence[str]) -> list[str]:
    """Return the words with RUN in front where it follows the names of --task, which would take it for one of them."""
    words, owner, owned, run = list(arguments), "", 0, 0
    for k, word in enumerate(words):
        if word.startswith("--"):
            owner, _, value = word.partition("=")
            owned = int(bool(value))
            continue
        owned += 1
        if owner == "--task" and owned > 1 and not run and word not in get_args(TaskName):
            run = k
        elif not owner or (owner != "--task" and "." not in owner and owned > 1):
            return words  # RUN stands elsewhere
    return [words[run], *words[:run], *words[run + 1 :]] if run else words


def _dataset(path: Path, model: Any) -> "Dataset":
    """Return the dataset of a directory, or of a file of inputs and outputs, imported into a folder that goes at exit."""
    from dynarium.data import Dataset, import_measured

    if not path.is_file():
        return Dataset(path)
    folder = tempfile.TemporaryDirectory(prefix="dynarium-")
    atexit.register(folder.cleanup)
    context, horizon = getattr(model, "context", None), getattr(model, "horizon", None)
    most = getattr(model, "steps", None)
    if isinstance(context, int) and isinstance(horizon, int):
        most = context + horizon
    return import_measured(path, Path(folder.name) / path.stem, most=most)


def _changed(tasks: Sequence[Any], dotted: Sequence[str], prog: str) -> list[Any]:
    """Return the tasks with the options ``--TASK.OPTION`` of the command line; each holds for all tasks of that kind."""
    from dynarium import config
    from dynarium.tasks import TASKS

    names = [TASKS.name_of(type(task)).replace("-", "_") for task in tasks]
    first = dict(zip(reversed(names), reversed(tasks), strict=True))
    questions = make_dataclass("Questions", [(name, type(task)) for name, task in first.items()], kw_only=True)
    # The parser takes one task of a kind at a time.
    asked = [
        config.parse_arguments(questions, dotted, prog, default=questions(**{**first, name: task}))
        for name, task in zip(names, tasks, strict=True)
    ]
    return [getattr(one, name) for one, name in zip(asked, names, strict=True)]

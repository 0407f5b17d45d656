"""``dynarium evaluate``: ask a trained model questions."""

import atexit
import tempfile
from collections.abc import Mapping, Sequence
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


READING = ("layout", "inputs", "outputs")
"""Options that say how a file of inputs and outputs is read."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Ask a trained model the questions of its recipe, or others, about its own data or another dataset.

    Prints the tables, trivial rows beside the model, and writes RUN/results/TASK.json and .npz. Dotted options change a
    question, e.g. --impute.hidden noise or --forecast.samples 8; those of its kind that have a label are then not asked.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Directory of the run."""
    task: tuple[TaskName, ...] = ()
    """Questions to ask; default: those of the recipe."""
    data: Path | None = None
    """Another dataset with frames of the same shape, e.g. an imported one; or a .mat, .csv or .npz file with inputs u and
    outputs y, which is imported for the occasion, cut into pieces as long as the model reads. The recipe's questions with a
    label of their own, about its own data, are then left out."""
    layout: Literal["channels", "experiments"] = "channels"
    """What the columns of such a file's arrays [steps, columns] are; experiments: one channel each."""
    inputs: tuple[str, ...] = ()
    """Its input arrays or columns; default: u, or u1, u2, ..."""
    outputs: tuple[str, ...] = ()
    """Its output arrays or columns; default: y, or y1, y2, ..."""
    split: Literal["train", "val", "test"] | None = None
    """Split to ask about; default: the task's own (test). Answers about another one stand in files of their own."""
    sequences: int | None = None
    """Ask about so many sequences; default: the task's own number."""
    checkpoint: Literal["best", "last"] = "best"
    """Which weights to load."""


def evaluate(arguments: Sequence[str], prog: str) -> None:
    """Parse and run ``dynarium evaluate``."""
    arguments = _run_first(arguments)
    options, dotted = parse(Options, arguments, prog, allow_unknown=True)
    for word in dotted:
        if word.startswith("--") and "." not in word.partition("=")[0]:
            parse(Options, [str(options.run), word], prog)  # says what is wrong
    if options.sequences is not None and options.sequences < 1:
        raise UserError(f"--sequences: expected at least 1, got {options.sequences}")

    from dynarium.recipes import load_run
    from dynarium.reporting.tables import print_table, result_tables
    from dynarium.tasks import TASKS

    run = load_run(options.run, options.checkpoint)
    own, given = run.experiment.tasks, None
    reading = {name: value for name in READING if (value := getattr(options, name)) != getattr(Options, name)}
    if options.data is not None:
        given = _dataset(options.data, run.experiment.model, reading)
        own = [_shortened(task, given.steps, run.experiment.model) for task in own if not _is_labelled(task)]
    elif reading:
        raise UserError(f"--{next(iter(reading))}: is of a file of inputs and outputs (--data)")
    wanted = [[task for task in own if type(task) is TASKS[name]] or [TASKS[name]()] for name in options.task]
    tasks = [task for found in wanted for task in found] or list(own)
    tasks = _changed(tasks, dotted, prog) if dotted else tasks
    changes = {k: v for k, v in (("split", options.split), ("sequences", options.sequences)) if v is not None}
    dataset = run.dataset if given is None else given
    # What is imported for the occasion lies in a folder that the user has not made.
    place = str(options.data or dataset.directory)
    _check_shapes(dataset, run.experiment.model, place)
    refused: list[str] = []
    for task in tasks:
        asked = replace(task, **changes)
        try:
            _check_context(asked, dataset.steps, place)
            result = asked.run(run.model, dataset)
        except UserError as error:  # the other questions may still make sense
            refused.append(str(error).replace(str(dataset.directory), place))
            continue
        name = asked.name if given is None else f"{asked.name}-on-{given.directory.resolve().name}"
        name += "" if asked.split == type(asked).split else f"-{asked.split}"  # takes no one's place
        file = run.files.write_result(
            result,
            dataset=place,
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


def _dataset(path: Path, model: Any, reading: Mapping[str, Any]) -> "Dataset":
    """Return the dataset of a directory, or of a file of inputs and outputs, imported into a folder that goes at exit."""
    from dynarium.data import Dataset, import_measured

    if not path.exists():
        raise UserError(f"--data: {path}: no such file")
    if not path.is_file():
        if reading:
            raise UserError(f"--{next(iter(reading))}: is of a file of inputs and outputs, and {path} is a directory")
        return Dataset(path)
    folder = tempfile.TemporaryDirectory(prefix="dynarium-")
    atexit.register(folder.cleanup)
    return import_measured(path, Path(folder.name) / path.stem, most=_steps_read(model), **reading)


def _steps_read(model: Any) -> int | None:
    """Return how many steps a model that identifies systems reads at a time."""
    if not hasattr(model, "inputs"):
        return None
    context, horizon = getattr(model, "context", None), getattr(model, "horizon", None)
    return getattr(model, "steps", None) if context is None or horizon is None else context + horizon


def _check_shapes(dataset: "Dataset", model: Any, place: str) -> None:
    """Raise a UserError unless frames, actions and signals are those of the model."""
    shapes = dataset.shapes
    frame: tuple[int, ...] | None = getattr(model, "frame", None)
    if frame is not None and shapes.get("video", frame)[-3:] != frame:
        raise UserError(f"--data: expected frames {frame}, got {shapes['video'][-3:]} in {place}")
    control: int | None = getattr(model, "control", None)
    given = shapes.get("action", (0,))[-1]
    blind = getattr(model, "actions", "") == "none"  # such a model is fed none, whatever the data have
    if control is not None and given != control and not blind:
        raise UserError(f"--data: expected actions of {control} numbers, got {given} in {place}")
    for field, signals in (("action", "inputs"), ("observation", "outputs")):
        wanted: int | None = getattr(model, signals, None)
        if wanted is not None and field in shapes and shapes[field][-1] != wanted:
            names = ", ".join(dataset.schema.fields[field].names) or field
            given = shapes[field][-1]
            raise UserError(f"--data: expected {signals} of {wanted} channels, got {given} ({names}) in {place}")


def _shortened(task: Any, steps: int, model: Any) -> Any:
    """Return a question; of sequences shorter than its context the same share is context as of what the model reads."""
    from dynarium.tasks.identify import Identify

    reads = _steps_read(model)
    if not isinstance(task, Identify) or task.context is None or reads is None or steps > task.context:
        return task
    return replace(task, context=round(task.context / reads * steps))


def _check_context(task: Any, steps: int, place: str) -> None:
    """Raise a UserError if a context to identify from leaves nothing to predict."""
    from dynarium.tasks.identify import Identify

    if isinstance(task, Identify) and task.context is not None and task.context >= steps:
        raise UserError(f"--identify.context: expected fewer than the {steps} steps of {place}, got {task.context}")


def _is_labelled(task: Any) -> bool:
    """Return whether a question has a label, which tells it from others of its kind."""
    return bool(getattr(task, "label", ""))


def _changed(tasks: Sequence[Any], dotted: Sequence[str], prog: str) -> list[Any]:
    """Return the tasks with the options ``--TASK.OPTION`` of the command line; each holds for all tasks of that kind.

    Those with a label of their own are left out where another of that kind has none: their labels would no longer be true.
    """
    from dynarium import config
    from dynarium.tasks import TASKS

    def kind(task: Any) -> str:
        return TASKS.name_of(type(task)).replace("-", "_")

    addressed = {word.strip("-").partition(".")[0].replace("-", "_") for word in dotted if word.startswith("--")}
    addressed &= {kind(task) for task in tasks if not _is_labelled(task)}
    tasks = [task for task in tasks if not (_is_labelled(task) and kind(task) in addressed)]
    names = [kind(task) for task in tasks]
    first = dict(zip(reversed(names), reversed(tasks), strict=True))
    questions = make_dataclass("Questions", [(name, type(task)) for name, task in first.items()], kw_only=True)
    # The parser takes one task of a kind at a time.
    asked = [
        config.parse_arguments(questions, dotted, prog, default=questions(**{**first, name: task}))
        for name, task in zip(names, tasks, strict=True)
    ]
    return [getattr(one, name) for one, name in zip(asked, names, strict=True)]

"""An experiment: a world, a model, how it is trained and what it is asked; and the run that comes of it."""

import hashlib
import inspect
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, get_args, get_type_hints

import torch
from filelock import FileLock

from dynarium import config
from dynarium.data import (
    Dataset,
    EpisodeConfig,
    EpisodeSource,
    OnlineSource,
    Source,
    StoredSource,
    few_shot_batches,
    make_dataset,
)
from dynarium.errors import UserError, nearest
from dynarium.models.capabilities import (
    Forecasts,
    ForecastsObservations,
    Identifies,
    Imagines,
    Imputes,
    PredictsNext,
    Prepares,
    Reconstructs,
)
from dynarium.systems import WORLDS
from dynarium.tasks import TASKS
from dynarium.training import (
    RunDirectory,
    Trainer,
    TrainingConfig,
    agreed,
    keep_freed_memory,
    load_weights,
    main_first,
    rank_and_world,
    training_device,
)
from dynarium.training.media import MediaCallback
from dynarium.types import SequenceBatch

Tier = Literal["cpu", "paper"]
"""Sizes of a recipe that has several: ``paper`` is what was published, ``cpu`` what two cores train in minutes a seed."""

QUESTIONS: tuple[tuple[type, tuple[str, ...]], ...] = (
    (Imputes, ("impute", "generate", "forecast")),
    (Imagines, ("probe-rollout", "geometry")),
    (Identifies, ("identify",)),
    (PredictsNext, ("identify",)),
    (ForecastsObservations, ("forecast-observations",)),
)
"""Capability -> what a model that has it is asked where no recipe says; of the others, those that forecast are asked that."""

CONTEXT, PREDICTED = 5, 10
"""Frames that are given to a video model and predicted in training where neither it nor a recipe says."""

ModelT = TypeVar("ModelT")
WorldT = TypeVar("WorldT")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where the data come from.

    Attributes:
        directory: A dataset on disk. ``None``: ``datasets/<world>-<hash of world, sizes and seed>``, made when it is missing.
        train: Number of training sequences to make.
        val: Number of validation sequences to make.
        test: Number of test sequences to make.
        steps: Steps of each sequence; ``None``: the world's own number.
        seed: Seed of the data.
        window: Train on random windows of so many steps; ``None``: whole sequences.
        tasks: Train and validate on these tasks of a world of several; ``None``: all.
        episodes: Train and validate on queries with a context of the same task; ``None``: on single sequences.
        online: Train on an endless stream made on the fly, never the same sequence twice; validate on stored data.
        workers: Processes that make the data.
    """

    directory: str | None = None
    train: int = 5000
    val: int = 500
    test: int = 1000
    steps: int | None = None
    seed: int = 0
    window: int | None = None
    tasks: tuple[int, ...] | None = None
    episodes: EpisodeConfig | None = None
    online: bool = False
    workers: int = 2


@dataclass(frozen=True, kw_only=True)
class Experiment(Generic[ModelT, WorldT]):
    """A whole experiment; its YAML alone re-creates it.

    Attributes:
        name: Name of the recipe; part of the run directory's name.
        world: The world to watch; ``None`` with data of one's own.
        data: Sizes, seed, directory.
        model: The model's configuration.
        training: The trainer's configuration.
        tasks: The questions that ``evaluate`` asks by default.
        before: An experiment whose trained model this training starts from; it is run first where no run of it exists.
    """

    name: str
    world: WorldT
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelT
    training: TrainingConfig
    tasks: tuple[Any, ...] = ()
    before: "Experiment[Any, Any] | None" = None


@dataclass(frozen=True)
class Run:
    """A trained model with everything that belongs to it."""

    directory: Path
    experiment: Experiment[Any, Any]
    checkpoint: str = "best"

    @cached_property
    def model(self) -> torch.nn.Module:
        """The model with the weights of the checkpoint, in eval mode."""
        keep_freed_memory()
        model = self.experiment.model.build()
        load_weights(model, self.directory, self.checkpoint)
        return model.eval()

    @cached_property
    def dataset(self) -> Dataset:
        """The dataset of the run, made again if it is gone."""
        return prepare_data(self.experiment)

    @property
    def files(self) -> RunDirectory:
        """The run's files."""
        return RunDirectory(self.directory)


def default_directory(experiment: Experiment[Any, Any], root: Path = Path("datasets")) -> Path:
    """Return where the data of an experiment live: a name that changes with everything that decides their bytes."""
    data = experiment.data
    decisive = [config.to_dict(experiment.world), data.train, data.val, data.test, data.steps, data.seed]
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:10]
    return root / f"{type(experiment.world).__name__.lower()}-{digest}"


def prepare_data(experiment: Experiment[Any, Any], progress: Callable[[int, int], None] | None = None) -> Dataset:
    """Open the data of an experiment; make them first where they are missing.

    Raises:
        UserError: Neither a world nor an existing dataset is given.
    """
    data = experiment.data
    if experiment.world is None:
        if data.directory is None:
            raise UserError(
                f"--data: {experiment.name} names no world; give the directory of a dataset, e.g. one of dynarium data import"
            )
        return Dataset(Path(data.directory))
    directory = Path(data.directory) if data.directory else default_directory(experiment)
    made, lock = directory / "dataset.json", directory.with_name(f".{directory.name}.lock")
    if not made.exists():
        directory.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(lock):  # another training may be making the same
                if not made.exists():
                    make_dataset(
                        experiment.world,
                        directory,
                        sizes={"train": data.train, "val": data.val, "test": data.test},
                        steps=data.steps,
                        seed=data.seed,
                        workers=data.workers,
                        progress=progress,
                    )
        finally:
            lock.unlink(missing_ok=True)
    return Dataset(directory)


def train(
    experiment: Experiment[Any, Any],
    *,
    runs: Path = Path("runs"),
    resume: Path | None = None,
    quiet: bool = False,
) -> Run:
    """Train the model of an experiment, or continue an interrupted run exactly where its last checkpoint left it.

    Args:
        experiment: What to train. When resuming: the configuration of the run.
        runs: Folder in which the run directory is created.
        resume: A run directory to continue.
        quiet: Print no progress.

    Raises:
        UserError: The configuration does not fit the data, or there is nothing to resume.
    """
    training = experiment.training
    with main_first():
        dataset = prepare_data(experiment, None if quiet else _say_making)
    experiment = replace(experiment, model=experiment.model.fitted(dataset.shapes))
    torch.manual_seed(training.seed)
    model = experiment.model.build().to(training_device())
    if experiment.before is not None and resume is None:
        load_weights(model, trained(experiment.before, runs, quiet))
    train_source = _train_source(experiment, dataset)
    val_source = _val_source(experiment, dataset) if "val" in dataset.schema.splits else None
    spent = _prepare(model, train_source, training.seed) if resume is None else 0.0
    rank, _ = rank_and_world()
    directory = resume or agreed(RunDirectory.create(runs, experiment.name).directory if rank == 0 else Path())
    run = RunDirectory(directory)
    if rank == 0:
        config.save(experiment, run.directory / "config.yaml")
    callbacks = (MediaCallback(_shown(experiment.data, dataset)),) if val_source else ()
    described = config.to_dict(experiment)
    trainer = Trainer(
        model,
        train_source,
        val_source,
        training,
        run,
        callbacks=callbacks,
        quiet=quiet,
        described=described,
        spent=spent,
    )
    trainer.fit(resume=resume is not None)
    return Run(run.directory, experiment)


def trained(experiment: Experiment[Any, Any], runs: Path, quiet: bool) -> Path:
    """Return the run of an experiment that others start from, trained to its end; it is looked for before it is made."""
    found = find_run(experiment, runs)
    if found is None:
        return train(experiment, runs=runs, quiet=quiet).directory
    return train(load_experiment(found), runs=runs, resume=found, quiet=quiet).directory


def _prepare(model: object, source: Source, seed: int) -> float:
    """Let a model that can estimate its parameters from data do so; return the seconds that this took."""
    began = time.monotonic()
    if isinstance(model, Prepares):
        model.prepare(source.batches(0), seed)
    return time.monotonic() - began


def _train_source(experiment: Experiment[Any, Any], dataset: Dataset) -> Source:
    """Return where this process's training batches come from."""
    data, training = experiment.data, experiment.training
    rank, world_size = rank_and_world()
    options: dict[str, Any] = {
        "batch_size": training.batch_size,
        "steps": data.window,
        "seed": training.seed,
        "rank": rank,
        "world_size": world_size,
        "device": training_device(),
    }
    if data.online:
        if data.episodes is not None or data.tasks is not None:
            raise UserError("data.online: batches made on the fly have no episodes and no choice of tasks")
        batches = max(1, data.train // training.batch_size)
        return OnlineSource(experiment.world, batches_per_epoch=batches, **options)
    if data.episodes is not None:
        return EpisodeSource(dataset, "train", data.episodes, tasks=data.tasks, **options)
    return StoredSource(dataset, "train", tasks=data.tasks, **options)


def _val_source(experiment: Experiment[Any, Any], dataset: Dataset) -> Source:
    """Return the validation batches: always the same, and uncut, as the trainer deals whole ones to the processes."""
    data, batch_size = experiment.data, experiment.training.batch_size
    options: dict[str, Any] = {"steps": data.window, "tasks": data.tasks, "device": training_device()}
    if data.episodes is not None:
        episodes = replace(data.episodes, windows="first")
        return EpisodeSource(dataset, "val", episodes, batch_size=batch_size, **options)
    size, n = batch_size * 4, dataset.size("val")
    size = min(size + (n % size == 1), n)  # a sequence left over alone cannot be normalised by its batch
    return StoredSource(dataset, "val", batch_size=size, shuffle=False, drop_last=False, **options)


def _shown(data: DataConfig, dataset: Dataset) -> SequenceBatch:
    """Return the validation sequences whose pictures are shown in training."""
    shots = data.episodes.shots if data.episodes else 0
    return next(few_shot_batches(dataset, "val", shots=shots, batch_size=8, seed=0, sequences=8, tasks=data.tasks))


def _say_making(done: int, total: int) -> None:
    print(f"made {done}/{total} sequences", file=sys.stderr, flush=True)


def find_run(experiment: Experiment[Any, Any], runs: Path) -> Path | None:
    """Return the newest run of exactly this experiment that has a checkpoint to go on from; ``None`` if there is none."""
    for directory in sorted(Path(runs).glob(f"*-{experiment.name}*"), reverse=True):
        if (directory / "checkpoints" / "last").is_dir() and (directory / "config.yaml").exists():
            found = load_experiment(directory)
            if replace(found, model=experiment.model) == experiment and _fits(found.model, experiment.model):
                return directory
    return None


def _fits(fitted: Any, model: Any) -> bool:
    """Return whether two model configurations agree in all but what the data fill in."""
    filled = {"frame", "control", "observation", "position", "inputs", "outputs"}
    return {k: v for k, v in vars(fitted).items() if k not in filled} == {
        k: v for k, v in vars(model).items() if k not in filled
    }


def load_experiment(directory: Path) -> Experiment[Any, Any]:
    """Read the configuration of a run.

    Raises:
        UserError: ``directory`` is no run.
    """
    file = Path(directory) / "config.yaml"
    if not file.exists():
        raise UserError(f"{directory}: not a run directory (it has no config.yaml)")
    return read_experiment(file)


def read_experiment(file: Path) -> Experiment[Any, Any]:
    """Read the whole configuration of an experiment from YAML, e.g. a run's ``config.yaml``.

    Raises:
        UserError: The file is missing or damaged, or is not that of an experiment.
    """
    experiment = config.from_dict(config.read_yaml(file))
    if not isinstance(experiment, Experiment):
        raise UserError(f"{file}: not the configuration of an experiment")
    return experiment


def load_run(directory: Path | str, checkpoint: str = "best") -> Run:
    """Open a run: ``run.model`` (weights loaded, eval mode), ``run.dataset``, ``run.experiment``, ``run.files``.

    Raises:
        UserError: ``directory`` is no run, or it has no such checkpoint.
    """
    return Run(Path(directory), load_experiment(Path(directory)), checkpoint)


def experiment_of(name: str, data: str | None = None, tier: str | None = None) -> Experiment[Any, Any]:
    """Return the experiment of a recipe, or the default experiment of a model.

    Args:
        name: The recipe or the model.
        data: A world, or the directory of a dataset; ``None``: the recipe's own.
        tier: A size that the recipe offers, which becomes part of the experiment's name; ``None``: the recipe's default.

    Raises:
        UserError: Unknown name or tier, or ``data`` is neither a world nor a dataset.
    """
    from dynarium.models import MODELS
    from dynarium.recipes import RECIPES

    if name in RECIPES:
        recipe = RECIPES[name]
        experiment = recipe() if tier is None else _at_tier(recipe, name, tier)
    elif name in MODELS:
        if tier is not None:
            raise UserError(f"--tier: {name!r} is a model; only recipes have tiers")
        experiment = Experiment(
            name=name,
            world=WORLDS["bouncing-ball"](),
            model=MODELS[name](),
            training=TrainingConfig(),
        )
        return _with_questions(with_data(experiment, data))
    else:
        known = [*RECIPES, *MODELS]
        raise UserError(f"unknown recipe or model {name!r}{nearest(name, known)}; known: {', '.join(known)}")
    return with_data(experiment, data)


def _with_questions(experiment: Experiment[Any, Any]) -> Experiment[Any, Any]:
    """Return the experiment of a model with the questions that the model can answer; video models see short windows."""
    kind = get_type_hints(type(experiment.model).build)["return"]
    names = [name for capability, asked in QUESTIONS if issubclass(kind, capability) for name in asked]
    films = not names and issubclass(kind, Reconstructs)
    if not names and issubclass(kind, Forecasts):
        names = ["forecast-video"] if films else ["forecast", "generate"]
    experiment = replace(experiment, tasks=tuple(TASKS[name]() for name in names))
    if not films:
        return experiment
    data, world = experiment.data, experiment.world
    steps = Dataset(Path(data.directory)).steps if world is None and data.directory else getattr(world, "steps", None)
    window = getattr(experiment.model, "context", CONTEXT) + PREDICTED
    return replace(experiment, data=replace(data, window=window if steps is None else min(window, steps)))


def _at_tier(recipe: Callable[..., Experiment[Any, Any]], name: str, tier: str) -> Experiment[Any, Any]:
    offered = _tiers(recipe)
    if tier not in offered:
        wanted = f"one of {', '.join(offered)}" if offered else "none, as this recipe has one size"
        raise UserError(f"--tier: {name} expects {wanted}; got {tier!r}")
    default = inspect.signature(recipe).parameters["tier"].default
    return recipe(tier=tier) if tier == default else replace(recipe(tier=tier), name=f"{name}-{tier}")


def _tiers(recipe: Callable[..., Experiment[Any, Any]]) -> tuple[str, ...]:
    """Return the sizes that a recipe offers."""
    parameter = inspect.signature(recipe).parameters.get("tier")
    return get_args(parameter.annotation) if parameter else ()


def with_data(experiment: Experiment[Any, Any], data: str | None) -> Experiment[Any, Any]:
    """Return the experiment on a world of that name or on the dataset in that directory; unchanged for ``None``.

    Raises:
        UserError: ``data`` is neither a world nor a dataset.
    """
    if data is None:
        return experiment
    if data in WORLDS:
        return replace(experiment, world=WORLDS[data]())
    if (Path(data) / "dataset.json").exists():
        return replace(experiment, world=None, data=replace(experiment.data, directory=data))
    near = nearest(data, list(WORLDS)) or "; dynarium data list names the worlds"
    raise UserError(f"--data: {data!r} is neither a world nor a dataset directory{near}")


def paper_of(experiment: Experiment[Any, Any]) -> Sequence[Any]:
    """Return the rows published about an experiment of a recipe, at whatever tier; empty where there are none."""
    from dynarium.recipes import PAPERS, RECIPES

    recipe, _, last = experiment.name.rpartition("-")
    for name, tier in ((experiment.name, None), (recipe, last)):
        if name in PAPERS and (tier is None or tier in _tiers(RECIPES[name])):
            return PAPERS[name] if experiment_of(name, tier=tier).world == experiment.world else ()
    return ()

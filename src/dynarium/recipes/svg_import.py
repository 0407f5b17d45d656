"""A checkpoint of the original code of stochastic video generation becomes a run, to be asked and reported like any other."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from dynarium import config
from dynarium.models.svg import SVGConfig
from dynarium.models.svg_checkpoints import option, read_svg_checkpoint
from dynarium.nn.frame_layers import BatchStatistics
from dynarium.nn.weight_files import file_hash
from dynarium.recipes.experiment import DataConfig, Experiment, Run
from dynarium.recipes.svg import forecast, training
from dynarium.training import RunDirectory, TrainingConfig
from dynarium.training.checkpoint import save_weights, write_checkpoint


def import_svg(
    file: Path | str,
    runs: Path | str = Path("runs"),
    *,
    statistics: BatchStatistics = "running",
    skips: Literal["mended", "paper"] = "mended",
) -> Run:
    """Write a run directory of an original checkpoint: its model, how the file says it was trained, and the paper's question.

    The run names no data: it is asked about a dataset that is given. Nothing that the file names is executed.

    Args:
        file: The checkpoint.
        runs: Folder in which the run directory is created.
        statistics: What batch normalisation uses in answers; the authors sampled with ``batch``.
        skips: Whose skip connections serve after the context; ``paper``: as in the authors' code.

    Raises:
        UserError: The file is not there, is no such checkpoint, or does not fit the options that it holds.
    """
    digest = file_hash(file, "checkpoint")
    with Path(file).expanduser().open("rb") as stream:
        model, options = read_svg_checkpoint(stream)
    assert isinstance(model.config, SVGConfig)
    experiment = _experiment(replace(model.config, statistics=statistics, skips=skips), options)
    run = RunDirectory.create(Path(runs), experiment.name)
    try:
        config.save(experiment, run.directory / "config.yaml")
        origin = {"file": Path(file).name, "sha256": digest}
        write_checkpoint(run.checkpoints / "best", lambda folder: save_weights(model, folder, imported=origin))
        run.write_environment(imported=origin, parameters=sum(p.numel() for p in model.parameters()))
    except BaseException:
        shutil.rmtree(run.directory, ignore_errors=True)
        raise
    return Run(run.directory, experiment)


def _experiment(model: SVGConfig, options: Mapping[str, Any]) -> Experiment[Any, Any]:
    window = model.context + option(options, "n_future", int, 10)
    return Experiment(
        name="svg-lp-imported" if model.prior == "learned" else "svg-fp-imported",
        world=None,
        data=DataConfig(window=window),
        model=model,
        training=_training(options),
        tasks=(forecast("paper", model.context, None),),
    )


def _training(options: Mapping[str, Any]) -> TrainingConfig:
    """Return how the file says that its model was to be trained; what it leaves out is as published."""
    epoch = option(options, "epoch_size", int, 600)
    return replace(
        training("paper", rate=option(options, "lr", float, 2e-3)),
        steps=epoch * option(options, "niter", int, 300),
        batch_size=option(options, "batch_size", int, 100),
        betas=(option(options, "beta1", float, 0.9), 0.999),
        validate_every=epoch,
        checkpoint_every=epoch,
        seed=option(options, "seed", int, 1),
    )

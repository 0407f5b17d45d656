"""``dynarium train``: train a recipe or a model, or resume a run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from dynarium.commands.parse import parse
from dynarium.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train a recipe or a model; the run's whole configuration can be overridden with dotted options.

    ``dynarium train RECIPE --help-config`` prints every dotted option of a recipe, e.g. ``--training.steps 500`` or
    ``--model.state 6``.
    """

    name: Annotated[str | None, tyro.conf.Positional] = None
    """A recipe (kvae-demo, kvae-fraccaro2017, kvae-annealed) or a model (kvae); not needed with a run's config.yaml."""
    data: str | None = None
    """A world, or the directory of a dataset; the recipe's own when left out."""
    tier: str | None = None
    """A size of the recipe, e.g. cpu or paper, where it has several; its default when left out."""
    config: tuple[Path, ...] = ()
    """YAML files laid over the recipe, later ones win; dotted options win over all."""
    out: Path = Path("runs")
    """Folder of the run directories."""
    resume: Path | None = None
    """Continue this run exactly where its last checkpoint left it."""
    then: tuple[Literal["evaluate", "report"], ...] = ()
    """What to do with the trained model at once."""
    help_config: bool = False
    """Print the dotted options of the recipe."""


def train(arguments: Sequence[str], prog: str) -> None:
    """Parse and run ``dynarium train``."""
    options, dotted = parse(Options, arguments, prog, allow_unknown=True)
    if options.resume is not None and (options.name or options.data):
        raise UserError("train: --resume RUN goes on with the run as it is; expected no recipe and no --data beside it")
    if options.tier is not None and options.name is None:
        raise UserError("train: --tier is a size of a recipe; expected a recipe beside it")
    if options.name is None and options.resume is None and not options.config:
        raise UserError("train: expected a recipe (or model), --config FILE or --resume RUN")

    from dynarium import config
    from dynarium.recipes import experiment_of, load_experiment, read_experiment, with_data
    from dynarium.recipes import train as run_experiment
    from dynarium.training import rank_and_world

    if options.resume is not None:
        saved = load_experiment(options.resume)
        experiment = config.resolve(saved, options.config, dotted, prog=prog)
        moved = replace(saved.data, directory=experiment.data.directory, workers=experiment.data.workers)
        kept = {name: getattr(saved.training, name) for name in ("batch_size", "seed", "optimizer", "ema")}
        training = replace(experiment.training, **kept)
        if experiment != replace(saved, data=moved, training=training, tasks=experiment.tasks):
            words = (
                "the run's model, data, batch size, seed, optimiser and EMA; other options of the training may change"
            )
            raise UserError(f"train: --resume RUN keeps {words}")
    else:
        dotted = ["--help"] if options.help_config else dotted
        first, *rest = options.config or (None,)
        if options.name is not None:
            base, files = experiment_of(options.name, options.data, options.tier), options.config
        else:  # the configuration of a run alone re-creates it
            assert first is not None
            base, files = with_data(read_experiment(first), options.data), rest
        experiment = config.resolve(base, files, dotted, prog=prog)
    run = run_experiment(experiment, runs=options.out, resume=options.resume)
    if rank_and_world()[0]:  # of several processes the main one goes on alone
        return
    print(f"run: {run.directory}")
    refused = None
    if "evaluate" in options.then:
        from dynarium.commands.evaluate import evaluate

        try:
            evaluate([str(run.directory)], "dynarium evaluate")
        except UserError as error:  # what was answered can still be reported
            refused = error
    if "report" in options.then:
        from dynarium.commands.report import report

        report([str(run.directory)], "dynarium report")
    if refused is not None:
        raise refused

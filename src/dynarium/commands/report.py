"""``dynarium report``: one self-contained HTML page of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from dynarium.commands.parse import parse
from dynarium.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write one self-contained HTML page of a run: results, films, curves, latent states, configuration."""

    run: Annotated[Path, tyro.conf.Positional]
    """The run directory."""
    out: Path | None = None
    """The file to write; report.html in the run directory when left out."""


def report(arguments: Sequence[str], prog: str) -> None:
    """Parse and run ``dynarium report``."""
    options = parse(Options, arguments, prog)

    from dynarium.reporting import write_report

    print(f"report: {write_report(options.run, options.out, _published(options.run))}")


def _published(run: Path) -> Sequence[Any]:
    """Return what the paper of a run's recipe printed, if the run watches the recipe's own world."""
    from dynarium import config
    from dynarium.recipes import PAPERS, RECIPES, load_experiment, paper_of

    try:
        name = config.read_yaml(run / "config.yaml").get("name")
        same_world = name in PAPERS and load_experiment(run).world == RECIPES[name]().world
    except UserError:  # the report says itself what a run lacks
        return ()
    return paper_of(name) if same_world else ()

"""``dynarium report``: one self-contained HTML page of a run, or of several compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from dynarium.commands.parse import parse
from dynarium.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write one self-contained HTML page of a run: results, films, curves, latent states, configuration.

    Of several runs: what differs between them, their tables joined, their curves in the same charts.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """The run directory, or several."""
    out: Path | None = None
    """The file to write; when left out report.html in the run directory, of several comparison.html beside the first."""


def report(arguments: Sequence[str], prog: str) -> None:
    """Parse and run ``dynarium report``."""
    options = parse(Options, arguments, prog)

    from dynarium.reporting import write_comparison, write_report

    if not options.runs:
        raise UserError("report: expected a run directory")
    run, *others = options.runs
    if others:
        print(f"report: {write_comparison(options.runs, options.out)}")
        return
    print(f"report: {write_report(run, options.out, _published(run))}")


def _published(run: Path) -> Sequence[Any]:
    """Return what the paper of a run's recipe printed, if the run watches the recipe's own world."""
    from dynarium.recipes import load_experiment, paper_of

    try:
        return paper_of(load_experiment(run))
    except UserError:  # the report says itself what a run lacks
        return ()

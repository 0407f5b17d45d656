"""``dynarium report``: one self-contained HTML page of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from dynarium.commands.parse import parse


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

    print(f"report: {write_report(options.run, options.out)}")

"""Tables, figures, animations, the HTML report: whatever reads a run directory and shows it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def write_report(run_directory: Path, out: Path | None = None, paper: Sequence[Any] = ()) -> Path:
    """Write the report of a run: one self-contained HTML file, ``report.html`` in the run directory by default.

    Published rows, ``dynarium.recipes.paper_of(recipe)``, are drawn into the charts of the same question.

    Raises:
        UserError: The directory does not exist or is no run.
    """
    from dynarium.reporting.report import write_report  # here, so that a table costs no drawing library

    return write_report(run_directory, out, paper)


def write_comparison(run_directories: Sequence[Path], out: Path | None = None) -> Path:
    """Write a page about several runs: one self-contained HTML file, ``comparison.html`` beside the first by default.

    Raises:
        UserError: Fewer than two runs, the same run twice, or one that is no run.
    """
    from dynarium.reporting.comparison import write_comparison

    return write_comparison(run_directories, out)

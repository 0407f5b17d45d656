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

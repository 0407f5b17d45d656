"""The report of a run: one self-contained HTML file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dynarium.reporting import sections
from dynarium.reporting.html import join, tag
from dynarium.reporting.page import page
from dynarium.reporting.rows import record_of
from dynarium.reporting.runs import read_run
from dynarium.reporting.samples import write_samples
from dynarium.reporting.scenes import scenes, write_scene
from dynarium.reporting.summary import head


def write_report(run_directory: Path, out: Path | None = None, paper: Sequence[Any] = ()) -> Path:
    """Write the report of a run, and sheets and GIFs beside the results of a task that left samples.

    Args:
        run_directory: The run; whatever it lacks is left out and said.
        out: The file to write; ``report.html`` in the run directory when left out.
        paper: Published rows (mappings or ``types.Row``), drawn into the charts of the same question.

    Returns:
        The file written.

    Raises:
        UserError: The directory does not exist or is no run.
    """
    run = read_run(Path(run_directory))
    parts = [
        sections.results(run, paper),
        sections.films(run),
        sections.vector_field(run),
        scenes(run),
        sections.metric_charts(run, [record_of(row) for row in paper]),
        sections.curves(run),
        sections.latents(run),
        sections.configuration(run),
    ]
    titles = {
        "results": "Results",
        "films": "Films",
        "field": "Vector field",
        "scenes": "Scenes",
        "settings": "Across settings",
        "training": "Training",
        "latents": "Latent states",
        "again": "Make it again",
    }
    links = [
        tag("a", title, href=f"#{anchor}")
        for (anchor, title), part in zip(titles.items(), parts, strict=True)
        if part is not None
    ]
    body = join(head(run), tag("nav", *links, aria_label="Sections"), *parts)
    path = Path(out) if out is not None else run.directory / "report.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(page(f"{run.name} · dynarium", body), encoding="utf-8")
    partial.replace(path)
    for record in run.tasks:
        write_samples(record)
        write_scene(record)
    return path

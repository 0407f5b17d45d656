"""The report of a run: one self-contained HTML file."""

from pathlib import Path

from dynarium.reporting import sections
from dynarium.reporting.html import join, tag
from dynarium.reporting.page import page
from dynarium.reporting.runs import read_run
from dynarium.reporting.scenes import scenes
from dynarium.reporting.summary import head


def write_report(run_directory: Path, out: Path | None = None) -> Path:
    """Write the report of a run.

    Args:
        run_directory: The run; whatever it lacks is left out and said.
        out: The file to write; ``report.html`` in the run directory when left out.

    Returns:
        The file written.

    Raises:
        UserError: The directory does not exist or is no run.
    """
    run = read_run(Path(run_directory))
    parts = [
        sections.results(run),
        sections.films(run),
        scenes(run),
        sections.metric_charts(run),
        sections.curves(run),
        sections.latents(run),
        sections.configuration(run),
    ]
    titles = {
        "results": "Results",
        "films": "Films",
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
    return path

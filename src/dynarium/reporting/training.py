"""The curves of a training, of one run or of several in the same charts."""

from collections.abc import Mapping

from dynarium.reporting.charts import COLOURS, Series, line_chart, thinned
from dynarium.reporting.html import Html, tag
from dynarium.reporting.page import section
from dynarium.reporting.rows import words
from dynarium.reporting.runs import RunRecord

FIRST = ("loss", "active_units")
"""The charts that come first: what is minimised, and whether the latents are in use at all."""

WHOLE = ("active_units",)
"""Counts: drawn from zero, the first steps included."""

TERMS = ("elbo", "log_", "mse", "kl", "reconstruction")
"""Names of the parts of an objective: their charts come before the rest."""

OPEN = 9
"""Charts that are open at once; the others can be unfolded."""


def training_section(runs: Mapping[str, RunRecord]) -> Html:
    """Draw every logged scalar: of one run training and validation, of several a colour each, validation dashed.

    Args:
        runs: The label of a run -> the run; the label of a single run is not used.
    """
    names = dict.fromkeys(name for run in runs.values() for name in run.scalars)
    ranked = sorted(names, key=lambda n: (FIRST.index(n) if n in FIRST else len(FIRST), not n.startswith(TERMS)))
    charts = [chart for name in ranked if (chart := _chart(name, runs))]
    if not charts:
        return section("training", "Training", tag("p", "No metrics were logged.", class_="quiet"))
    shown = tag("div", *charts[:OPEN], class_="charts")
    rest = charts[OPEN:]
    more = tag("details", tag("summary", f"{len(rest)} more"), tag("div", *rest, class_="charts")) if rest else None
    about = tag("p", "Solid: training. Dashed: validation.", class_="quiet") if len(runs) > 1 else None
    return section("training", "Training", about, shown, more)


def _chart(name: str, runs: Mapping[str, RunRecord]) -> Html | None:
    several = len(runs) > 1
    series = []
    for i, (label, run) in enumerate(runs.items()):
        for k, split in enumerate(("train", "val")):
            x, y = thinned(*run.series(name, split))
            if x:
                colour = i % COLOURS + 1 if several else k + 1
                called = f"{label}, {split}" if several else split
                dashed = several and split == "val"
                series.append(Series(label=called, x=x, y=y, colour=colour, dashed=dashed, marks=len(x) < 3))
    if not series:
        return None
    return line_chart(series, title=words(name), x_label="step", robust=name not in WHOLE, zero=name in WHOLE)

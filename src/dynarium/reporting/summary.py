"""What a run was, in words: the head of the report and its one headline."""

import re
from datetime import datetime
from typing import Any

from dynarium.reporting.html import Html, tag
from dynarium.reporting.rows import Panel, higher_is_better, panels, words
from dynarium.reporting.runs import RunRecord
from dynarium.reporting.tables import result_tables

VERBS = {"smooth": "the smoother", "filter": "the filter", "generate": "the generation", "generated": "the generation"}
VERBS |= {"best-of-N": "the best of N samples", "mean": "the mean"}


def head(run: RunRecord) -> Html:
    """Write the title, the date, what was trained in one sentence, and the headline."""
    when = _date(run)
    return tag(
        "header",
        tag("p", "dynarium run" + (f" · {when}" if when else ""), class_="eyebrow"),
        tag("h1", run.name),
        tag("p", sentence(run), class_="lead"),
        headline(run),
    )


def sentence(run: RunRecord) -> str:
    """Say what was trained on what, as far as the configuration tells."""
    config = run.config
    model, world = _class(config.get("model")), _class(config.get("world"))
    data, training = _mapping(config.get("data")), _mapping(config.get("training"))
    if not config:
        return "The configuration of this run is not there."
    subject = f"A {model}" if model else "A model"
    if imported := _mapping(run.environment.get("imported")).get("file"):
        return f"{subject} imported from the checkpoint {imported}."
    sequences = (
        "an endless stream"
        if data.get("online")
        else f"{data.get('train'):,} sequences"
        if _count(data, "train")
        else ""
    )
    source = _spaced(world) if world else (f"the data in {data['directory']}" if data.get("directory") else "")
    watched = " of ".join(part for part in (sequences, source) if part)
    steps = (
        f" for {training['steps']:,} step{'s' if training['steps'] != 1 else ''}" if _count(training, "steps") else ""
    )
    batch = f" of {training['batch_size']} sequences each" if steps and _count(training, "batch_size") else ""
    seconds = [m["seconds"] for m in run.metrics if isinstance(m.get("seconds"), int | float)]
    time = f", in {_duration(max(seconds))}" if seconds else ""
    return f"{subject} trained{' on ' + watched if watched else ''}{steps}{batch}{time}."


def headline(run: RunRecord) -> Html | None:
    """Say whether the model beats the trivial baselines at the middle setting of its first table, with bars."""
    found = _headline_panel(run)
    if found is None:
        return None
    task, panel, setting = found
    best = panel.at(setting, "model")[0]
    trivial = panel.at(setting, "baseline")
    more = higher_is_better(panel.metric)
    beaten = [r for r in trivial if (best.value > r.value) == more and best.value != r.value]
    unbeaten = [r for r in trivial if r not in beaten]
    verdict = f"{VERBS.get(best.method, best.method)} "
    if not trivial:
        verdict += "has no baseline beside it"
    elif not unbeaten:
        verdict += f"beats {_list([r.method for r in beaten])}"
    elif not beaten:
        verdict += "beats no baseline"
    else:
        verdict += f"beats {_list([r.method for r in beaten])}, but not {_list([r.method for r in unbeaten])}"
    where = " · ".join([task, panel.title, *([panel.label(setting)] if panel.axis else [])])
    table = next(t for t in result_tables(task, run_rows(run, task)) if t.title == f"{task}: {panel.title}")
    column = 1 + panel.settings.index(setting)
    texts = {line.cells[0].text: line.cells[column].text for line in table.rows}
    records = sorted([*panel.at(setting, "model"), *trivial], key=lambda r: r.value, reverse=more)
    longest = max(abs(r.value) for r in records) or 1.0
    bars = []
    for r in records:
        share = 100 * abs(r.value) / longest
        fill = tag("div", class_=f"bar {r.kind}", style=f"width:{share:.1f}%")
        bars += [tag("div", r.method), tag("div", fill), tag("div", texts[r.method], class_="value")]
    return tag(
        "div",
        tag("p", tag("b", verdict[0].upper() + verdict[1:] + ".")),
        tag("div", *bars, class_="bars"),
        tag("p", f"{where}; {'higher' if more else 'lower'} is better", class_="quiet", style="margin:14px 0 0"),
        class_="headline",
    )


def run_rows(run: RunRecord, task: str) -> list[dict[str, Any]]:
    """Return the rows of a task."""
    return [row for record in run.tasks if record.task == task for row in record.rows]


def _headline_panel(run: RunRecord) -> tuple[str, Panel, tuple[Any, ...]] | None:
    """Choose: the PSNR of video; else of the first task the metric on frames missing at random, at p nearest to .5."""
    candidates = [(record.task, panel) for record in run.tasks for panel in panels(record.rows)]
    candidates.sort(
        key=lambda c: (
            c[1].metric != "psnr_mean",
            "missing" not in c[1].metric,
            "wrong" not in c[1].metric,
            c[1].fixed.get("mask") != "random",
        )
    )
    for task, panel in candidates:
        settings = [s for s in panel.settings if panel.at(s, "model")]
        if settings and panel.axis == ("p",):
            return task, panel, min(settings, key=lambda s: abs(s[0] - 0.5))
        if settings:
            return task, panel, settings[len(settings) // 2]
    return None


def _date(run: RunRecord) -> str:
    stamps = [run.environment.get(k) for k in ("created", "started", "date", "time")]
    stamps += [record.about.get("created") for record in run.tasks]
    for stamp in stamps:
        try:
            moment = (
                datetime.fromtimestamp(stamp) if isinstance(stamp, int | float) else datetime.fromisoformat(str(stamp))
            )
        except (ValueError, OSError, OverflowError):
            continue
        return f"{moment.day} {moment:%B %Y}"
    return ""


def _class(section: Any) -> str:
    """Return the class a section of the configuration names: ``KVAE`` for ``dynarium.models.kvae:KVAEConfig``."""
    name = str(_mapping(section).get("class") or "").rpartition(":")[2]
    return name.removesuffix("Config").removesuffix("Options") or name


def _spaced(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower() if not name.isupper() else name


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(section: dict[str, Any], key: str) -> bool:
    return isinstance(section.get(key), int | float)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _list(names: list[str]) -> str:
    names = [words(name) for name in names]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"

"""A page about several runs: what differs, joined tables, curves in the same charts."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dynarium.commands.report import report
from dynarium.errors import UserError
from dynarium.reporting import write_comparison


@pytest.fixture
def runs(run_directory: Path) -> tuple[Path, Path]:
    """Two runs: the second has another seed and another name, is a tenth worse, and has no active units."""
    other = run_directory.with_name("20260102-040000-kvae-other")
    shutil.copytree(run_directory, other)
    config = other / "config.yaml"
    config.write_text(config.read_text().replace("kvae-demo", "kvae-other").replace("batch_size: 32", "batch_size: 16"))
    impute = other / "results" / "impute.json"
    content = json.loads(impute.read_text())
    for row in content["rows"]:
        row["value"] *= 1 if row["baseline"] else 1.1
    impute.write_text(json.dumps(content))
    metrics = other / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace('"active_units": 2.0', '"active_units": 0.0'))
    return run_directory, other


def parts(page: Path) -> dict[str, str]:
    text = page.read_text(encoding="utf-8")
    HTMLParser().feed(text)
    assert text.count("<svg") == text.count("</svg>") and "<script" not in text
    return {found[1]: found[2] for found in re.finditer(r'<section id="(\w+)">(.*?)</section>', text, re.S)}


def test_two_runs(runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    report([str(run) for run in runs], "dynarium report")
    page = runs[0].parent / "comparison.html"
    assert capsys.readouterr().out.strip() == f"report: {page}"
    shown = parts(page)
    assert list(shown) == ["differences", "results", "training"]
    options = re.findall(
        r'<th scope="row" class="name">([^<]*)</th><td>([^<]*)</td><td>([^<]*)</td>', shown["differences"]
    )
    assert options == [("training.batch_size", "32", "16")]
    labels = set(re.findall(r'class="label c\d">([^<]*)<', shown["results"]))
    assert {"demo smooth", "other smooth", "demo filter", "other filter", "blank"} <= labels
    assert "0.0075" in shown["results"] and f"{0.0075 * 1.1:.4f}" in shown["results"]


def test_active_units_of_both_runs_are_in_one_chart_among_the_first(runs: tuple[Path, Path]) -> None:
    training = parts(write_comparison(runs))["training"]
    charts = training.split("<figure")[1:]
    assert "loss" in charts[0] and "active units" in charts[1]
    (two, nought) = (
        {y for _, y in re.findall(r"([\d.]+) ([\d.]+)", path)}
        for path in re.findall(r'<path d="M([^"]*)" class="line', charts[1])
    )
    assert len(two) == len(nought) == 1 and float(two.pop()) < float(nought.pop()), "2 stands above 0"
    assert {"demo, train", "other, train"} <= set(re.findall(r"</svg> ([^<]*)</span>", charts[1]))


def test_runs_of_one_name_are_told_apart_and_other_data_are_not_compared(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    (runs[1] / "config.yaml").write_text((runs[0] / "config.yaml").read_text())
    for file in (runs[1] / "results").glob("*.json"):
        file.write_text(file.read_text().replace("datasets/ball", "datasets/pong"))
    out = tmp_path / "deep" / "page.html"
    assert write_comparison(runs, out) == out
    assert runs[1].name in out.read_text()
    assert "the same but for their names" in parts(out)["differences"]
    assert "No two of these runs" in parts(out)["results"]


def test_bad_runs(runs: tuple[Path, Path], tmp_path: Path) -> None:
    for wrong in ([runs[0]], [runs[0], runs[0]]):
        with pytest.raises(UserError, match="at least two different runs"):
            write_comparison(wrong)
    with pytest.raises(UserError, match="expected a run directory"):
        write_comparison([runs[0], tmp_path / "nothing"])
    with pytest.raises(UserError, match="report: expected a run directory"):
        report([], "dynarium report")

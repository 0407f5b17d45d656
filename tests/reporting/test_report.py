import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from dynarium import config
from dynarium.commands.report import report
from dynarium.errors import UserError
from dynarium.recipes import experiment_of
from dynarium.reporting import write_report

VOID = {"meta", "img", "source", "br", "hr"}


class Page(HTMLParser):
    """Checks that tags balance; collects text, addresses, ids and classes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.addresses: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.tags: list[str] = []
        self.images_without_words = 0
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.stack, f"not closed: {self.stack}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack, f"</{tag}> closes nothing"
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def _note(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.ids |= {given["id"] or ""} if "id" in given else set()
        if tag == "a":
            self.links.append(given["href"] or "")
        elif tag != "html":
            self.addresses += [
                v or "" for k, v in attrs if k in ("src", "href", "srcset", "xlink:href", "data", "poster")
            ]
        if tag == "img" and not given.get("alt"):
            self.images_without_words += 1
        if tag == "svg" and not (given.get("aria-label") or given.get("aria-hidden") or "svg" in self.stack):
            self.images_without_words += 1

    @property
    def text(self) -> str:
        return " ".join(self.words)


def read(path: Path) -> tuple[str, Page]:
    text = path.read_text(encoding="utf-8")
    return text, Page(text)


def test_report_is_one_whole_self_contained_page(run_directory: Path) -> None:
    path = write_report(run_directory)
    assert path == run_directory / "report.html"
    assert not list(run_directory.glob("*.partial"))
    text, page = read(path)
    assert len(page.addresses) > 20, "no pictures"
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert not re.search(r"url\(|@import|https?://", text)
    assert set(page.links) == {f"#{i}" for i in page.ids}
    assert page.images_without_words == 0
    assert 'name="viewport"' in text
    assert "prefers-color-scheme:dark" in text
    assert path.stat().st_size < 4_000_000


def test_every_row_of_the_results_is_there(run_directory: Path) -> None:
    _, page = read(write_report(run_directory))
    words = re.sub(r"\s+", " ", page.text)
    for file in (run_directory / "results").glob("*.json"):
        for row in json.loads(file.read_text())["rows"]:
            assert row["method"] in words
            assert f"{row['value']:.4f}" in words, row
            assert all(str(v) in words for v in row["condition"].values())
    assert "loses to blank" in words
    assert "The smoother beats interpolate, blank and hold-last." in words


def test_the_parts_of_a_report(run_directory: Path) -> None:
    _, page = read(write_report(run_directory))
    words = re.sub(r"\s+", " ", page.text)
    for part in (
        "kvae-demo",
        "2 January 2026",
        "A KVAE trained on 2,000 sequences of bouncing ball for 2,400 steps of 32 sequences each, in 4 min 48 s.",
        "log p x",
        "learning rate",
        "mode weights, sequence 1",
        "z smooth, sequence 1",
        "true state, sequence 1",
        "smoothed",
        "observed",
        "deterministic",
        "modes: 3",  # the configuration
        "0123456789abcdef",  # the commit
        "torch 2.13.0",
        f"dynarium evaluate {run_directory}",
    ):
        assert part in words, part
    order = [
        words.index(t)
        for t in (
            "Results Impute",
            "Films Impute",
            "Coloured lines: the model",
            "Training loss",
            "In the plane",
            "These commands",
        )
    ]
    assert order == sorted(order)


def test_the_headline_says_so_where_the_model_loses(run_directory: Path) -> None:
    file = run_directory / "results" / "impute.json"
    content = json.loads(file.read_text())
    for row in content["rows"]:
        if row["method"] == "hold-last":
            row["value"] = 0.001
    file.write_text(json.dumps(content))
    _, page = read(write_report(run_directory))
    assert "The smoother beats interpolate and blank, but not hold-last." in page.text


def test_many_tables_are_folded_but_there(run_directory: Path) -> None:
    file = run_directory / "results" / "impute.json"
    content = json.loads(file.read_text())
    content["rows"] += [row | {"metric": f"metric_{i}"} for i in range(5) for row in content["rows"][:2]]
    file.write_text(json.dumps(content))
    text, page = read(write_report(run_directory))
    assert "4 more: metric 1" in page.text
    assert text.count("<caption>") == 3 + 5 + 1


def test_what_comes_from_files_is_escaped(run_directory: Path) -> None:
    evil = '<script>alert("&")</script>'
    (run_directory / "config.yaml").write_text(json.dumps({"name": evil, "world": {"class": f"a:{evil}"}}))
    (run_directory / "environment.json").write_text(json.dumps({evil: {evil: evil}}))
    (run_directory / "metrics.jsonl").write_text(json.dumps({"step": 1, "split": "train", evil: 1.0}))
    row = {"method": evil, "metric": evil, "condition": {evil: evil}, "value": 1.0, "standard_error": 0.1, "n": 2}
    about = {"task": evil, "dataset": evil, "rows": [row, row | {"method": "b", "baseline": True}]}
    (run_directory / "results" / "impute.json").write_text(json.dumps(about))
    np.savez(run_directory / "results" / "impute.npz", **{f"video/{evil[1:8]}&": np.zeros((1, 2, 1, 4, 4))})
    text, page = read(write_report(run_directory))
    assert "<script" not in text
    assert "script" not in page.tags
    assert evil in page.text


@pytest.mark.parametrize(
    "gone", ["config.yaml", "metrics.jsonl", "environment.json", "results/impute.json", "results/impute.npz"]
)
def test_a_missing_file_is_left_out_quietly(run_directory: Path, gone: str) -> None:
    (run_directory / gone).unlink()
    read(write_report(run_directory))


def test_a_run_that_only_began_has_a_report(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("name: young\n")
    _, page = read(write_report(tmp_path))
    assert "No results yet" in page.text
    assert "No metrics were logged" in page.text
    assert "no metrics.jsonl" in page.text


@pytest.mark.parametrize("rubbish", ["", "{", "[1, 2]", "\x00\x01", '"text"', '{"rows": [1, {}, {"value": "x"}]}'])
def test_broken_files_do_not_break_the_report(run_directory: Path, rubbish: str) -> None:
    for name in ("config.yaml", "metrics.jsonl", "environment.json", "results/impute.json", "results/impute.npz"):
        (run_directory / name).write_text(rubbish)
    read(write_report(run_directory))


def test_a_result_without_rows_does_not_break_the_report(run_directory: Path) -> None:
    file = run_directory / "results" / "generate.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"rows": []}))
    Page(write_report(run_directory).read_text())


def test_odd_examples_and_metrics_do_not_break_the_report(run_directory: Path) -> None:
    np.savez(
        run_directory / "results" / "impute.npz",
        **{
            "video/truth": np.full((2, 5, 3, 7, 9), np.nan),
            "video/observed": np.zeros((2, 9, 1, 4, 4)),
            "video/filter": np.zeros(3),
            "latent/a": np.full((1, 5, 3), np.nan),
            "latent/z": np.ones((1, 1, 2)),
        },
        mask=np.zeros((7, 5), dtype=bool),
        weights=np.zeros((2, 1, 1)),
        state=np.zeros((2, 5, 1)),
        context=np.zeros(3),
    )
    lines = [
        {"step": 1, "loss": float("nan")},
        {"step": 2, "loss": float("inf")},
        {"loss": 3.0},
        {"step": "x", "loss": 1},
    ]
    (run_directory / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    read(write_report(run_directory))


def test_a_vector_field_is_drawn(run_directory: Path) -> None:
    g = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {"field/dimensions": np.array([0, 2]), "field/place": g.normal(size=(20, 2))}
    for who in ("true", "inferred"):
        arrays |= {f"field/step/{who}": g.normal(size=(20, 2)), f"field/path/{who}": g.normal(size=(9, 2))}
        arrays |= {f"field/mode/{who}": np.arange(20) % 3 - 1, f"field/path-mode/{who}": np.repeat([0, 1, 0], 3)}
    results = run_directory / "results"
    content = {"task": "segment", "rows": []}
    (results / "segment.json").write_text(json.dumps(content))
    np.savez(results / "segment.npz", **arrays)
    page = write_report(run_directory).read_text()
    assert 'href="#field"' in page and "state 1" in page and "state 3" in page
    assert page.count("url(#tip)") == 40
    np.savez(results / "segment.npz", **{k: v for k, v in arrays.items() if k != "field/step/true"})
    assert "url(#tip)" not in write_report(run_directory).read_text()


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run: expected a run directory"):
        write_report(tmp_path / "missing")
    with pytest.raises(UserError, match=re.escape("config.yaml")):
        write_report(tmp_path)
    assert not list(tmp_path.iterdir())


def test_command(run_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report([str(run_directory), "--out", str(tmp_path / "a" / "page.html")], "dynarium report")
    assert capsys.readouterr().out.strip() == f"report: {tmp_path / 'a' / 'page.html'}"
    read(tmp_path / "a" / "page.html")
    assert not (run_directory / "report.html").exists()


def test_the_papers_points_are_drawn(run_directory: Path) -> None:
    at = {"mask": "random"}
    paper = [
        {"method": "smooth", "metric": "wrong_pixels_missing", "condition": at | {"p": p}, "value": 0.0061}
        for p in (0.2, 0.5)
    ]
    plain, _ = read(write_report(run_directory))
    assert "circle" not in plain.split('id="settings"')[1].split("</section>")[0]
    text, page = read(write_report(run_directory, paper=paper))
    charts = text.split('id="settings"')[1].split("</section>")[0]
    assert charts.count("<circle") == 2, "one panel only has this metric and this mask"
    assert "smooth, paper" in page.text
    assert "what the paper printed" in page.text


@pytest.mark.parametrize("gravity", [(0.0, 0.0), (0.0, 5.0)])
def test_the_command_knows_the_paper_of_the_recipes_own_world(
    gravity: tuple[float, float], run_directory: Path
) -> None:
    experiment = experiment_of("kvae-fraccaro2017")
    world = replace(experiment.world, gravity=gravity)
    config.save(replace(experiment, world=world), run_directory / "config.yaml")
    report([str(run_directory)], "dynarium report")
    assert ("VAE-RNN, paper" in (run_directory / "report.html").read_text()) == (world == experiment.world)


def test_a_report_needs_no_torch(run_directory: Path) -> None:
    code = (
        "import sys; from dynarium.reporting import write_report; "
        f"write_report({str(run_directory)!r}); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

import json
import re
from pathlib import Path
from typing import Any

import pytest

from dynarium.errors import UserError
from dynarium.reporting.results_page import main, pooled, results_pages
from dynarium.reporting.results_sections import protocols, short_names


def record(seed: int, value: float, paper: bool = True) -> dict[str, Any]:
    row = {
        "task": "impute",
        "method": "smooth",
        "metric": "mse",
        "condition": {"mask": "random", "p": 0.5},
        "value": value,
        "standard_error": 0.0009,
        "n": 100,
        "baseline": False,
    }
    blank = row | {"method": "blank", "value": 0.014, "baseline": True}
    return {
        "recipe": "kvae-x",
        "seed": seed,
        "commit": "0123456789abcdef",
        "versions": {"torch": "2.13.0"},
        "hardware": {"cpu": "two cores", "accelerator": None},
        "evaluated": "fedcba9876543210",
        "training_seconds": 600.0,
        "rows": [row, blank],
        "paper": [row | {"value": 0.0075, "standard_error": None}] if paper else [],
    }


def write(folder: Path, *records: dict[str, Any]) -> None:
    folder.mkdir(parents=True)
    for one in records:
        (folder / f"seed-{one['seed']}.json").write_text(json.dumps(one))


def test_how_numbers_were_made_is_said_once() -> None:
    asked = {"context": 5, "metrics": {"ssim": {"window": "7x7"}}, "weights": {}}
    said = protocols([{"protocol": {"forecast-video": asked}}, {"protocol": {"forecast-video": asked}}, {}])
    assert said.count("context 5; metrics (ssim (window 7x7))") == 1 and "weights" not in said
    assert "context 6" in protocols([{"protocol": {"forecast-video": asked | {"context": 6}}}])
    assert protocols([{}]) == ""


def test_page_of_two_recipes(tmp_path: Path) -> None:
    write(tmp_path / "results" / "kvae-x", *(record(seed, value) for seed, value in ((10, 0.0074), (2, 0.0070))))
    write(tmp_path / "results" / "other", record(0, 0.02, paper=False))
    pages = results_pages(tmp_path / "results")
    assert list(pages) == ["results.md", "results/kvae-x.md", "results/other.md"]
    first, second = pages["results/kvae-x.md"].text, pages["results/other.md"].text
    assert "| wrong" not in first
    assert "| [kvae-x](results/kvae-x.md) | 2 | impute | 10.0 min |\n" in pages["results.md"].text
    assert first.index("| 2 | `0123456789` | `fedcba9876` | 10.0 min | cpu two cores | torch 2.13.0 |") < first.index(
        "| 10 |"
    )
    assert "| mse | random, p = 0.5 | smooth | 0.0075 | 0.0072 ± 0.0002 | **-0.0003** |" in first
    assert "over 2 seeds of 100 sequences" in first
    assert "paper" not in second
    assert "0.0200 ± 0.0009 (loses to blank)" in second
    assert "over 100 sequences" in second


def test_recipes_on_the_same_data_are_compared(tmp_path: Path) -> None:
    def told(seed: int, value: float) -> dict[str, Any]:
        one = record(seed, value, paper=False) | {"data": "abc"}
        several = [
            row | {"metric": "mse_ahead", "condition": {"steps ahead": k}} for row in one["rows"] for k in (1, 2)
        ]
        per_task = [row | {"condition": {**row["condition"], "task": 3}, "value": 9.0} for row in one["rows"]]
        return one | {"rows": [*one["rows"], *several, *per_task]}

    write(tmp_path / "results" / "good", told(0, 0.002), told(1, 0.004))
    write(tmp_path / "results" / "bad", told(0, 0.008))
    write(tmp_path / "results" / "elsewhere", record(0, 0.001, paper=False) | {"data": "xyz"})
    page, contents = results_pages(tmp_path / "results")["results.md"].text.split("## Every recipe")
    assert "## Compared: bad, good\n" in page
    assert "| recipe | method | mse |" in page
    assert "| good | smooth | **0.0030 ± 0.0010** |" in page
    assert "| bad | smooth | 0.0080 ± 0.0009 |" in page
    assert "| any | blank *(trivial)* | 0.0140 ± 0.0009 |" in page
    assert "elsewhere" not in page and "elsewhere" in contents


def sweep(name: str, seed: int, factor: float, methods: tuple[str, ...] = ("smooth", "filter")) -> dict[str, Any]:
    """A record of an imputation at five settings, two metrics, with published rows."""
    shares = (0.2, 0.4, 0.6, 0.8, 1.0)
    rows = [
        record(seed, 0.0)["rows"][0]
        | {"method": method, "metric": metric, "condition": {"mask": "random", "p": p}, "value": factor * p}
        | {"baseline": method == "blank"}
        for metric in ("mse_all", "wrong_pixels_missing")
        for method in (*methods, "generate", "blank")
        for p in shares
    ]
    paper = [
        {
            "method": method,
            "metric": "wrong_pixels_missing",
            "condition": {"mask": "random", "p": p},
            "value": scale * p,
        }
        for method, scale in {"smooth": 0.01, "filter": 0.02, "AE-RNN": 0.03}.items()
        for p in shares
    ]
    return record(seed, 0.0) | {"recipe": name, "data": "abc", "rows": rows, "paper": paper}


def test_what_was_measured_over_a_setting_is_drawn_and_its_tables_folded(tmp_path: Path) -> None:
    write(tmp_path / "kvae-x", sweep("kvae-x", 0, 0.02), sweep("kvae-x", 1, 0.03))
    page = results_pages(tmp_path)["results/kvae-x.md"]
    file = "kvae-x-impute-wrong-pixels-missing-random-p.svg"
    assert set(page.pictures) == {file, "kvae-x-impute-mse-all-random-p.svg"}
    for name in page.pictures:
        assert f"(../images/results/{name})" in page.text
    first, *hidden = page.text.split("<details")
    assert file in first and "mse-all" not in first, "the metric of the paper is shown, the other folded"
    assert "| method | p = 0.2 |" not in first
    assert sum("| smooth | 0.0050 ± 0.0010 (ties with blank) |" in part for part in hidden) == 1
    assert any("| smooth | 0.0020 |" in part for part in hidden), "the paper's table is long: folded too"
    assert page.text.count("<details") == page.text.count("</details>") == page.text.count("<summary>") == 3
    assert "generate" not in page.pictures[file]
    assert page.pictures[file].count("<circle") == 15
    assert "smooth from 0.005 to 0.025" in page.pictures[file]


def test_recipes_are_drawn_into_one_chart(tmp_path: Path) -> None:
    write(tmp_path / "kvae-x", sweep("kvae-x", 0, 0.02))
    write(tmp_path / "skvae-x", sweep("skvae-x", 0, 0.01))
    other = sweep("ae-rnn-x", 0, 0.03, methods=("filter",))
    # The same numbers stand in the longer table of kvae-x, where they have the name of the model.
    other["paper"] = [row | {"method": "filter"} for row in other["paper"] if row["method"] == "AE-RNN"]
    write(tmp_path / "ae-rnn-x", other)
    page = results_pages(tmp_path)["results.md"]
    name = "compared-ae-rnn-x-and-2-impute-wrong-pixels-missing-random-p.svg"
    assert f"(images/results/{name})" in page.text
    labels = dict(reversed(found) for found in re.findall(r'class="label (c\d)">([^<]*)<', page.pictures[name]))
    assert set(labels) == {
        *("ae-rnn", "kvae smooth", "kvae filter", "skvae smooth", "skvae filter", "blank"),
        *("kvae smooth, paper", "kvae filter, paper", "AE-RNN, paper"),
    }
    assert labels["kvae smooth"] == labels["kvae filter"] == labels["kvae smooth, paper"] != labels["skvae smooth"]
    assert labels["ae-rnn"] == labels["AE-RNN, paper"]
    assert page.pictures[name].count("<circle") == 10, "the second method's points are squares"
    assert "| kvae filter | 0.004" in page.text


def test_short_names() -> None:
    assert short_names(["kvae-x", "vae-rnn-x"]) == {"kvae-x": "kvae", "vae-rnn-x": "vae-rnn"}
    assert list(short_names(["a-b", "a-b-c", "a-b-d"]).values()) == ["b", "b-c", "b-d"]
    assert short_names(["only-one"]) == {"only-one": "only-one"}


def test_one_seed_keeps_its_error_over_sequences() -> None:
    assert pooled([record(0, 0.3)])[0]["standard_error"] == 0.0009
    both = pooled([record(0, 0.3), record(1, 0.5)])
    assert both[0]["value"] == pytest.approx(0.4)
    assert both[0]["standard_error"] == pytest.approx(0.1)
    assert both[1]["standard_error"] == 0


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "results" / "kvae-x", sweep("kvae-x", 0, 0.02))
    stale = tmp_path / "docs" / "images" / "results" / "gone.svg"
    stale.parent.mkdir(parents=True)
    stale.write_text("old")
    page = tmp_path / "docs" / "results" / "gone.md"
    page.parent.mkdir()
    page.write_text("old")
    assert main([str(tmp_path / "results"), str(tmp_path / "docs")]) == 0
    assert [f.name for f in page.parent.iterdir()] == ["kvae-x.md"]
    assert sorted(f.name for f in stale.parent.iterdir()) == [
        "kvae-x-impute-mse-all-random-p.svg",
        "kvae-x-impute-wrong-pixels-missing-random-p.svg",
    ]
    assert (tmp_path / "docs" / "results.md").read_text(encoding="utf-8").startswith("# Results")
    assert main([str(tmp_path / "results")]) == 2
    assert main([str(tmp_path / "nothing"), str(tmp_path / "no")]) == 2
    assert "no directory" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_no_results_yet(tmp_path: Path) -> None:
    assert "no results yet" in results_pages(tmp_path)["results.md"].text


def test_a_study_has_its_page_with_its_pictures(tmp_path: Path) -> None:
    results, docs = tmp_path / "results", tmp_path / "docs"
    for cell in ("vicreg-0", "idm-0"):
        (results / "noise-cpu" / cell).mkdir(parents=True)
        (results / "noise-cpu" / cell / "seed-0.json").write_text(
            json.dumps(record(0, 1.0) | {"training_seconds": 1800})
        )
    (results / "noise-cpu" / "study.md").write_text("![panels](panels.svg)\n\n| a table |\n")
    (results / "noise-cpu" / "panels.svg").write_text("<svg/>")
    assert main([str(results), str(docs)]) == 0
    page = (docs / "results" / "noise-cpu.md").read_text()
    shown = re.findall(r"\]\((.*\.svg)\)", page)
    assert [(docs / "results" / file).resolve().read_text() for file in shown] == ["<svg/>"]
    assert "2 trainings of 1.0 h in all" in page and "| a table |" in page
    assert "[noise-cpu](results/noise-cpu.md)" in (docs / "results.md").read_text()


@pytest.mark.parametrize("text", ["{", "[]", '{"rows": 3}'])
def test_a_broken_record_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "kvae-x").mkdir()
    (tmp_path / "kvae-x" / "seed-0.json").write_text(text)
    with pytest.raises(UserError, match=r"seed-0\.json"):
        results_pages(tmp_path)

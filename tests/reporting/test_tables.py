import math
import re
from typing import Any

import pytest

from dynarium.reporting.rows import higher_is_better, panels, record_of
from dynarium.reporting.tables import (
    Cell,
    Line,
    Table,
    comparison_table,
    markdown,
    paper_table,
    print_table,
    result_tables,
)
from dynarium.types import Row

Rows = list[dict[str, Any]]


def lines_of(table: Table) -> dict[str, tuple[Cell, ...]]:
    return {line.cells[table.labels - 1].text: line.cells for line in table.rows}


def one(
    method: str, value: float | None, baseline: bool = False, metric: str = "mse", **condition: Any
) -> dict[str, Any]:
    return {
        "method": method,
        "metric": metric,
        "condition": condition,
        "value": value,
        "standard_error": 0.001,
        "n": 10,
        "baseline": baseline,
    }


def test_one_table_for_each_metric_and_kind_of_mask(impute_rows: Rows) -> None:
    tables = result_tables("impute", impute_rows)
    assert [t.title for t in tables] == [
        "impute: wrong pixels missing · mask random",
        "impute: wrong pixels missing · mask block",
        "impute: wrong pixels all · mask random",
    ]
    random = next(t for t in tables if "missing · mask random" in t.title)
    assert random.columns == ("method", "p = 0.2", "p = 0.5", "p = 0.8")
    assert lines_of(random)["smooth"][1].text == "0.0061 ± 0.0002"
    assert "500 sequences" in random.note


def test_model_first_then_bound_then_trivial(impute_rows: Rows) -> None:
    lines = result_tables("impute", impute_rows)[0].rows
    assert [line.tag for line in lines] == ["", "", "bound", "trivial", "trivial", "trivial"]
    assert [line.rule for line in lines] == [False, False, True, True, False, False]


def test_best_is_marked_only_where_it_beats_every_trivial_row(impute_rows: Rows) -> None:
    table = result_tables("impute", impute_rows)[0]
    smooth = lines_of(table)["smooth"]
    assert [cell.best for cell in smooth] == [False, True, True, False]
    assert [cell.mark for cell in smooth] == ["", "", "", "loses to blank"]
    others = [cell for name, cells in lines_of(table).items() if name != "smooth" for cell in cells]
    assert not any(cell.best or cell.mark for cell in others)


def test_a_bound_is_never_the_best() -> None:
    rows = [one("stochastic", 0.4), one("data", 0.1), one("blank", 0.5, baseline=True)]
    table = result_tables("generate", rows)[0]
    assert [(line.cells[0].text, line.tag, line.cells[1].best) for line in table.rows] == [
        ("stochastic", "", True),
        ("data", "bound", False),
        ("blank", "trivial", False),
    ]


def test_a_tie_is_no_victory() -> None:
    table = result_tables("t", [one("filter", 0.5, p=0.1), one("blank", 0.5, baseline=True, p=0.1)])[0]
    assert lines_of(table)["filter"][1] == Cell(text="0.500 ± 0.001", mark="ties with blank")


@pytest.mark.parametrize(("n", "wins"), [(1, True), (4, True), (5, False), (10, False)])
def test_who_reached_few_of_the_goals_beats_nobody_by_how_fast(n: int, wins: bool) -> None:
    straight = one("straight-line", 11.0, baseline=True, metric="steps_to_goal") | {"n": n}
    (table,) = result_tables("plan", [one("latent", 39.0, metric="steps_to_goal"), straight])
    assert lines_of(table)["latent"][1].best == wins


@pytest.mark.parametrize(("metric", "wins"), [("r2", True), ("mse", False), ("negative_log_likelihood", False)])
def test_direction_follows_the_metric(metric: str, wins: bool) -> None:
    assert higher_is_better(metric) is wins
    table = result_tables("t", [one("probe", 0.9, metric=metric), one("mean", 0.1, baseline=True, metric=metric)])[0]
    assert lines_of(table)["probe"][1].best is wins


def test_of_a_coverage_nothing_is_best() -> None:
    rows = [one("model", 0.5, metric="coverage_90"), one("arx", 0.9, baseline=True, metric="coverage_90")]
    table = result_tables("identify", rows)[0]
    assert not any(cell.best or cell.mark for line in table.rows for cell in line.cells)
    assert "better" not in table.note and "Bold" not in table.note
    assert higher_is_better("fit_index")


def test_missing_values_are_dashes_and_never_best() -> None:
    rows = [one("smooth", None, p=0.2), one("filter", 0.3, p=0.2), one("filter", 0.4, p=0.5)]
    table = result_tables("t", rows)[0]
    assert [c.text for c in lines_of(table)["smooth"]] == ["smooth", "–", "–"]
    assert lines_of(table)["filter"][1].best


def test_rows_as_dataclasses_and_as_mappings_are_the_same() -> None:
    row = Row(method="smooth", metric="mse", condition={"p": 0.5}, value=0.25, standard_error=math.nan, n=3)
    record = record_of(row)
    assert (record.value, record.kind, record.condition) == (0.25, "model", {"p": 0.5})
    assert lines_of(result_tables("t", [row])[0])["smooth"][1].text == "0.25"


def test_settings_of_different_names_do_not_share_a_table() -> None:
    found = panels([one("smooth", 0.1, p=0.5), one("smooth", 0.2, steps=3)])
    assert [panel.axis for panel in found] == [("p",), ("steps",)]


def test_settings_are_sorted_as_numbers() -> None:
    panel = panels([one("smooth", 0.1, steps=s) for s in (15, 3, 1)])[0]
    assert panel.settings == ((1,), (3,), (15,))


def records(values: list[float]) -> list[dict[str, Any]]:
    paper = [
        {"method": m, "metric": "mse", "condition": {"mask": "random", "p": 0.5}, "value": v, "standard_error": None}
        for m, v in (("smooth", 0.0075), ("AE-RNN", 0.0095))
    ]
    return [
        {
            "seed": seed,
            "rows": [
                one("smooth", value, mask="random", p=0.5),
                one("smooth", 0.9, mask="random", p=0.8),
                one("blank", 0.014, baseline=True, mask="random", p=0.5),
                one("blank", 0.014, baseline=True, mask="random", p=0.8),
            ],
            "paper": paper,
        }
        for seed, value in enumerate(values)
    ]


def test_paper_table_over_seeds() -> None:
    table = paper_table("kvae", records([0.0070, 0.0074, 0.0072]))
    lines = lines_of(table)
    # Standard error of (70, 74, 72): standard deviation 2, over the square root of 3.
    assert [c.text for c in lines["smooth"][-3:]] == ["0.0075", "0.0072 ± 0.0001", "-0.0003"]
    assert lines["smooth"][-1].best
    assert [c.text for c in lines["AE-RNN"][-3:]] == ["0.0095", "–", "–"]
    assert [c.text for c in lines["blank"][-3:]] == ["–", "0.0140 ± 0.0000", "–"]
    assert [line.tag for line in table.rows] == ["", "", "trivial"], "no trivial row at a setting the paper lacks"
    assert "over 3 seeds" in table.note


def test_paper_table_of_one_seed_has_the_error_over_sequences() -> None:
    table = paper_table("kvae", records([0.0080]))
    assert [c.text for c in lines_of(table)["smooth"][-3:]] == ["0.0075", "0.0080 ± 0.0010", "+0.0005"]
    assert not lines_of(table)["smooth"][-1].best
    assert "one seed" in table.note


def test_paper_table_says_which_values_some_seeds_lack() -> None:
    """A seed that failed is not left out of the mean in silence; one seed of several has no error over seeds."""
    table = paper_table("kvae", records([0.0070, math.nan, 0.0072]))
    smooth = next(line for line in table.rows if line.cells[2].text == "smooth")
    assert smooth.cells[4].text == "0.0071 ± 0.0001 (2 of 3 seeds)"
    table = paper_table("kvae", records([math.nan, math.nan, 0.0072]))
    smooth = next(line for line in table.rows if line.cells[2].text == "smooth")
    assert smooth.cells[4].text == "0.0072 (1 of 3 seeds)"


def test_paper_table_keeps_the_digits_that_were_printed() -> None:
    ours, published = one("smooth", 0.71), one("smooth", 0.103) | {"standard_error": math.nan}
    table = paper_table("wh", [{"seed": 0, "rows": [ours], "paper": [published]}])
    assert [c.text for c in table.rows[0].cells[-3:]] == ["0.103", "0.710 ± 0.001", "+0.607"]


def test_paper_table_without_records() -> None:
    assert paper_table("kvae", []).rows == ()


def test_print_is_plain_and_whole_without_a_terminal(impute_rows: Rows, capsys: pytest.CaptureFixture[str]) -> None:
    for table in result_tables("impute", impute_rows):
        print_table(table)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    for text in ("0.0158 ± 0.0004", "loses to blank", "hold-last (trivial)", "steps = 15", "reconstruction (bound)"):
        assert text in out


def test_print_cuts_no_number_of_a_wide_table(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [one("mean", 0.1234, **{"steps ahead": step}) for step in range(1, 41)]
    for table in result_tables("forecast", rows):
        print_table(table)
    out = capsys.readouterr().out
    assert "steps ahead = 40" in out
    assert "…" not in out


def test_brackets_in_names_are_not_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(result_tables("[red]t", [one("[bold]x", 1.0)])[0])
    out = capsys.readouterr().out
    assert "[bold]x" in out
    assert "[red]t" in out


def test_markdown(impute_rows: Rows) -> None:
    text = markdown(result_tables("impute", impute_rows)[0])
    lines = text.splitlines()
    assert lines[2] == "| method | p = 0.2 | p = 0.5 | p = 0.8 |"
    assert lines[3] == "| :-- | --: | --: | --: |"
    assert lines[4] == "| smooth | **0.0061 ± 0.0002** | **0.0075 ± 0.0002** | 0.0158 ± 0.0004 (loses to blank) |"
    assert {line.count("|") for line in lines if line.startswith("|")} == {5}
    assert "a\\|b" in markdown(result_tables("t", [one("a|b", 1.0)])[0])


def test_a_wide_table_is_printed_in_parts_that_fit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = ("method", *(f"steps = {i}" for i in range(1, 12)))
    cells = tuple(Cell(text=t) for t in ("hold-last", *(f"0.{i:03d} ± 0.001" for i in range(1, 12))))
    table = Table(title="t", columns=columns, rows=(Line(cells=cells, tag="trivial"),))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    print_table(table)
    printed = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert max(map(len, printed.splitlines())) <= 80
    for i in range(1, 12):
        assert f"0.{i:03d} ± 0.001" in printed
    assert printed.count("hold-last (trivial)") == 4


def test_methods_that_answered_with_other_numbers_of_samples_stand_side_by_side() -> None:
    def rows(samples: int, value: float) -> list[dict[str, Any]]:
        condition = {"horizon": 25, "samples": samples}
        found = [{"method": "best-of-N", "metric": "psnr_mean", "condition": condition, "value": value}]
        found += [{"method": "best-of-N", "metric": "diversity_mean", "condition": condition, "value": 0.1}]
        return [
            *found,
            {"method": "black", "metric": "psnr_mean", "condition": condition, "value": 13, "baseline": True},
        ]

    first, _ = result_tables("forecast-video", [*rows(20, 15.0), *[r | {"method": "mean"} for r in rows(1, 14.0)]])
    assert first.columns == ("method", "horizon = 25")
    table = comparison_table("forecast-video", {"lp": rows(20, 15.0), "deterministic": rows(1, 14.0)})
    assert table is not None
    assert [line.cells[0].text for line in table.rows] == ["lp", "deterministic", "any"]
    assert table.rows[0].cells[2].best and not any(line.cells[3].best for line in table.rows if line.tag)

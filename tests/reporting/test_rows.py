"""Rows as they are read for tables and charts."""

from dynarium.reporting.rows import baseline_tag, panels
from dynarium.reporting.tables import comparison_table, result_tables


def row(metric: str, value: float, method: str = "latent", **condition: float) -> dict:
    return {
        "method": method,
        "metric": metric,
        "condition": condition,
        "value": value,
        "standard_error": 0.05,
        "n": 50,
        "baseline": method == "random",
    }


def rows() -> list[dict]:
    bounds = [
        (x + metric, v, at) for at in (1, 2) for x, v in (("success", at / 4),) for metric in ("", "_low", "_high")
    ]
    shift = {"success": 0.0, "success_low": -0.1, "success_high": 0.2}
    found = [row(metric, v + shift[metric], tolerance=at) for metric, v, at in bounds]
    return [*found, row("success", 0.1, "random", tolerance=1), row("price_low", 3.0)]


def test_the_bounds_of_an_interval_are_part_of_its_number():
    success, price = panels(rows())
    assert (success.metric, price.metric) == ("success", "price_low")  # a lone bound is a number of its own
    assert success.points["latent", (1,)].interval == (0.15, 0.45)
    assert success.points["random", (1,)].interval is None


def test_tables_show_intervals_of_sequences_and_errors_over_seeds():
    text = [cell.text for line in result_tables("plan", rows())[0].rows for cell in line.cells]
    assert "0.25 [0.15, 0.45]" in text and "0.10 ± 0.05" in text
    text = [cell.text for line in result_tables("plan", rows(), over="3 seeds")[0].rows for cell in line.cells]
    assert "0.25 ± 0.05" in text
    table = comparison_table(
        "plan",
        {"a": [row("success", 0.5), row("success_low", 0.4), row("success_high", 0.6)], "b": [row("success", 0.4)]},
    )
    assert table is not None and table.columns == ("recipe", "method", "success")


def test_methods_in_their_own_right_are_called_classical() -> None:
    from dynarium.tasks.classical import IDENTIFIERS

    called = {name: baseline_tag(name) for name in (*IDENTIFIERS, "blank")}
    assert {name for name, tag in called.items() if tag == "trivial"} == {"last-value", "context-mean", "blank"}
    row = {"metric": "rmse", "condition": {"noise": 0}, "standard_error": 0.1, "n": 3}
    rows = [{**row, "method": "model", "value": 1.0}, {**row, "method": "arx", "value": 2.0, "baseline": True}]
    assert [line.tag for line in result_tables("identify", rows)[0].rows] == ["", "classical"]

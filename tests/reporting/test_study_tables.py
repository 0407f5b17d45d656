"""Tables of a study: means and errors over seeds, trivial rows at every level, claims."""

from dataclasses import dataclass

from dynarium.reporting.study_tables import claims_table, level_tables


def points():
    clean = [
        {"method": "vicreg", "noise": "none", "level": 0.0, "value": v, "seed": i} for i, v in enumerate((0.6, 0.8))
    ]
    here = {"method": "vicreg", "noise": "fixed", "source": "uniform", "level": 1.0, "seed": 0}
    noisy = [here | {"value": 9.5, "standard_error": 0.25}]
    return [*clean, *noisy, {"method": "constant", "noise": "none", "level": 0.0, "value": 9.37, "baseline": True}]


def test_a_line_a_method_a_column_a_level():
    (table,) = level_tables("study", points())
    assert table.title == "study: fixed noise, uniform"
    assert table.columns == ("method", "level 0", "level 1")
    texts = [[cell.text for cell in line.cells] for line in table.rows]
    assert texts == [["vicreg", "0.70 ± 0.10 (n=2)", "9.50 ± 0.25 (n=1)"], ["constant", "9.37", "9.37"]]
    assert [line.tag for line in table.rows] == ["", "trivial"]


def test_without_noise_there_is_one_table():
    (table,) = level_tables("study", [p for p in points() if p["noise"] == "none"])
    assert table.columns == ("method", "level 0")


def test_claims_say_yes_no_or_nothing():
    @dataclass
    class Claim:
        statement: str
        holds: bool | None
        measured: str

    table = claims_table("study", [Claim("a", True, "1"), Claim("b", False, "2"), Claim("c", None, "not run")])
    assert [line.cells[0].text for line in table.rows] == ["yes", "no", "–"]

"""Tables and figures of a study, by how it says it is drawn."""

from typing import get_args

from dynarium.recipes.study import Study
from dynarium.reporting.study_figures import FIGURES, settings_figures, study_page


def points(steps: int = 3) -> list[dict[str, object]]:
    """Two methods and a trivial row, two seeds, some steps ahead in one world."""
    found = []
    for of, level in (("lp", 16.0), ("fp", 14.0)):
        for seed in (0, 1):
            for method, value, baseline in (("best", level, False), ("black", 13.0, True), ("posterior", 20.0, False)):
                for step in range(1, steps + 1):
                    condition = {"world": "digits", "step": step, "samples": 20 if of == "lp" else 1}
                    row = {"method": method, "metric": "psnr", "condition": condition, "baseline": baseline, "n": 8}
                    found.append(row | {"value": value + seed - step, "standard_error": 0.1, "of": of, "seed": seed})
    return found


def test_a_picture_for_each_metric_and_world() -> None:
    tables, pictures = settings_figures("priors", points())
    assert list(pictures) == ["psnr-digits.svg"]
    svg = pictures["psnr-digits.svg"]
    assert svg.startswith("<svg") and all(f">{label}</text>" in svg for label in ("lp", "fp", "black"))
    assert "posterior" not in svg, "a bound"
    (table,) = tables
    assert [line.cells[0].text for line in table.rows] == ["lp", "fp", "black"]
    assert table.rows[0].cells[1].text == "15.5 ± 0.5", "mean and standard error over two seeds"
    assert "seeds" in table.note


def test_a_table_of_many_settings_is_folded_behind_its_chart() -> None:
    short, wide = (study_page(*settings_figures("priors", points(steps))) for steps in (3, 6))
    assert "| lp |" in short and "<details" not in short
    assert wide.index("psnr-digits.svg") < wide.index("<details") < wide.index("| lp |")


def test_every_way_of_drawing_is_known() -> None:
    drawn = Study.drawn.fget
    assert drawn is not None
    assert set(FIGURES) == set(get_args(drawn.__annotations__["return"]))

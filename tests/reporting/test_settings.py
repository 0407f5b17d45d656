"""Charts of a metric over a setting: lines, points and labels lie where their numbers say."""

import itertools
import math
import re
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynarium.reporting.rows import Panel, panels, record_of
from dynarium.reporting.settings import (
    Curve,
    colours_of,
    curves_of,
    is_sweep,
    settings_chart,
    settings_picture,
    spread,
    titles,
)

HEIGHTS = st.lists(st.floats(-50, 250), min_size=1, max_size=15)


@given(HEIGHTS)
def test_labels_keep_their_distance_their_order_and_the_frame(wanted: list[float]) -> None:
    placed = spread(wanted, 12, 10, 210)
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    gaps = [placed[b] - placed[a] for a, b in itertools.pairwise(order)]
    assert all(gap >= 12 - 1e-9 for gap in gaps)
    assert min(placed) >= 10 - 1e-9 and max(placed) <= 210 + 1e-9


@given(st.lists(st.floats(20, 200), min_size=1, max_size=6), st.integers(0, 2**31))
def test_labels_move_as_little_as_possible(wanted: list[float], seed: int) -> None:
    """No other placing that keeps the distance lies nearer, in the sum of squares."""
    import numpy as np

    placed = np.array(spread(wanted, 12, 0, 1000))
    order = np.argsort(wanted, kind="stable")
    random = np.random.default_rng(seed)
    for scale in (0.1, 1, 10):
        other = np.sort(placed[order] + scale * random.normal(size=len(placed)))
        for i in range(1, len(other)):
            other[i] = max(other[i], other[i - 1] + 12)
        if other[0] >= 0:
            there, here = (((h - np.array(wanted)[order]) ** 2).sum() for h in (other, placed[order]))
            assert here <= there + 1e-6


def test_too_many_labels_are_squeezed_into_the_frame() -> None:
    assert spread([0.0] * 5, 12, 0, 20) == pytest.approx([0, 5, 10, 15, 20])


@pytest.fixture
def panel(impute_rows: list[dict[str, Any]]) -> Panel:
    return next(p for p in panels(impute_rows) if p.metric == "wrong_pixels_missing" and p.axis == ("p",))


def paper(method: str, mask: str = "random", metric: str = "wrong_pixels_missing") -> list[Any]:
    row = {"method": method, "metric": metric, "value": 0.006}
    return [record_of(row | {"condition": {"mask": mask, "p": p}}) for p in (0.2, 0.5, 0.8)]


def test_curves_of_a_panel(panel: Panel) -> None:
    strangers = [*paper("smooth", mask="all"), *paper("filter", metric="mse_missing")]
    curves = {c.label: c for c in curves_of(panel, [*paper("smooth"), *paper("VAE-RNN"), *strangers])}
    assert list(curves) == [
        *("smooth", "filter", "reconstruction", "blank", "hold-last", "interpolate"),
        *("smooth, paper", "VAE-RNN, paper"),
    ]
    assert curves["smooth"].colour == curves["smooth, paper"].colour != curves["filter"].colour
    assert {curves[n].kind for n in ("blank", "hold-last", "interpolate")} == {"trivial"}
    assert curves["reconstruction"].kind == "bound"
    assert curves["smooth"].y == [0.0061, 0.0075, 0.0158]
    assert len({c.colour for c in curves.values() if c.kind != "trivial"}) == 4


def test_grey_is_for_trivial_rows_alone() -> None:
    assert 6 not in colours_of([f"m{i}" for i in range(12)]).values()


def test_the_axis_begins_at_zero_and_points_lie_where_they_should(panel: Panel) -> None:
    curves = [Curve(label="a", x=[0.2, 0.5, 0.8], y=[0.01, 0.02, 0.03], kind="paper")]
    chart = settings_chart(curves, panel, task="impute")
    xs, ys = ([float(v) for v in re.findall(rf'<circle.*?{c}="([\d.]+)"', chart)] for c in ("cx", "cy"))
    base = float(re.findall(r'<line x1="[\d.]+" y1="([\d.]+)" x2="[\d.]+" y2="[\d.]+" class="axis"', chart)[-1])
    assert base - ys[2] == pytest.approx(3 * (base - ys[0]), abs=0.1), "heights are in proportion: the axis starts at 0"
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.02)


def test_the_band_is_one_standard_error_to_both_sides(panel: Panel) -> None:
    curves = [Curve(label="a", x=[0.0, 1.0], y=[2.0, 4.0], error=[1.0, 0.0])]
    chart = settings_chart(curves, panel, task="impute")
    (band,) = re.findall(r'<path d="M([^"]*)Z" class="spread', chart)
    (line,) = re.findall(r'<path d="M([^"]*)" class="line', chart)
    heights = [float(point.split()[1]) for point in band.split("L")]
    middle, end = (float(point.split()[1]) for point in line.split("L"))
    assert heights[0] + heights[3] == pytest.approx(2 * middle, abs=0.2)
    assert (middle - heights[0]) / (middle - end) == pytest.approx(0.5, abs=0.01)


def test_what_is_not_finite_is_left_out(panel: Panel) -> None:
    curves = [Curve(label="a", x=[0.2, 0.5], y=[math.nan, 1.0]), Curve(label="gone", x=[0.2], y=[math.inf])]
    chart = settings_chart(curves, panel, task="impute")
    assert "gone" not in chart and "nan" not in chart
    assert "no finite values" in settings_chart(curves[1:], panel, task="impute")
    assert settings_picture(curves[1:], panel, task="impute") == ""


def test_a_diverging_model_makes_the_axis_logarithmic_and_that_is_said(panel: Panel) -> None:
    curves = [Curve(label="a", x=[0.2, 0.5], y=[0.001, 10.0])]
    assert "logarithmic" in settings_chart(curves, panel, task="impute")
    bound = Curve(label="b", x=[0.2, 0.5], y=[1e-9, 1e-9], kind="bound")
    assert "logarithmic" not in settings_chart([Curve(label="a", x=[0.2], y=[1.0]), bound], panel, task="impute")


def test_a_picture_is_a_file_of_its_own_in_both_modes(panel: Panel) -> None:
    text = settings_picture(curves_of(panel, paper("a<b")), panel, task="impute")
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    words = ["".join(e.itertext()) for e in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"smooth", "a<b, paper", "blank", "impute: wrong pixels on missing frames"} <= set(words)
    assert "prefers-color-scheme:dark" in text
    assert not re.search(r"url\(|@import|href", text)
    assert "smooth from 0.0061 to 0.0158" in text
    right = float(root.attrib["width"])
    for element in root.iter("{http://www.w3.org/2000/svg}text"):
        if "label" in element.attrib.get("class", ""):
            assert float(element.attrib["x"]) + 6 * len("".join(element.itertext())) < right


def test_titles_and_sweeps(panel: Panel) -> None:
    assert titles(panel, "impute") == ["impute: wrong pixels on missing frames", "frames missing at random"]
    assert is_sweep(panel) and not is_sweep(panel, 4)
    row = {"method": "m", "metric": "x", "value": 1.0, "condition": {"word": "a"}}
    assert not is_sweep(panels([row, row | {"condition": {"word": "b"}}])[0])


def test_decibels_have_no_zero() -> None:
    rows = [{"method": "best", "metric": "psnr_mean", "condition": {"step": x}, "value": 15.0 - x} for x in (1, 2, 3)]
    (decibels,) = panels(rows)
    (plain,) = panels([row | {"metric": "ssim"} for row in rows])
    drawn = [settings_picture(curves_of(p), p, task="forecast") for p in (decibels, plain)]
    assert ">0<" not in re.sub(r">0\.?0*<", ">0<", drawn[0]) and ">0<" in re.sub(r">0\.?0*<", ">0<", drawn[1])


def test_what_happens_at_zero_is_marked() -> None:
    rows = [{"method": "posterior", "metric": "kl", "condition": {"offset": x}, "value": 2.0 + x} for x in (-1, 0, 1)]
    (before_and_after,) = panels(rows)
    (after,) = panels(rows[1:])
    drawn = [settings_picture(curves_of(p), p, task="bounces") for p in (before_and_after, after)]
    vertical = [re.findall(r'<line x1="([\d.]+)" y1="12" x2="\1"', svg) for svg in drawn]
    assert len(vertical[0]) == 1 and not vertical[1]
    assert "steps since a bounce" in drawn[0]
    assert curves_of(after)[0].kind == "model", "what is believed is no bound"

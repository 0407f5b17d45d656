import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynarium.reporting.charts import Series, area_chart, line_chart, path_chart, thinned
from dynarium.reporting.html import Html, join, tag
from dynarium.reporting.scales import Axis, even_ticks, log_ticks, tick_labels

FINITE = st.floats(-1e9, 1e9)


@given(FINITE, st.floats(1e-6, 1e9))
def test_even_ticks_lie_inside_and_are_few(low: float, width: float) -> None:
    high = low + width
    ticks = even_ticks(low, high)
    slack = 1e-6 * width + 1e-9 * abs(low)
    assert len(ticks) <= 7
    assert all(low - slack <= t <= high + slack for t in ticks)


@given(st.floats(1e-8, 1e6), st.floats(1.1, 1e9))
def test_log_ticks_lie_inside(low: float, factor: float) -> None:
    ticks = log_ticks(low, low * factor)
    assert ticks
    assert all(low <= t <= low * factor for t in ticks)


@pytest.mark.parametrize(
    ("ticks", "labels"),
    [
        ([0.0, 0.005, 0.01], ["0.000", "0.005", "0.010"]),
        ([0.0, 1000.0, 2000.0], ["0", "1000", "2000"]),
        ([0.0, 50_000.0], ["0", "50k"]),
        ([-2.5, 0.0], ["−2.5", "0.0"]),
        ([1e-5, 1e-4], ["1e-5", "1e-4"]),
        ([0.01, 1.0, 100.0], ["0.01", "1", "100"]),
    ],
)
def test_tick_labels(ticks: list[float], labels: list[str]) -> None:
    assert tick_labels(ticks) == labels


def test_an_axis_maps_its_ends_and_in_powers_of_ten() -> None:
    assert [Axis(2.0, 4.0, 10.0, 30.0)(v) for v in (2, 3, 4)] == [10, 20, 30]
    assert Axis(1.0, 100.0, 0.0, 2.0, True)(10) == pytest.approx(1)
    assert math.isfinite(Axis(1.0, 10.0, 0.0, 1.0, True)(0.0))


def points(chart: str) -> list[tuple[float, float]]:
    path = re.findall(r'<path d="([^"]*)" class="line', chart)[0]
    return [(float(x), float(y)) for x, y in re.findall(r"([-\d.]+) ([-\d.]+)", path)]


def test_a_line_goes_where_its_values_say() -> None:
    series = [Series(label="a", x=[0.0, 1.0, 2.0], y=[0.0, 1.0, 0.0], error=[0.1, 0.1, 0.1], marks=True)]
    chart = line_chart(series, title="t", x_label="x", zero=True)
    (x0, y0), (x1, y1), (x2, y2) = points(chart)
    assert x0 < x1 < x2
    assert x1 == pytest.approx((x0 + x2) / 2, abs=0.1)
    assert y1 < y0 == y2, "up is up"
    assert chart.count('class="error') == 9


def test_a_gap_stays_a_gap() -> None:
    series = [Series(label="a", x=[0.0, 1.0, 2.0, 3.0, 4.0], y=[1.0, 2.0, math.nan, 2.0, 1.0])]
    assert line_chart(series, title="t", x_label="x").count("<path") == 2


def test_large_spans_are_logarithmic_and_said_so() -> None:
    wide = [Series(label="a", x=[1.0, 2.0], y=[0.01, 10.0])]
    assert "logarithmic" in line_chart(wide, title="t", x_label="x")
    assert "logarithmic" not in line_chart([Series(label="a", x=[1.0, 2.0], y=[-1.0, 10.0])], title="t", x_label="x")


def test_the_first_steps_may_leave_a_robust_picture() -> None:
    x = [float(i) for i in range(100)]
    y = [-1000.0 if i < 5 else math.sin(i) for i in range(100)]
    chart = line_chart([Series(label="a", x=x, y=y)], title="t", x_label="x", robust=True)
    assert "first steps cut off" in chart
    heights = [v for _, v in points(chart)[5:]]
    assert max(heights) - min(heights) > 100, "the rest is flat"


def test_nothing_finite_is_said() -> None:
    assert "no finite values" in line_chart([Series(label="a", x=[1.0], y=[math.nan])], title="t", x_label="x")
    assert "no finite values" in path_chart(np.full((3, 2), np.nan), title="t")


def test_areas_fill_the_whole_height() -> None:
    shares = np.random.default_rng(0).dirichlet([1, 1, 1], size=7)
    chart = area_chart(shares, title="t", ticks=[2, 3])
    areas = re.findall(r'<path d="([^"]*)Z" class="area', chart)
    assert len(areas) == 3
    heights = [float(y) for area in areas for y in re.findall(r" ([\d.]+)", area)]
    assert (min(heights), max(heights)) == (10, 176)
    assert chart.count("missing-mark") == 2


def test_a_path_keeps_its_shape() -> None:
    chart = path_chart(np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 1.0]]), title="t")
    lines = re.findall(r'x1="([\d.]+)" y1="([\d.]+)" x2="([\d.]+)" y2="([\d.]+)" class="line', chart)
    (ax, ay, bx, by), (_, cy, _, dy) = (tuple(map(float, line)) for line in lines)
    assert ay == by
    assert bx - ax == pytest.approx(4 * (cy - dy), abs=0.1)


def test_thinning_averages() -> None:
    x, y = thinned([float(i) for i in range(1000)], [1.0] * 1000, most=100)
    assert len(x) == 100
    assert set(y) == {1.0}
    assert x == sorted(x)
    assert thinned([1.0], [2.0]) == ([1.0], [2.0])


def test_markup_escapes_text_but_not_markup() -> None:
    inner = tag("b", "<&>")
    assert inner == "<b>&lt;&amp;&gt;</b>"
    assert tag("p", inner, None, class_='a"b', hidden=True, x=None, stroke_width=1.50) == (
        '<p class="a&quot;b" hidden stroke-width="1.5"><b>&lt;&amp;&gt;</b></p>'
    )
    assert tag("img", src="x") == '<img src="x"/>'
    assert isinstance(join("a", "b"), Html)

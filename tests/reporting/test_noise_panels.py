"""The noise study's figure: four panels, means and bands over seeds, trivial lines, and well-formed."""

import re
from xml.etree import ElementTree

import pytest

from dynarium.reporting.noise_panels import PANELS, noise_panels

SVG = "{http://www.w3.org/2000/svg}"


def records():
    found = []
    for noise, source in PANELS:
        here = {"noise": noise, "source": source}
        for level in (0.5, 1.0, 2.0):
            for seed in range(3):
                value = (9.0 if noise == "fixed" else 1.0) + 0.1 * seed
                found.append({"method": "vicreg", "level": level, "seed": seed, "value": value} | here)
        found.append({"method": "constant <mean>", "level": 0.5, "value": 9.37, "baseline": True} | here)
    clean = {"method": "vicreg", "noise": "none", "source": "uniform", "level": 0, "value": 0.7, "standard_error": 0.2}
    return [*found, clean]


def groups(svg):
    return [g for g in ElementTree.fromstring(svg) if g.tag == f"{SVG}g" and "translate" in g.get("transform", "")]


def test_four_panels_of_lines_bands_and_trivial_lines():
    panels = groups(noise_panels(records()))
    assert [p.find(f"{SVG}text").text for p in panels] == [f"{a} noise, {b}" for a, b in PANELS]
    for panel in panels:
        kinds = [shape.get("class") for shape in panel.iter() if shape.tag in (f"{SVG}path", f"{SVG}circle")]
        assert kinds == ["band", "line", "dot", "dot", "dot", "dot", "line trivial"]  # levels 0, .5, 1, 2


def test_heights_are_the_means_and_the_band_their_error():
    heights = {}
    for (noise, source), panel in zip(PANELS, groups(noise_panels(records(), limit=10.0)), strict=True):
        dots = [float(c.get("cy")) for c in panel.iter(f"{SVG}circle")]
        (trivial,) = [p.get("d") for p in panel.iter(f"{SVG}path") if "trivial" in p.get("class")]
        band = next(p.get("d") for p in panel.iter(f"{SVG}path") if p.get("class") == "band")
        heights[noise, source] = dots[2], float(re.findall(r"[\d.]+", trivial)[1]), band
    low, high = heights["changing", "uniform"], heights["fixed", "uniform"]
    unit = (low[0] - high[0]) / 8.0  # 1.1 and 9.1 px
    assert low[0] == pytest.approx(206 - 1.1 * unit, abs=0.2) and unit == pytest.approx(17.6, abs=0.05)
    assert low[1] == pytest.approx(206 - 9.37 * unit, abs=0.2)
    corners = [float(y) for y in re.findall(r"[\d.]+ ([\d.]+)", low[2])]
    assert corners[-1] - corners[0] == pytest.approx(2 * 0.2 * unit, abs=0.2)  # of one seed: its own error
    assert corners[-2] - corners[1] == pytest.approx(2 * 0.1 / 3**0.5 * unit, abs=0.2)


def test_words_are_escaped_and_nothing_is_needed():
    svg = noise_panels(records())
    assert "constant &lt;mean&gt;" in svg and "http" not in svg.replace("http://www.w3.org/2000/svg", "")
    ElementTree.fromstring(noise_panels([]))
    broken = {"method": "vicreg", "noise": "fixed", "source": "uniform", "level": 1, "value": None}
    assert noise_panels([*records(), broken]) == svg

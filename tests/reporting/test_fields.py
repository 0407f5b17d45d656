from xml.etree import ElementTree

import numpy as np
import pytest

from dynarium.reporting.fields import Field, vector_fields

SVG = "{http://www.w3.org/2000/svg}"


def field(title):
    place = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 0.0]])
    path = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 1.0], [2.0, 2.0]])
    return Field(
        title=title,
        place=place,
        step=0.1 + 0 * place,
        mode=np.array([0, 1, -1]),
        path=path,
        path_mode=np.array([0, 0, 1, 1]),
    )


def test_every_arrow_and_every_stretch_is_drawn():
    picture = ElementTree.fromstring(vector_fields([field("a < b"), field("inferred")], axes=("x", "y")))
    lines, stretches = picture.findall(f"{SVG}line"), picture.findall(f"{SVG}polyline")
    assert len(lines) == 6 and len(stretches) == 4
    assert [len(s.get("points").split()) for s in stretches[:2]] == [3, 2]
    colours = [line.get("stroke") for line in lines[:3]]
    assert len(set(colours)) == 3 and colours[2] == "#aaa"
    assert float(lines[0].get("x2")) > float(lines[0].get("x1")) and float(lines[0].get("y2")) < float(
        lines[0].get("y1")
    )
    assert "a < b" in [text.text for text in picture.findall(f"{SVG}text")]


def test_the_longest_arrow_is_a_tenth_of_the_picture_where_no_scale_is_given():
    picture = ElementTree.fromstring(vector_fields([field("a"), field("b")], axes=("x", "y")))
    line = picture.findall(f"{SVG}line")[0]
    size = [float(line.get(f"{axis}2")) - float(line.get(f"{axis}1")) for axis in "xy"]
    assert abs(np.hypot(*size) - 26.0) < 0.5


def test_nothing_to_draw():
    with pytest.raises(ValueError, match="at least one"):
        vector_fields([], axes=("x", "y"))

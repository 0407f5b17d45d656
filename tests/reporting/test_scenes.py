"""Scenes: marks lie where they should, two channels become colours, the section stands in the report."""

import json

import numpy as np
import pytest
from PIL import Image

from dynarium.reporting.report import write_report
from dynarium.reporting.runs import read_run
from dynarium.reporting.scenes import BELIEF, GOAL, PLAN, WALL, scene_film, scenes


@pytest.fixture
def drawn():
    scene = np.zeros((1, 3, 1, 28, 28), np.float32)
    scene[0, :, 0, 5, 20] = 0.09  # a dim dot at x = 20, y = 5
    points = {
        "marks/truth": np.full((1, 3, 2), [20.0, 5.0]),
        "marks/belief": np.full((1, 3, 2), [19.0, 6.0]),
        "marks/goal": np.full((1, 3, 2), [4.0, 22.0]),
        "ahead/plan": np.linspace([18.0, 8.0], [5.0, 21.0], 4)[None, None].repeat(3, 1),
    }
    return scene, points


def test_marks_lie_where_they_should(drawn):
    scene, points = drawn
    film = scene_film(scene, points)
    assert film.shape == (1, 3, 168, 168, 3)
    assert (scene_film(scene, {})[0, 0, 5 * 6 + 3, 20 * 6 + 3] == 255).all()  # stretched to its brightest
    assert tuple(film[0, 0, 39, 117]) == BELIEF  # (6 + .5) * 6, (19 + .5) * 6
    assert tuple(film[0, 0, 135, 27 + 7]) == GOAL and tuple(film[0, 0, 135, 27]) != GOAL
    assert tuple(film[0, 1, 51, 111]) == PLAN and tuple(film[0, 1, 51, 90]) != PLAN


def test_what_is_decoded_is_as_bright_as_what_was_seen(drawn):
    scene, _ = drawn
    assert scene_film(scene / 3, {}, like=scene)[0, 0, 33, 123].tolist() == [85] * 3
    assert scene_film(2 * scene, {}, like=scene).max() == 255


def test_two_channels_are_an_object_and_walls():
    scene = np.zeros((1, 1, 2, 168, 168))
    scene[0, 0, 0, 3, 4], scene[0, 0, 1, 9, 9] = 0.5, 0.2
    film = scene_film(scene, {})[0, 0]
    assert (film[3, 4] == 255).all() and tuple(film[9, 9]) == WALL and not film[50, 50].any()


def test_the_report_has_a_section_of_scenes(run_directory, drawn):
    assert scenes(read_run(run_directory)) is None
    scene, points = drawn
    results = run_directory / "results"
    (results / "plan.json").write_text(json.dumps({"task": "plan", "rows": []}), encoding="utf-8")
    np.savez(results / "plan.npz", scene=scene, **{"scene/decoded": scene / 3}, **points)
    html = write_report(run_directory).read_text(encoding="utf-8")
    assert 'id="scenes"' in html and 'href="#scenes"' in html and "the goal" in html
    assert ">decoded<" in html
    assert html.count("image/webp") >= 4  # this film and the run's other ones, each moving and still
    with Image.open(results / "plan-scene.gif") as film:
        assert film.size == (172, 172) and film.info["loop"] == 0  # with a margin
    assert [file.name for file in results.glob("*.gif")] == ["plan-scene.gif"]

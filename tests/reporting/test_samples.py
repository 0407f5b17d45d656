"""Sheets, GIF and animation of a stochastic predictor: what was given has a green border, what was predicted a red one."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dynarium.reporting import write_report
from dynarium.reporting.runs import TaskRecord, read_run
from dynarium.reporting.samples import GIVEN, PREDICTED, samples_of, write_samples

NAMES = ("truth", "posterior", "best", "worst", "sample-1", "sample-2", "sample-3")


@pytest.fixture
def record(run_directory: Path, ball: np.ndarray) -> TaskRecord:
    """A task of the run that left samples: four sequences, two of six frames given."""
    results = run_directory / "results"
    films = {f"video/{name}": np.roll(ball, k, -1) for k, name in enumerate(NAMES)}
    np.savez(results / "forecast-video.npz", **films, context=np.asarray(2))
    protocol = {"context": 2, "samples": 100, "rule": "best by each metric"}
    row = {"metric": "psnr_mean", "condition": {"horizon": 4}, "standard_error": 0.1, "n": 4}
    answers = (("best-of-N", 14.0), ("mean", 12.5), ("posterior", 16.0), ("black", 13.0))
    rows = [row | {"method": method, "value": value, "baseline": method == "black"} for method, value in answers]
    content = {"task": "forecast-video", "protocol": protocol, "rows": rows}
    (results / "forecast-video.json").write_text(json.dumps(content), encoding="utf-8")
    return next(task for task in read_run(run_directory).tasks if task.task == "forecast-video")


def colours_of(path: Path) -> list[set[tuple[int, ...]]]:
    """Return the colours in each frame of a picture."""
    with Image.open(path) as image:
        found = []
        for k in range(getattr(image, "n_frames", 1)):
            image.seek(k)
            found.append(set(map(tuple, np.asarray(image.convert("RGB")).reshape(-1, 3).tolist())))
        return found


def near(colours: set[tuple[int, ...]], wanted: tuple[int, int, int]) -> bool:
    return any(max(abs(a - b) for a, b in zip(colour, wanted, strict=True)) < 12 for colour in colours)


def test_the_files_that_are_written(record: TaskRecord) -> None:
    written = write_samples(record)
    assert [file.name for file in written] == [
        "forecast-video-reconstruction.png",
        "forecast-video-samples.png",
        "forecast-video-samples.gif",
    ]
    reconstruction, samples, gif = written
    for sheet in (reconstruction, samples):
        (colours,) = colours_of(sheet)
        assert {GIVEN, PREDICTED} <= colours
    with Image.open(reconstruction) as sheet, Image.open(samples) as other:
        assert sheet.height / other.height == pytest.approx(8 / 15, rel=0.02), "4 x 2 rows of frames; 3 x 5"
    first, *_, last = colours_of(gif)
    assert near(first, GIVEN) and not near(first, PREDICTED), "all frames are given at first"
    assert near(last, GIVEN) and near(last, PREDICTED), "the truth stays green"


def test_a_task_without_samples_leaves_nothing(run_directory: Path) -> None:
    before = set(run_directory.rglob("*"))
    for task in read_run(run_directory).tasks:
        assert samples_of(task) is None
        assert write_samples(task) == []
    assert set(run_directory.rglob("*")) == before


def test_the_report_shows_the_animation_and_the_protocol(record: TaskRecord, run_directory: Path) -> None:
    text = write_report(run_directory).read_text(encoding="utf-8")
    assert (run_directory / "results" / "forecast-video-samples.gif").exists()
    assert "Protocol of these numbers" in text and "best by each metric" in text
    assert "The best of N samples beats black." in text, "neither the bound nor what another task says"
    films = text[text.index("Films</h2>") :]
    assert "predicted" in films and "best sample" in films
    assert re.search(rf"rgb\({GIVEN[0]},{GIVEN[1]},{GIVEN[2]}\)", films)

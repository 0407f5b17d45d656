"""Trackers: what is told to them arrives."""

import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dynarium.training.trackers import WandbLike


@pytest.mark.parametrize("channels", [1, 3])
def test_a_video_needs_no_encoder(tmp_path, channels):
    logged = {}

    def video(path, format):
        with Image.open(Path(path)) as film:
            return format, film.n_frames, film.size

    module = types.SimpleNamespace(
        __name__="wandb", init=lambda **_: None, Video=video, log=lambda values, step: logged.update(values)
    )
    frames = np.random.default_rng(0).integers(0, 255, (5, 8, 9, channels), dtype=np.uint8)
    WandbLike(module, tmp_path, {}).video("film", frames, step=3)
    assert logged == {"film": ("gif", 5, (9, 8))}

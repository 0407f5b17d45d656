from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dynarium.errors import UserError
from dynarium.reporting.pictures import animation, contact_sheet, framed, gif_bytes, to_bytes


def test_contact_sheet_has_a_cell_for_each_frame_and_keeps_pixels(ball: np.ndarray, tmp_path: Path) -> None:
    path = contact_sheet(ball, tmp_path / "new" / "sheet.png", size=64)
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape == (4 * 66 + 2, 6 * 66 + 2, 3)
    cell = pixels[66 + 2 : 66 + 66, 2 * 66 + 2 : 2 * 66 + 66]  # second sequence, third frame
    assert (cell[::2, ::2, 0] == ball[1, 2, 0]).all()
    assert (cell[1::2, 1::2, 2] == ball[1, 2, 0]).all()
    assert not list(path.parent.glob("*.partial"))


def test_labels_stand_left_of_the_frames(ball: np.ndarray, tmp_path: Path) -> None:
    with (
        Image.open(contact_sheet(ball, tmp_path / "a.png")) as plain,
        Image.open(contact_sheet(ball, tmp_path / "b.png", labels=["truth", "smoothed", "x", "y"])) as labelled,
    ):
        assert labelled.height == plain.height
        margin = labelled.width - plain.width
        assert margin > 30
        words = np.asarray(labelled.convert("L"))[:, :margin]
    assert words.min() < 100, "no ink in the margin"


def test_large_batches_are_clipped_and_long_ones_thinned(tmp_path: Path) -> None:
    video = np.zeros((100, 90, 1, 8, 8), dtype=np.uint8)
    with Image.open(contact_sheet(video, tmp_path / "a.png", rows=5, columns=10, size=8)) as image:
        assert image.size == (10 * 10 + 2, 5 * 10 + 2)


@pytest.mark.parametrize("channels", [1, 3])
def test_animation_has_every_frame_and_loops(channels: int, tmp_path: Path) -> None:
    video = np.random.default_rng(0).random((3, 7, channels, 8, 8)).astype(np.float32)
    with Image.open(animation(video, tmp_path / "a.gif", fps=10, size=16)) as image:
        assert image.n_frames == 7  # type: ignore[attr-defined]
        assert image.info["loop"] == 0
        assert image.info["duration"] == 100
        assert image.size == (2 * 18 + 2, 2 * 18 + 2)


def test_float_and_bytes_agree_and_nonsense_is_clipped() -> None:
    values = np.array([0.0, 1.0, -3.0, 7.0, np.nan, 0.5], dtype=np.float64).reshape(1, 1, 1, 2, 3)
    assert to_bytes(values)[0, 0, ..., 0].ravel().tolist() == [0, 255, 0, 255, 0, 128]


def test_of_four_channels_the_first_three_are_shown() -> None:
    video = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 8, 8), np.uint8)
    assert (to_bytes(video) == np.moveaxis(video[:, :, :3], 2, -1)).all()


@pytest.mark.parametrize("shape", [(3, 4, 8, 8), (2, 3, 5, 8, 8), (0, 3, 1, 8, 8), ()])
def test_other_shapes_are_refused_and_nothing_is_written(shape: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="video: expected"):
        contact_sheet(np.zeros(shape), tmp_path / "a.png")
    with pytest.raises(UserError, match="video: expected"):
        animation(np.zeros(shape), tmp_path / "a.gif")
    assert not list(tmp_path.iterdir())


def test_fps_must_be_positive(ball: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fps"):
        animation(ball, tmp_path / "a.gif", fps=0)


def test_two_channels_become_red_and_cyan() -> None:
    video = np.zeros((1, 1, 2, 1, 2), dtype=np.uint8)
    video[0, 0, 0, 0, 0], video[0, 0, 1, 0, 1] = 255, 128
    assert to_bytes(video)[0, 0, 0].tolist() == [[255, 0, 0], [0, 128, 128]]


def test_a_border_of_its_own_colour_around_every_frame(ball: np.ndarray) -> None:
    films = to_bytes(ball)
    colours = np.zeros((4, 6, 3), dtype=np.uint8)
    colours[1, 2] = (1, 2, 3)
    made = framed(films, colours, border=3)
    assert made.shape == (4, 6, 38, 38, 3)
    assert (made[:, :, 3:-3, 3:-3] == films).all()
    assert (made[1, 2, 0] == (1, 2, 3)).all() and (made[1, 2, :, -1] == (1, 2, 3)).all()
    assert not made[1, 3, 0].any()


def test_words_above_the_columns_of_a_gif(ball: np.ndarray) -> None:
    plain, headed = (
        Image.open(BytesIO(gif_bytes(ball, size=32, columns=2, heads=heads))) for heads in ((), ("left", "right"))
    )
    assert headed.width == plain.width and headed.height == plain.height + 20
    above = np.asarray(headed.convert("L"))[:20]
    assert (above[:, : plain.width // 2] < 128).any() and (above[:, plain.width // 2 :] < 128).any()

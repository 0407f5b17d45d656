"""Curves of measured sequences as a PNG."""

import numpy as np
import pytest
from PIL import Image

from dynarium.errors import UserError
from dynarium.reporting.curves import HEIGHT, INK, SHADES, TOP, WIDTH, curve_sheet


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def near(image, colour, tolerance=40):
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return np.abs(image - wanted).max(-1) < tolerance


def test_lines_go_where_the_values_are(tmp_path):
    """A line that rises beside one that is constant: the first column's top right, the second's middle."""
    rise = np.linspace(-1, 1, 20)
    values = np.stack([rise, -rise], -1)[None]
    image = pixels(curve_sheet({"state": values}, tmp_path / "a.png", names={"state": ("up", "down")}))[TOP:]
    rows, columns = near(image, INK[0]).nonzero()
    left, right = rows[columns < columns.min() + 20].mean(), rows[columns > columns.max() - 20].mean()
    assert left > right + HEIGHT * 0.6  # up is up
    rows, columns = near(image, INK[1]).nonzero()
    assert rows[columns < columns.min() + 20].mean() < rows[columns > columns.max() - 20].mean() - HEIGHT * 0.6


def test_regimes_are_the_background(tmp_path):
    mode = np.array([[0] * 10 + [1] * 10])
    image = pixels(curve_sheet({"state": np.zeros((1, 20, 1))}, tmp_path / "a.png", mode=mode))
    shaded = near(image, SHADES[1], tolerance=3).nonzero()[1]
    assert WIDTH * 0.4 < np.ptp(shaded) < WIDTH * 0.6
    assert shaded.min() > image.shape[1] / 2


def test_a_row_a_sequence_and_a_column_a_field(tmp_path):
    values = np.random.default_rng(0).normal(size=(3, 9, 4))
    one = pixels(curve_sheet({"state": values[:1]}, tmp_path / "a.png")).shape
    more = pixels(curve_sheet({"state": values, "action": values}, tmp_path / "b.png", labels=("0", "1", "2"))).shape
    assert more[0] > one[0] + 2 * HEIGHT
    assert more[1] > one[1] + WIDTH
    holed = values.copy()
    holed[0, 3:5] = np.nan
    assert pixels(curve_sheet({"state": holed}, tmp_path / "c.png")).shape[1] == one[1]
    with pytest.raises(UserError, match="at least one field"):
        curve_sheet({"state": values[:, :, :0]}, tmp_path / "d.png")

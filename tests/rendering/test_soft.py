import colorsys

import numpy as np
import pytest
import torch

from dynarium.rendering import soft_discs
from dynarium.rendering.soft import hues


def literal(centres, radii, colours, side, num_colors):
    """The renderer's formula as it stands: every pixel, one frame at a time, y upwards, bytes truncated."""
    grid = np.linspace(0, 1, side)
    x, y = np.meshgrid(grid, grid)
    frames = np.zeros((*centres.shape[:2], 3, side, side), np.uint8)
    for i, j in np.ndindex(centres.shape[:2]):
        image, clear = np.zeros((side, side, 3)), np.ones((side, side, 1))
        for (cx, cy), radius, colour in zip(centres[i, j], radii[i], colours[i], strict=True):
            distance = np.sqrt((cx - x) ** 2 + (cy - y) ** 2)
            mask = (1 / (1 + np.exp((distance - radius) * 80)))[..., None]
            image = image + clear * mask * np.array(colorsys.hsv_to_rgb(colour / num_colors, 1, 1))
            clear = clear * (1 - mask)
        image = image + clear * np.array([0.321, 0.349, 0.368])
        frames[i, j] = (255 * image).astype(np.uint8).transpose(2, 0, 1)
    return frames


def scene(discs, num_colors, seed=0, b=6, t=8, spread=1.3):
    """Random discs, some over the edge of the frame, some beyond it, some on top of each other."""
    generator = torch.Generator().manual_seed(seed)
    centres = 0.5 + spread * (torch.rand(b, t, discs, 2, generator=generator, dtype=torch.float64) - 0.5)
    radii = 0.03 + 0.12 * torch.rand(b, discs, generator=generator, dtype=torch.float64)
    return centres, radii, torch.randint(num_colors, (b, discs), generator=generator)


CASES = [(1, 1), (1, 6), (2, 1), (2, 2), (2, 6), (3, 3), (4, 1), (12, 6)]


@pytest.mark.parametrize(("discs", "num_colors"), CASES)
@pytest.mark.parametrize("side", [32, 47])
def test_every_byte_is_that_of_the_formula(discs, num_colors, side):
    centres, radii, colours = scene(discs, num_colors)
    expected = literal(centres.numpy(), radii.numpy(), colours.numpy(), side, num_colors)
    frames = soft_discs(centres, radii, colours, side, num_colors=num_colors, upside_down=True)
    np.testing.assert_array_equal(frames.numpy(), expected)
    upright = soft_discs(centres, radii, colours, side, num_colors=num_colors)
    assert torch.equal(upright, frames.flip(-2))


@pytest.mark.parametrize(("discs", "num_colors"), CASES)
def test_binary_frames_are_the_thresholded_ones(discs, num_colors):
    centres, radii, colours = scene(discs, num_colors, seed=1)
    grey = literal(centres.numpy(), radii.numpy(), colours.numpy(), 32, num_colors)[..., ::-1, :]
    expected = (grey.astype(np.float32) / 255 > 0.45) * 255
    binary = soft_discs(centres, radii, colours, 32, num_colors=num_colors, frames="binary")
    np.testing.assert_array_equal(binary.numpy(), expected)
    one = soft_discs(centres, radii, colours, 32, num_colors=num_colors, frames="binary", channels=1)
    np.testing.assert_array_equal(one.numpy()[:, :, 0], expected.max(2))


def test_one_grey_channel_shows_every_disc_on_black():
    centres, radii, colours = scene(2, 2, spread=0.6)
    frames = soft_discs(centres, radii, colours, 32, num_colors=2, channels=1)
    assert frames.shape == (6, 8, 1, 32, 32)
    grid = torch.linspace(0, 1, 32, dtype=torch.float64)
    y, x = torch.meshgrid(grid.flip(0), grid, indexing="ij")
    distance = ((centres[..., 0, None, None] - x) ** 2 + (centres[..., 1, None, None] - y) ** 2).sqrt()
    masks = torch.sigmoid(80 * (radii[:, None, :, None, None] - distance))
    hidden = 255 * (1 - (1 - masks).prod(2))
    difference = frames[:, :, 0].double() - hidden
    assert difference.max() < 1e-6 and difference.min() > -1 - 1e-6


def test_many_frames_are_drawn_in_parts_and_none_at_all():
    centres, radii, colours = scene(1, 1, b=40, t=100)
    frames = soft_discs(centres, radii, colours, 32, frames="binary")
    for i in (0, 17, 39):
        alone = soft_discs(centres[i : i + 1], radii[i : i + 1], colours[i : i + 1], 32, frames="binary")
        assert torch.equal(frames[i], alone[0])
    assert soft_discs(centres[:0], radii[:0], colours[:0], 32).shape == (0, 100, 3, 32, 32)


def test_a_disc_far_away_is_not_drawn():
    centres = torch.tensor([[[[1e6, 0.5]], [[0.5, -40.0]]]], dtype=torch.float64)
    frames = soft_discs(centres, torch.tensor([[0.1]], dtype=torch.float64), torch.tensor([[0]]), 32)
    assert torch.equal(frames.amax((-1, -2)), torch.tensor([[[81, 88, 93]] * 2], dtype=torch.uint8))
    assert torch.equal(frames.amin((-1, -2)), frames.amax((-1, -2)))


def test_hues():
    assert hues(1).tolist() == [[1, 0, 0]]
    assert hues(2).tolist() == [[1, 0, 0], [0, 1, 1]]
    expected = [colorsys.hsv_to_rgb(i / 7, 1, 1) for i in range(7)]
    assert torch.allclose(hues(7), torch.tensor(expected, dtype=torch.float64))

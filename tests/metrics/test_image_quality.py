"""PSNR and SSIM against literal transcriptions of the originals, in both precisions, and against the published floors."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage, signal
from skimage.metrics import structural_similarity

from dynarium.errors import UserError
from dynarium.metrics.image_quality import WINDOWS, psnr, ssim, ssims
from dynarium.systems import WORLDS


def skimage_ssim(x, y, data_range):
    """scikit-image's structural_similarity with its defaults, of one channel."""
    size, pad = 7, 3
    norm = size**2 / (size**2 - 1)
    ux, uy = (ndimage.uniform_filter(z, size=size) for z in (x, y))
    uxx, uyy, uxy = (ndimage.uniform_filter(z, size=size) for z in (x * x, y * y, x * y))
    vx, vy, vxy = norm * (uxx - ux * ux), norm * (uyy - uy * uy), norm * (uxy - ux * uy)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    s = ((2 * ux * uy + c1) * (2 * vxy + c2)) / ((ux**2 + uy**2 + c1) * (vx + vy + c2))
    return s[pad:-pad, pad:-pad].mean()


def finn_ssim(x, y):
    at = np.mgrid[-5:6, -5:6]
    g = np.exp(-(at[0] ** 2 + at[1] ** 2) / (2.0 * 1.5**2))
    g /= g.sum()
    c1, c2 = 0.01**2, 0.03**2
    mu1, mu2, s11, s22, s12 = (signal.fftconvolve(z, g, mode="valid") for z in (x, y, x * x, y * y, x * y))
    v1, v2, c12 = s11 - mu1 * mu1, s22 - mu2 * mu2, s12 - mu1 * mu2
    value = (((2 * mu1 * mu2 + c1) * (2 * c12 + c2)) / ((mu1**2 + mu2**2 + c1) * (v1 + v2 + c2))).mean()
    return -1 if math.isnan(value) else value


ORIGINALS = {
    "ssim": lambda x, y: skimage_ssim(x, y, 1.0),
    "ssim_svg": lambda x, y: skimage_ssim(x, y, 2.0),
    "ssim_finn": finn_ssim,
}


def videos(kind="noise", seed=0):
    """Two samples of two colour films of three frames, not square, and their truth."""
    g = torch.Generator().manual_seed(seed)
    truth = torch.rand(2, 3, 3, 20, 26, generator=g, dtype=torch.float64)
    if kind == "bright":  # flat, white surfaces, where single precision would suffer
        truth = (0.97 + 0.03 * truth).round(decimals=2)
    samples = (truth + 0.2 * torch.randn(2, *truth.shape, generator=g, dtype=torch.float64)).clamp(0, 1)
    return samples, truth


@pytest.mark.parametrize("variant", ORIGINALS)
def test_each_ssim_is_that_of_its_original(variant):
    samples, truth = videos()
    found = ssim(samples, truth, variant)
    for index in np.ndindex(2, 2, 3):
        pairs = zip(samples[index].numpy(), truth[index[1:]].numpy(), strict=True)
        wanted = np.mean([ORIGINALS[variant](x, y) for x, y in pairs])
        assert float(found[index]) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("variant", ["ssim", "ssim_svg"])
def test_ssim_is_scikit_images(variant):
    samples, truth = videos()
    wanted = structural_similarity(
        samples[0, 0, 0].numpy(), truth[0, 0].numpy(), data_range=WINDOWS[variant].range, channel_axis=0
    )
    assert float(ssim(samples, truth, variant)[0, 0, 0]) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("variant", ORIGINALS)
@pytest.mark.parametrize("kind", ["noise", "bright"])
def test_single_precision_is_precise_enough(variant, kind):
    samples, truth = videos(kind)
    error = ssim(samples.float(), truth.float(), variant) - ssim(samples, truth, variant)
    assert float(error.abs().max()) < 1e-5
    assert float((psnr(samples.float(), truth.float()) - psnr(samples, truth)).abs().max()) < 1e-4


@pytest.mark.parametrize("variant", ORIGINALS)
def test_more_frames_than_are_worked_on_at_once(variant):
    g = torch.Generator().manual_seed(1)
    x, y = torch.rand(2, 5, 30, 1, 12, 12, generator=g)
    whole = ssim(x, y, variant)
    parts = torch.cat([ssim(x[:, k : k + 1], y[:, k : k + 1], variant) for k in range(30)], 1)
    torch.testing.assert_close(whole, parts)
    torch.testing.assert_close(ssim(y, y, variant), torch.ones(5, 30))
    assert torch.equal(ssims(x, y, tuple(ORIGINALS))[variant], whole)


def test_a_frame_that_is_not_a_number_scores_minus_one_with_finn_only():
    x, y = torch.full((1, 1, 2, 16, 16), math.nan), torch.rand(1, 1, 2, 16, 16)
    x[:, :, 1] = y[:, :, 1]
    assert float(ssim(x, y, "ssim_finn")) == pytest.approx(0.0, abs=1e-6)  # one channel of two
    assert math.isnan(ssim(x, y))


def test_small_frames_are_refused():
    x = torch.rand(1, 1, 1, 8, 8)
    with pytest.raises(UserError, match="ssim_finn: frames of at least 11x11 pixels wanted, got 8x8"):
        ssim(x, x, "ssim_finn")


def test_psnr_is_that_of_each_channel_averaged():
    truth = torch.zeros(1, 1, 2, 4, 4)
    answer = truth.clone()
    answer[:, :, 0], answer[:, :, 1] = 0.1, 0.01
    assert float(psnr(answer, truth)) == pytest.approx((20 + 40) / 2)
    assert float(psnr(truth, truth)) == 100
    assert psnr(answer.expand(3, *answer.shape), truth).shape == (3, 1, 1)


def test_a_black_frame_scores_high_among_moving_digits():
    # Most of such a frame is black: SSIM is to be read against this floor, which a copy of the last frame soon falls below.
    world, g = WORLDS["moving-digits"](), torch.Generator().manual_seed(0)
    trajectory = world.simulate(world.sample_parameters(24, g), 12, g)
    video = world.render(trajectory).float() / 255
    truth, last = video[:, 5:], video[:, 4:5].expand(-1, 7, -1, -1, -1)
    floors = {variant: float(ssim(torch.zeros_like(truth), truth, variant).mean()) for variant in ORIGINALS}
    assert 0.66 < floors["ssim_finn"] < floors["ssim"] < floors["ssim_svg"] < 0.78
    copied = ssim(last, truth).mean(0)
    assert float(copied[0]) > floors["ssim"] > float(copied[3:].max())
    assert 12 < float(psnr(torch.zeros_like(truth), truth).mean()) < 14.5

import torch

from dynarium.rendering.textures import textures


def slope(pictures):
    """Return the exponent of the mean amplitude spectrum between 2 and 12 cycles a picture."""
    side = pictures.shape[-1]
    window = torch.hann_window(side, periodic=False)
    amplitude = (
        torch.fft.fft2((pictures - pictures.mean((1, 2), keepdim=True)) * window * window[:, None]).abs().mean(0)
    )
    row = torch.fft.fftfreq(side, 1 / side)
    radius = (row[:, None].square() + row.square()).sqrt()
    inside = (radius >= 2) & (radius <= 12)
    x, y = radius[inside].log(), amplitude[inside].log()
    return float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())


def test_made_pictures_have_the_spectrum_and_the_contrast_of_photographs():
    pictures = textures(200, 56, seed=0).float() / 255
    assert -1.6 < slope(pictures) < -0.8  # white noise has 0
    assert 0.4 < pictures.mean() < 0.56
    contrast = pictures.std((1, 2))
    assert contrast.min() > 0.05 and contrast.max() < 0.4 and 0.1 < contrast.mean() < 0.25


def test_made_pictures_have_edges_which_clouds_have_not():
    pictures = textures(200, 56, seed=0).float()
    step = (pictures[:, :, 1:] - pictures[:, :, :-1]) / pictures.std((1, 2), keepdim=True)
    kurtosis = step.pow(4).mean() / step.square().mean().square()
    assert kurtosis > 5  # a Gaussian field has 3


def test_pictures_depend_on_the_seed_alone():
    assert torch.equal(textures(5, 20, seed=1), textures(5, 20, seed=1))
    assert not torch.equal(textures(5, 20, seed=1), textures(5, 20, seed=2))

"""Grey pictures that look natural without being photographs: soft 1/f clouds, and things with edges before them."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

_THINGS = 10
_AT_ONCE = 64  # pictures that stay in the cache


def textures(count: int, side: int, seed: int) -> UInt8[Tensor, "m s s"]:
    """Return ``count`` pictures; like photographs they have an amplitude spectrum of about 1/f, edges and no scale.

    A picture is half a Gaussian field whose amplitudes fall as f^-e, e uniform in [0.8, 1.4], and half the "dead leaves" that
    discs of random greys make which hide each other; their radii r have the density r^-3 between 1/16 and 1/2 of the side, for
    which the spectrum is a power law too (Lee, Mumford & Huang 2001). Mean and contrast of a picture are drawn as they vary
    among photographs of everyday things: mean N(0.48, 0.12^2), standard deviation U(0.1, 0.3); what exceeds [0, 1] is cut.
    """
    generator = torch.Generator().manual_seed(seed)
    counts = [_AT_ONCE] * (count // _AT_ONCE) + [count % _AT_ONCE] * (count % _AT_ONCE > 0)
    return torch.cat([_some(n, side, generator) for n in counts])


def _some(count: int, side: int, generator: torch.Generator) -> UInt8[Tensor, "m s s"]:
    mixed = _standardised(_clouds(count, side, generator)) + _standardised(_leaves(count, side, generator))
    mean = 0.48 + 0.12 * torch.randn(count, 1, 1, generator=generator)
    contrast = 0.1 + 0.2 * torch.rand(count, 1, 1, generator=generator)
    pictures = _standardised(mixed).mul_(contrast).add_(mean).clamp_(0, 1)
    return pictures.mul_(255).round_().to(torch.uint8)


def _clouds(count: int, side: int, generator: torch.Generator) -> Float[Tensor, "m s s"]:
    """Return Gaussian fields of a power-law spectrum; they go on at the opposite edge, which crops of half the side hide."""
    row, column = torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)
    frequency = (row.square() + column.square()).sqrt()
    frequency[0, 0] = torch.inf  # the mean is drawn later
    exponent = 0.8 + 0.6 * torch.rand(count, 1, 1, generator=generator)
    white = torch.randn(count, side, side // 2 + 1, generator=generator, dtype=torch.complex64)
    return torch.fft.irfft2(white * frequency**-exponent, s=(side, side))


def _leaves(count: int, side: int, generator: torch.Generator) -> Float[Tensor, "m s s"]:
    """Return discs of random greys that hide each other, on grey."""
    u = (torch.arange(side) + 0.5) / side
    picture = torch.rand(count, 1, 1, generator=generator).expand(-1, side, side).clone()
    for _ in range(_THINGS):
        x, y, share, grey = torch.rand(4, count, 1, 1, generator=generator)
        radius = (16**2 - share * (16**2 - 2**2)) ** -0.5
        picture = torch.where((u - x).square() + (u[:, None] - y).square() < radius.square(), grey, picture)
    return picture


def _standardised(pictures: Float[Tensor, "m s s"]) -> Float[Tensor, "m s s"]:
    std, mean = torch.std_mean(pictures, (1, 2), keepdim=True)
    return (pictures - mean) / std.clamp(min=1e-6)

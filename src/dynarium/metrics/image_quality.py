"""How alike two frames look: PSNR, and the three structural similarities by which video prediction has been scored.

What is called SSIM differs from paper to paper by more than the models do, so each is named here (Wang et al. 2004):

    ssim = mean over windows and channels of  (2 m_x m_y + C1) (2 c_xy + C2) / ((m_x^2 + m_y^2 + C1) (v_x + v_y + C2))
    C1 = (0.01 L)^2,  C2 = (0.03 L)^2

    ==============  ======================  =============  ===  ==================================================
    name            window                  (co)variances  L    used by
    ==============  ======================  =============  ===  ==================================================
    ``ssim``        7 x 7, uniform          sample, 49/48  1    scikit-image with ``data_range=1``
    ``ssim_svg``    7 x 7, uniform          sample, 49/48  2    Denton & Fergus 2018, where [-1, 1] was assumed
    ``ssim_finn``   11 x 11, Gaussian, 1.5  plain          1    Finn et al. 2016, and again Franceschi et al. 2020
    ==============  ======================  =============  ===  ==================================================

Only windows that lie within the frame count. A larger L forgives more: the same answer scores up to 0.1 higher.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from dynarium.errors import UserError

SSIM = Literal["ssim", "ssim_svg", "ssim_finn"]

LEAST_ERROR = 1e-10
"""Squared error of equal frames: they score 100 dB. Bytes that differ in a pixel never come as close."""

FRAMES_AT_ONCE = 64


@dataclass(frozen=True)
class Window:
    """A definition of SSIM.

    Attributes:
        name: What it is called in records.
        size: Side of the window in pixels.
        sigma: Standard deviation of a Gaussian window in pixels; ``None``: uniform.
        sample: Covariances are those of a sample: n / (n - 1) of the plain ones.
        range: L.
        nan: What a comparison scores that is not a number; ``None``: that.
    """

    name: str
    size: int
    sigma: float | None
    sample: bool
    range: float
    nan: float | None = None

    def weights(self, like: Tensor) -> Float[Tensor, " k"]:
        """Return the weights along one axis; their outer product is the window."""
        at = torch.arange(self.size, dtype=torch.float64) - (self.size - 1) / 2
        weights = torch.ones_like(at) if self.sigma is None else (-at.square() / (2 * self.sigma**2)).exp()
        return (weights / weights.sum()).to(like)

    def similarity(self, mean_x: Tensor, mean_y: Tensor, covariance: Tensor, power: Tensor) -> Tensor:
        """Return the similarity of every window from means, plain covariance, and the sum of the plain variances."""
        n = self.size**2
        scale, c1, c2 = n / (n - 1) if self.sample else 1.0, (0.01 * self.range) ** 2, (0.03 * self.range) ** 2
        value = (2 * mean_x * mean_y + c1) * (2 * scale * covariance + c2)
        return value / ((mean_x.square() + mean_y.square() + c1) * (scale * power + c2))


WINDOWS: dict[SSIM, Window] = {
    "ssim": Window("skimage-7x7", 7, None, True, 1.0),
    "ssim_svg": Window("svg", 7, None, True, 2.0),
    "ssim_finn": Window("finn", 11, 1.5, False, 1.0, nan=-1.0),
}


def psnr(prediction: Float[Tensor, "*#s b t c h w"], truth: Float[Tensor, "b t c h w"]) -> Float[Tensor, "*s b t"]:
    """Return the peak signal-to-noise ratio of frames in [0, 1] in dB: ``10 log10(1 / mse)`` of each channel, averaged.

    Frames that are equal score 100 dB instead of infinity, which no average survives.
    """
    return -10 * (prediction - truth).square().mean((-2, -1)).clamp(min=LEAST_ERROR).log10().mean(-1)


def ssim(
    prediction: Float[Tensor, "*s b t c h w"], truth: Float[Tensor, "b t c h w"], variant: SSIM = "ssim"
) -> Float[Tensor, "*s b t"]:
    """Return the structural similarity of frames in [0, 1]: 1 for equal ones. See the module for its three definitions.

    Raises:
        UserError: The frames are smaller than the window.
    """
    return ssims(prediction, truth, (variant,))[variant]


def ssims(
    prediction: Float[Tensor, "*s b t c h w"], truth: Float[Tensor, "b t c h w"], variants: Sequence[SSIM]
) -> dict[SSIM, Float[Tensor, "*s b t"]]:
    """Return the structural similarity by several definitions; those that share a window share its sums.

    The windows slide by two products with banded matrices, and what belongs to the truth is computed once for all samples.
    Frames are centred at the true one's mean before they are squared, as single precision would otherwise lose the
    variance of bright surfaces.

    Raises:
        UserError: The frames are smaller than a window.
    """
    h, w = truth.shape[-2:]
    flat = prediction.reshape(-1, truth[..., 0, 0].numel(), h, w)
    found: dict[SSIM, Tensor] = {variant: flat.new_empty(flat.shape[:2]) for variant in variants}
    groups: dict[tuple[int, float | None], list[SSIM]] = {}
    for variant in variants:
        window = WINDOWS[variant]
        if min(h, w) < window.size:
            raise UserError(f"{variant}: frames of at least {window.size}x{window.size} pixels wanted, got {h}x{w}")
        groups.setdefault((window.size, window.sigma), []).append(variant)
    for group in groups.values():
        weights = WINDOWS[group[0]].weights(truth)
        rows, columns = _banded(weights, h), _banded(weights, w).mT
        for k, y in enumerate(truth.reshape(-1, h, w).split(FRAMES_AT_ONCE)):
            part = slice(k * FRAMES_AT_ONCE, k * FRAMES_AT_ONCE + len(y))
            centre = y.mean((1, 2), keepdim=True)
            y = y - centre
            mean_y, square_y = rows @ (y @ columns), rows @ (y * y @ columns)
            for s in range(len(flat)):
                x = flat[s, part] - centre
                mean_x = rows @ (x @ columns)
                covariance = (rows @ (x * y @ columns)) - mean_x * mean_y
                power = (rows @ (x * x @ columns)) + square_y - mean_x.square() - mean_y.square()
                means = mean_x + centre, mean_y + centre
                for variant in group:
                    found[variant][s, part] = WINDOWS[variant].similarity(*means, covariance, power).mean((1, 2))
    answers: dict[SSIM, Tensor] = {}
    for variant, values in found.items():
        nan, shaped = WINDOWS[variant].nan, values.reshape(prediction.shape[:-2])
        answers[variant] = (shaped if nan is None else shaped.nan_to_num(nan=nan)).mean(-1)
    return answers


def _banded(weights: Float[Tensor, " k"], side: int) -> Float[Tensor, "v s"]:
    """Return the matrix whose row i holds the weights from column i on."""
    valid = side - len(weights) + 1
    band = weights.new_zeros(valid, side)
    for offset, weight in enumerate(weights):
        band[torch.arange(valid), torch.arange(valid) + offset] = weight
    return band

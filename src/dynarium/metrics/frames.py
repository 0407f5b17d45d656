"""Errors of frames. Every metric keeps batch and time, so that a task can weight missing frames."""

import torch
from jaxtyping import Float
from torch import Tensor


def wrong_pixels(
    prediction: Float[Tensor, "*#s b t c h w"], truth: Float[Tensor, "b t c h w"]
) -> Float[Tensor, "*s b t"]:
    """Return the fraction of pixels of each frame that fall on the wrong side of 0.5 (Fraccaro et al. 2017, section 5.1)."""
    return ((prediction > 0.5) != (truth > 0.5)).float().mean((-3, -2, -1))


def squared_error(
    prediction: Float[Tensor, "*#s b t c h w"], truth: Float[Tensor, "b t c h w"]
) -> Float[Tensor, "*s b t"]:
    """Return the mean squared error over the pixels of each frame, for frames in [0, 1]; a mean, not a sum."""
    return (prediction - truth).square().mean((-3, -2, -1))


def frame_change(video: Float[Tensor, "*b t c h w"]) -> Float[Tensor, "*b s"]:
    """Return the mean absolute change of a pixel from each frame to the next: how much moves."""
    return video.diff(dim=-4).abs().mean((-3, -2, -1))


def nearest_wrong_pixels(frames: Float[Tensor, "m c h w"], real: Float[Tensor, "r c h w"]) -> Float[Tensor, " m"]:
    """Return the smallest fraction of pixels in which a frame differs from any of the real ones, after thresholding at 0.5.

    Small where a frame could have come from the data, whichever moment it shows.
    """
    signs = [torch.where(x.flatten(1) > 0.5, 1.0, -1.0) for x in (frames, real)]
    agreement = torch.cat([(part @ signs[1].T).amax(1) for part in signs[0].split(4096)])
    return (1 - agreement / signs[0].shape[1]) / 2

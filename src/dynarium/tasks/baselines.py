"""Trivial answers that a model has to beat."""

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from dynarium.data import Dataset
from dynarium.tasks.common import known_steps

BACKGROUND_SEQUENCES = 512


def background(dataset: Dataset) -> Float[Tensor, "c h w"]:
    """Return the blank scene: the median of every pixel over training frames; of the first split where none is called train."""
    video = _training_frames(dataset)
    return video.float().median(0).values / (255 if video.dtype == torch.uint8 else 1)


def mean_image(dataset: Dataset) -> Float[Tensor, "c h w"]:
    """Return the mean of every pixel over the frames that ``background`` reads."""
    video = _training_frames(dataset)
    return video.double().mean(0).float() / (255 if video.dtype == torch.uint8 else 1)


def _training_frames(dataset: Dataset) -> Shaped[Tensor, "m c h w"]:
    split = "train" if "train" in dataset.schema.splits else next(iter(dataset.schema.splits))
    batch = dataset.batch(split, range(min(BACKGROUND_SEQUENCES, dataset.size(split))))
    assert batch.video is not None
    video = batch.video[known_steps(batch)]
    return video[:: max(1, len(video) // 2048)]


def hold_last(video: Float[Tensor, "b t c h w"], mask: Bool[Tensor, "b t"]) -> Float[Tensor, "b t c h w"]:
    """Return every frame as the last observed one; before the first observation, as the first observed one."""
    before, after = _neighbours(mask)
    return _pick(video, torch.where(before >= 0, before, after.clamp(max=mask.shape[1] - 1)))


def interpolate(video: Float[Tensor, "b t c h w"], mask: Bool[Tensor, "b t"]) -> Float[Tensor, "b t c h w"]:
    """Return every hidden frame as the pixelwise linear interpolation between its observed neighbours; held at the ends."""
    t = mask.shape[1]
    before, after = _neighbours(mask)
    first = torch.where(before >= 0, before, after.clamp(max=t - 1))
    second = torch.where(after < t, after, first)
    steps = torch.arange(t).expand_as(first)
    share = ((steps - first) / (second - first).clamp(min=1)).clamp(0, 1)[..., None, None, None]
    return (1 - share) * _pick(video, first) + share * _pick(video, second)


def where_any(
    mask: Bool[Tensor, "b t"], frames: Float[Tensor, "b s c h w"], blank: Float[Tensor, "c h w"]
) -> Float[Tensor, "b s c h w"]:
    """Return ``frames`` for sequences of which anything is observed, else the blank scene."""
    return torch.where(mask.any(1)[:, None, None, None, None], frames, blank)


def _neighbours(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return the index of the last observed step up to each step (-1: none) and of the next one from it on (t: none)."""
    t = mask.shape[1]
    steps = torch.arange(t).expand_as(mask)
    before = torch.where(mask, steps, -1).cummax(1).values
    after = torch.where(mask, steps, t).flip(1).cummin(1).values.flip(1)
    return before, after


def _pick(video: Tensor, index: Tensor) -> Tensor:
    return video[torch.arange(len(video))[:, None], index]

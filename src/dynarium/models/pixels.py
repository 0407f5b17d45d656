"""What the Kalman VAEs share: checked options, which frames they see, how pixels are scored, actions of a forecast."""

from dataclasses import replace
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from dynarium.errors import UserError
from dynarium.nn.frames import as_float
from dynarium.objectives.likelihoods import bernoulli_log_likelihood, gaussian_log_likelihood
from dynarium.types import SequenceBatch

Likelihood = Literal["bernoulli", "gaussian"]
ConfigT = TypeVar("ConfigT", bound=Any)


def check_options(config: Any) -> None:
    """Check the options that the Kalman VAEs have in common.

    Raises:
        UserError: A dimension below 1, a variance that is not positive, or a probability outside [0, 1).
    """
    for name in ("observation", "state", "modes", "hidden"):
        if getattr(config, name) < 1:
            raise UserError(f"model.{name}: expected at least 1, got {getattr(config, name)}")
    for name in ("pixel_variance", "emission_variance", "transition_variance", "initial_variance"):
        if getattr(config, name) <= 0:
            raise UserError(f"model.{name}: expected a variance above 0, got {getattr(config, name)}")
    if not 0 <= config.missing < 1:
        raise UserError(f"model.missing: expected a probability in [0, 1), got {config.missing}")


def fitted_to_frames(config: ConfigT, shapes: dict[str, tuple[int, ...]], model: str) -> ConfigT:
    """Return the configuration with ``frame`` and ``control`` of data of these shapes.

    Raises:
        UserError: The data has no ``video``.
    """
    if "video" not in shapes:
        raise UserError(f"{model} needs the field 'video'; the data has {', '.join(shapes) or 'no fields'}")
    _, c, h, w = shapes["video"]
    return replace(config, frame=(c, h, w), control=shapes["action"][-1] if "action" in shapes else 0)


def seen_frames(
    batch: SequenceBatch, frame: tuple[int, int, int], model: str
) -> tuple[Shaped[Tensor, "b t c h w"], Bool[Tensor, "b t"] | None]:
    """Return the frames, dark where hidden, and which are observed (``None``: all).

    Raises:
        UserError: The batch has no ``video``, or frames of another shape than ``frame``.
    """
    if batch.video is None:
        raise UserError(f"{model} needs the field 'video'; the batch has {', '.join(batch.present()) or 'no fields'}")
    if tuple(batch.video.shape[2:]) != frame:
        raise UserError(f"video: frames of shape {frame} wanted, got {tuple(batch.video.shape[2:])}")
    mask = batch.observed()
    # A hidden frame never enters the network: whatever it holds, NaN included, cannot matter.
    return batch.video if mask is None else torch.where(mask[..., None, None, None], batch.video, 0), mask


def hidden_in_training(
    mask: Bool[Tensor, "b t"] | None, video: Shaped[Tensor, "b t c h w"], missing: float, observe_first: int
) -> Bool[Tensor, "b t"] | None:
    """Return the mask with further frames hidden: each with probability ``missing``, from ``observe_first`` on."""
    if missing == 0:
        return mask
    kept = torch.rand(video.shape[:2], device=video.device) >= missing
    kept[:, :observe_first] = True
    return kept if mask is None else kept & mask


def frame_log_likelihood(
    pixels: Float[Tensor, "b t c h w"], video: Shaped[Tensor, "b t c h w"], likelihood: Likelihood, variance: float
) -> Float[Tensor, "b t"]:
    """Return log p(x_t | a_t) of every frame, given its logits (Bernoulli) or means (Gaussian of this variance)."""
    x = as_float(video)
    if likelihood == "bernoulli":
        return bernoulli_log_likelihood(pixels, x).sum((2, 3, 4))
    return gaussian_log_likelihood(x, pixels, variance).sum((2, 3, 4))


def expected_frames(pixels: Float[Tensor, "*b c h w"], likelihood: Likelihood) -> Float[Tensor, "*b c h w"]:
    """Return the expected frames, in [0, 1], given their logits (Bernoulli) or means (Gaussian)."""
    return pixels.sigmoid() if likelihood == "bernoulli" else pixels.clamp(0, 1)


def leading_actions(
    context: Shaped[Tensor, "b t a"] | None, following: Shaped[Tensor, "b f a"] | None, horizon: int
) -> Float[Tensor, "b f a"] | None:
    """Return the action that leads into each forecast step: the context's last one, then those that follow.

    Raises:
        UserError: There are actions to come but none in the context, or too few to come.
    """
    if context is None:
        if following is not None:
            raise UserError("action: the context has none, and its last one leads into the first forecast frame")
        return None
    joined = torch.cat([context[:, -1:], *([] if following is None else [following[:, : horizon - 1]])], dim=1).float()
    if joined.shape[1] < horizon:
        raise UserError(f"action: {horizon - 1} steps wanted for a horizon of {horizon}, got {joined.shape[1] - 1}")
    return joined

"""What the models share that predict video frame by frame: many steps encoded and decoded at once, hidden frames, draws."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from dynarium.errors import UserError
from dynarium.models.pixels import seen_frames
from dynarium.nn import dcgan, vgg
from dynarium.nn.frame_layers import Statistics, StepNorm
from dynarium.nn.frames import as_float, full_precision
from dynarium.nn.group_norm import GroupNorm
from dynarium.types import SequenceBatch

Backbone = Literal["dcgan", "vgg"]

FRAMES_AT_ONCE = 256
"""Frames of a forecast that are worked on in one call; more samples are drawn in several."""


class Beliefs(NamedTuple):
    """What the latents are thought to be, entry i about frame i + 1: after seeing it, and before."""

    mean: Float[Tensor, "b t z"]
    log_variance: Float[Tensor, "b t z"]
    prior_mean: Float[Tensor, "b t z"]
    prior_log_variance: Float[Tensor, "b t z"]


def check_frames(frame: tuple[int, int, int], backbone: Backbone) -> None:
    """Check that the backbone exists for frames of this size.

    Raises:
        UserError: It does not.
    """
    sides = dcgan.SIDES if backbone == "dcgan" else vgg.SIDES
    if frame[1] != frame[2] or frame[1] not in sides:
        wanted = ", ".join(map(str, sides))
        raise UserError(
            f"model.backbone: {backbone} takes square frames with a side of {wanted}, got {frame[1]}x{frame[2]}"
        )


def check_positive(config: object, *names: str) -> None:
    """Check that options are at least 1.

    Raises:
        UserError: One is not.
    """
    for name in names:
        if getattr(config, name) < 1:
            raise UserError(f"model.{name}: expected at least 1, got {getattr(config, name)}")


def compares(statistics: Statistics, training: bool = False) -> bool:
    """Return whether networks with these statistics compare sequences to normalise them."""
    return statistics == "batch" or (training and statistics == "running")


def check_batch(video: Shaped[Tensor, "b t c h w"], compared: bool, least: int = 2) -> None:
    """Check that there are frames enough and, where sequences are ``compared`` to normalise them, more than one.

    Raises:
        UserError: There are not.
    """
    if video.shape[1] < least:
        raise UserError(f"video: at least {least} frames wanted, got {video.shape[1]}")
    if compared and len(video) < 2:
        raise UserError("video: at least 2 sequences wanted, as batch normalisation compares them; got a batch of 1")


def coders(
    backbone: Backbone, frame: tuple[int, int, int], read: int, wrote: int, width: int, statistics: Statistics
) -> tuple[nn.Module, nn.Module]:
    """Create an encoder of ``wrote`` numbers a frame, and a decoder that reads ``read``."""
    if backbone == "dcgan":
        networks = (
            dcgan.DCGANEncoder(frame, wrote, width, statistics),
            dcgan.DCGANDecoder(frame, read, width, statistics),
        )
    else:
        networks = vgg.VGGEncoder(frame, wrote, width, statistics), vgg.VGGDecoder(frame, read, width, statistics)
    return networks


def encoded_steps(
    encoder: nn.Module, x: Float[Tensor, "b t c h w"], kept: int | None = None
) -> tuple[Float[Tensor, "b t d"], list[Tensor]]:
    """Return the encodings of all frames, and the skip connections of the first ``kept`` (default: all), step by step."""
    t = x.shape[1]
    h, skips = encoder(x.transpose(0, 1).flatten(0, 1), t, t if kept is None else kept)
    return full_precision(h).unflatten(0, (t, -1)).transpose(0, 1), skips


def decoded_steps(
    decoder: nn.Module, g: Float[Tensor, "b t d"], skips: Sequence[Tensor], sources: Sequence[int]
) -> Float[Tensor, "b t c h w"]:
    """Return the frames of all steps; step k reads the skip connections of frame ``sources[k]``."""
    b, t = g.shape[:2]
    logits = decoder(g.transpose(0, 1).flatten(0, 1), skips, sources)
    return full_precision(logits).sigmoid().unflatten(0, (t, b)).transpose(0, 1)


def leading_into(
    action: Shaped[Tensor, "b t a"] | None, steps: int, control: int, dtype: torch.dtype
) -> Float[Tensor, "b s a"]:
    """Return the actions that lead into the frames 1 .. ``steps``.

    Raises:
        UserError: There are none, too few, or of another dimension.
    """
    if action is None or action.shape[1] < steps or action.shape[2] != control:
        seen = "none" if action is None else f"{action.shape[1]} of {action.shape[2]} values"
        raise UserError(f"action: {steps} steps of {control} values wanted for {steps + 1} frames, got {seen}")
    return action[:, :steps].to(dtype)


def numbers_of_actions(actions: Literal["none", "raw", "embedded"], control: int, embedded: int = 0) -> int:
    """Return how many numbers of an action a model reads: nothing, its ``control`` values, or an embedding of them.

    Raises:
        UserError: Actions are wanted and the data has none.
    """
    if actions != "none" and not control:
        raise UserError(f"model.actions: {actions!r} needs the field 'action', which the data has not")
    return {"none": 0, "raw": control, "embedded": embedded}[actions]


def held_frames(
    batch: SequenceBatch, frame: tuple[int, int, int], model: str
) -> tuple[Float[Tensor, "b t c h w"], Bool[Tensor, "b t"] | None]:
    """Return the frames in [0, 1] and which are observed; a hidden one is ``held``, dark if none was observed before it.

    Raises:
        UserError: As ``seen_frames``.
    """
    video, mask = seen_frames(batch, frame, model)
    return as_float(held(video, mask)), mask


def held(video: Shaped[Tensor, "b t c h w"], mask: Bool[Tensor, "b t"] | None) -> Shaped[Tensor, "b t c h w"]:
    """Return the frames with every hidden one as the last observed before it; those before any observed one stay."""
    if mask is None:
        return video
    steps = torch.arange(mask.shape[1], device=mask.device)
    last = torch.where(mask, steps, 0).cummax(1).values
    return video[torch.arange(len(video), device=video.device)[:, None], last]


def drawn(
    mean: Float[Tensor, "*b"], log_variance: Float[Tensor, "*b"], generator: torch.Generator | None
) -> Float[Tensor, "*b"]:
    """Return a draw of a Gaussian, differentiable in its parameters; from the global generator for ``None``."""
    epsilon = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
    return mean + (0.5 * log_variance).exp() * epsilon


def draw_weights(module: nn.Module) -> None:
    """Draw the weights of a layer as DCGAN does: N(0, 0.02^2), of normalisations N(1, 0.02^2); biases zero. LSTMs stay."""
    norms = (StepNorm, GroupNorm)
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, *norms)):
        nn.init.normal_(module.weight, 1.0 if isinstance(module, norms) else 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

"""Frames on their way into a network."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor


def as_float(video: Shaped[Tensor, "*b c h w"]) -> Float[Tensor, "*b c h w"]:
    """Return frames as floating point in [0, 1]; ``uint8`` is divided by 255, floating point is left alone."""
    return video.float().div_(255) if video.dtype == torch.uint8 else video


def full_precision(x: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Return what a network under autocast gave as float32; wider types are left alone."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x

"""Convolutional encoder and sub-pixel decoder for small frames."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class ConvEncoder(nn.Module):
    """Stride-2 3x3 convolutions with ReLU, flattened.

    Each layer halves the frame (rounding up). Frames are processed in ``channels_last`` memory order, which is what the
    convolutions of current CPUs and GPUs want.
    """

    def __init__(self, frame: tuple[int, int, int], channels: Sequence[int] = (32, 32, 32)) -> None:
        super().__init__()
        inputs = (frame[0], *channels[:-1])
        self.layers = nn.ModuleList(nn.Conv2d(i, o, 3, 2, 1) for i, o in zip(inputs, channels, strict=True))
        self.width = channels[-1] * math.prod(_halved(side, len(channels)) for side in frame[1:])
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """Return the features of each frame."""
        x = x.contiguous(memory_format=torch.channels_last)
        for layer in self.layers:
            x = F.relu(layer(x))
        return x.flatten(1)


class SubpixelDecoder(nn.Module):
    """A linear map to a small grid, then 3x3 convolutions each followed by sub-pixel upsampling (Shi et al. 2016).

    Every layer doubles the frame; the last one is linear and gives the parameters of the pixels (logits or means).
    Frames whose sides are no multiple of ``2 ** len(channels)`` are cut from the next larger ones.
    """

    def __init__(self, inputs: int, frame: tuple[int, int, int], channels: Sequence[int] = (32, 32, 32)) -> None:
        super().__init__()
        self.frame = frame
        grid = tuple(_halved(side, len(channels)) for side in frame[1:])
        self.grid = (channels[0], *grid)
        self.linear = nn.Linear(inputs, math.prod(self.grid))
        outputs = (*channels[1:], frame[0])
        self.layers = nn.ModuleList(nn.Conv2d(i, 4 * o, 3, 1, 1) for i, o in zip(channels, outputs, strict=True))
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, a: Float[Tensor, "b p"]) -> Float[Tensor, "b c h w"]:
        """Return the pixel parameters of each frame."""
        x = self.linear(a).unflatten(1, self.grid).contiguous(memory_format=torch.channels_last)
        for layer in self.layers[:-1]:
            x = F.relu(depth_to_space(layer(x)))
        x = depth_to_space(self.layers[-1](x))
        return x[..., : self.frame[1], : self.frame[2]]


def depth_to_space(x: Float[Tensor, "b e h w"]) -> Float[Tensor, "b c i j"]:
    """Spread groups of four channels over squares of four pixels.

    A sub-pixel shuffle that orders the channels as (row, column, channel): in ``channels_last`` memory it then moves whole
    runs of channels, which is faster than PyTorch's order (channel, row, column) forwards and backwards.
    """
    b, e, h, w = x.shape
    squares = x.permute(0, 2, 3, 1).reshape(b, h, w, 2, 2, e // 4).permute(0, 1, 3, 2, 4, 5)
    return squares.reshape(b, 2 * h, 2 * w, e // 4).permute(0, 3, 1, 2)


def _halved(side: int, times: int) -> int:
    return math.ceil(side / 2**times)

"""MeNet5, the small encoder of the moving-dot studies, and its decoder (Sobal et al. 2022, arXiv:2211.10831)."""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dynarium.errors import UserError
from dynarium.nn.checks import check_widths
from dynarium.nn.conv import depth_to_space


@dataclass(frozen=True, kw_only=True)
class MeNet:
    """Options of MeNet5.

    Attributes:
        width: Multiplies the channels of the convolutions, 16 and 32.
    """

    width: int = 2

    def __post_init__(self) -> None:
        check_widths(width=self.width)

    def build(self, frame: tuple[int, int, int], outputs: int) -> "MeNet5":
        """Create the encoder."""
        return MeNet5(frame, outputs, self.width)


class MeNet5(nn.Module):
    """Three convolutions (5x5 and 5x5 of stride 2, 3x3), each with ReLU and then batch normalisation; 2x2 means; linear.

    384,768 parameters with width 2 and 512 outputs on one channel of 28x28.
    """

    def __init__(self, frame: tuple[int, int, int], outputs: int = 64, width: int = 1) -> None:
        super().__init__()
        channels, height, grid = frame[0], frame[1], _pooled(frame)
        if min(grid) < 1:
            raise UserError(f"model.encoder: frames of at least 5x5 wanted, got {height}x{frame[2]}")
        narrow, wide = 16 * width, 32 * width
        self.layers = nn.Sequential(
            nn.Conv2d(channels, narrow, 5, 2, 2),
            nn.ReLU(inplace=True),
            nn.BatchNorm2d(narrow),
            nn.Conv2d(narrow, wide, 5, 2, 2),
            nn.ReLU(inplace=True),
            nn.BatchNorm2d(wide),
            nn.Conv2d(wide, wide, 3, 1, 1),
            nn.ReLU(inplace=True),
            nn.BatchNorm2d(wide),
            SquareMeans(),
            nn.Linear(wide * math.prod(grid), outputs),
        )
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """Return the encoding of each frame."""
        return self.layers(x.contiguous(memory_format=torch.channels_last))


class SquareMeans(nn.Module):
    """Means of squares of 2x2 pixels, flattened as (channel, row, column); an odd last row or column is left out.

    ``AvgPool2d(2)`` and ``Flatten`` give the same; on CPUs their backward pass costs as much as a convolution's, because it
    goes from that order of memory to ``channels_last`` value by value. Here it copies runs of channels.
    """

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """Return the means."""
        return _SquareMeans.apply(x).flatten(1)  # pyright: ignore[reportReturnType]


class _SquareMeans(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape = x.shape
        return F.avg_pool2d(x, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        b, c, h, w = ctx.shape
        share = (gradients[0] / 4).permute(0, 2, 3, 1)[:, :, None, :, None]
        whole = share.new_zeros(b, h, w, c)
        whole[:, : h // 2 * 2, : w // 2 * 2].unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).copy_(share)
        return whole.permute(0, 3, 1, 2)


class MeNet5Decoder(nn.Module):
    """A linear map to the encoder's last grid, then convolutions 3x3, 5x5 and 5x5 at a quarter, half and all of the frame.

    Each convolution sees its input enlarged to the size of its output; ReLU and batch normalisation stand between them.
    679,456 parameters with width 2 and 1024 inputs on one channel of 28x28. (The published decoder enlarges to 54x54 and
    shrinks the result to 28x28, at three times the cost.)
    """

    def __init__(self, frame: tuple[int, int, int], inputs: int, width: int = 2) -> None:
        super().__init__()
        self.frame, narrow, wide = frame, 16 * width, 32 * width
        self.grid = (wide, *_pooled(frame))
        self.quarter = (_halved(frame[1], 2), _halved(frame[2], 2))
        self.linear = nn.Linear(inputs, math.prod(self.grid))
        self.first = nn.Conv2d(wide, wide, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(wide), nn.BatchNorm2d(narrow)])
        self.second = nn.Conv2d(wide, narrow, 5, 1, 2, bias=False)
        self.third = nn.Conv2d(narrow, frame[0], 5, 1, 2, bias=False)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b c h w"]:
        """Return the pixels of each frame."""
        x = F.relu(self.linear(z)).unflatten(1, self.grid).contiguous(memory_format=torch.channels_last)
        x = self.norms[0](F.relu(self.first(F.interpolate(x, self.quarter)), inplace=True))
        x = self.norms[1](F.relu(doubled_conv(x, self.second.weight), inplace=True))
        return doubled_conv(x, self.third.weight)[..., : self.frame[1], : self.frame[2]]


def doubled_conv(x: Float[Tensor, "b c h w"], weight: Float[Tensor, "o c k k"]) -> Float[Tensor, "b o i j"]:
    """Return the convolution with ``weight`` (zero padding, odd k) of x enlarged twice by repeating pixels.

    The four pixels that come of one share a neighbourhood of the small frame: where two taps of the kernel fall on the
    same small pixel they are added first, so that one convolution of the small frame gives all four. For 5x5 kernels that
    is 36 multiplications instead of 100 an input pixel, and the large frame is never written.
    """
    k = weight.shape[-1]
    offset = [[(phase + tap - k // 2) // 2 for tap in range(k)] for phase in (0, 1)]
    reach = -min(offset[0])
    rows = [[[o == s for o in taps] for s in range(-reach, reach + 1)] for taps in offset]
    fold = torch.tensor(rows, dtype=weight.dtype, device=weight.device)
    folded = torch.einsum("pak,qbl,oikl->pqoiab", fold, fold, weight).flatten(0, 2)
    return depth_to_space(F.conv2d(x, folded.contiguous(memory_format=torch.channels_last), padding=reach))


def _pooled(frame: tuple[int, int, int]) -> tuple[int, int]:
    return _halved(frame[1], 2) // 2, _halved(frame[2], 2) // 2


def _halved(side: int, times: int) -> int:
    return math.ceil(side / 2**times)

"""The residual convolutional encoder of IMPALA (Espeholt et al. 2018, arXiv:1802.01561), for small rooms."""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dynarium.errors import UserError
from dynarium.nn.checks import check_widths
from dynarium.nn.group_norm import GroupNorm


@dataclass(frozen=True, kw_only=True)
class Impala:
    """Options of the encoder; the defaults are those of joint-embedding models of rooms (arXiv:2502.14819, 2602.03604).

    Attributes:
        channels: Channels of each stack, before ``width``.
        width: Multiplies the channels.
        groups: Groups of the group normalisation in front of every convolution of a residual block; 0: none.
        layer_norm: Normalise the encoding over its dimensions, with a learned gain and shift.
    """

    channels: tuple[int, ...] = (16, 32, 32)
    width: int = 1
    groups: int = 4
    layer_norm: bool = True

    def __post_init__(self) -> None:
        check_widths(channels=self.channels or (0,), width=self.width)
        if self.groups < 0 or any(self.groups and self.width * c % self.groups for c in self.channels):
            channels = tuple(self.width * c for c in self.channels)
            raise UserError(f"model.encoder.groups: expected 0 or a divisor of all of {channels}, got {self.groups}")

    def build(self, frame: tuple[int, int, int], outputs: int) -> "ImpalaEncoder":
        """Create the encoder."""
        return ImpalaEncoder(frame, outputs, self)


class ImpalaEncoder(nn.Module):
    """Stacks of a 3x3 convolution, 3x3 max-pooling of stride 2 and two residual blocks; ReLU, linear, layer norm.

    No statistics are shared between the frames of a batch.
    """

    def __init__(self, frame: tuple[int, int, int], outputs: int, options: Impala) -> None:
        super().__init__()
        channels = [frame[0], *(options.width * c for c in options.channels)]
        self.stacks = nn.Sequential(*(_stack(i, o, options.groups) for i, o in pairwise(channels)))
        sides = [math.ceil(side / 2 ** len(options.channels)) for side in frame[1:]]
        self.linear = nn.Linear(channels[-1] * math.prod(sides), outputs)
        self.norm = nn.LayerNorm(outputs) if options.layer_norm else nn.Identity()
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """Return the encoding of each frame."""
        x = self.stacks(x.contiguous(memory_format=torch.channels_last))
        return self.norm(self.linear(F.relu(x).flatten(1)))


class _Residual(nn.Module):
    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(
                part
                for _ in range(2)
                for part in (
                    GroupNorm(groups, channels) if groups else nn.Identity(),
                    nn.ReLU(),
                    nn.Conv2d(channels, channels, 3, 1, 1),
                )
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def _stack(inputs: int, outputs: int, groups: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, 1, 1),
        nn.MaxPool2d(3, 2, 1),
        _Residual(outputs, groups),
        _Residual(outputs, groups),
    )

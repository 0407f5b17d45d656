"""Further encoders of single frames: ResNet-18, the convolutions of DQN, LeNet-5, a perceptron, and the pixels themselves.

Each is an option class with ``build(frame, outputs)``, like ``MeNet`` and ``Impala``.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dynarium.errors import UserError
from dynarium.nn.checks import check_widths


@dataclass(frozen=True, kw_only=True)
class ResNet18:
    """ResNet-18 with basic blocks (He et al. 2016, arXiv:1512.03385, table 1) and batch normalisation.

    Attributes:
        width: Channels of the first stage, doubled at each of the three that follow.
    """

    width: int = 64

    def __post_init__(self) -> None:
        check_widths(width=self.width)

    def build(self, frame: tuple[int, int, int], outputs: int) -> nn.Module:
        """Create the encoder: four stages of two blocks, the mean over the grid, a linear map.

        The last normalisation of a block begins with gain 0, so that every block begins as the identity (Goyal et al. 2017,
        arXiv:1706.02677, section 5.1).
        """
        w = self.width
        stem = [nn.Conv2d(frame[0], w, 7, 2, 3, bias=False), nn.BatchNorm2d(w), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        stages = [w, w, 2 * w, 4 * w, 8 * w]
        blocks = [
            block
            for i, (before, after) in enumerate(pairwise(stages))
            for block in (_Block(before, after, 2 if i else 1), _Block(after, after, 1))
        ]
        pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8 * w, outputs)]
        return _channels_last(nn.Sequential(*stem, *blocks, *pooled))


@dataclass(frozen=True, kw_only=True)
class DQN:
    """The convolutions of DQN at a smaller stride: 4x4 by 2, 4x4 by 2, 3x3, with ReLU (after Mnih et al. 2015).

    Attributes:
        channels: Channels of the three convolutions.
    """

    channels: tuple[int, int, int] = (32, 64, 64)

    def __post_init__(self) -> None:
        check_widths(channels=self.channels)

    def build(self, frame: tuple[int, int, int], outputs: int) -> nn.Module:
        """Create the encoder; a linear map reads the last grid.

        Raises:
            UserError: The frame is too small for its three convolutions.
        """
        sides, layers = list(frame[1:]), []
        for (before, after), kernel, stride in zip(
            pairwise((frame[0], *self.channels)), (4, 4, 3), (2, 2, 1), strict=True
        ):
            sides = [(side - kernel) // stride + 1 for side in sides]
            layers += [nn.Conv2d(before, after, kernel, stride), nn.ReLU()]
        if min(sides) < 1:
            raise UserError(f"model.encoder: DQN wants frames of at least 18x18, got {frame[1]}x{frame[2]}")
        return _channels_last(
            nn.Sequential(*layers, nn.Flatten(), nn.Linear(self.channels[-1] * math.prod(sides), outputs))
        )


@dataclass(frozen=True, kw_only=True)
class LeNet5:
    """LeNet-5 (LeCun et al. 1998): 5x5 convolutions of 6 and 16 channels with 2x2 pooling, layers of 120 and 84 units."""

    def build(self, frame: tuple[int, int, int], outputs: int) -> nn.Module:
        """Create the encoder.

        Raises:
            UserError: The frame is too small for its two convolutions.
        """
        sides = [((side - 4) // 2 - 4) // 2 for side in frame[1:]]
        if min(sides) < 1:
            raise UserError(f"model.encoder: LeNet5 wants frames of at least 16x16, got {frame[1]}x{frame[2]}")
        layers = [
            nn.Conv2d(frame[0], 6, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
        layers += [nn.Flatten(), nn.Linear(16 * math.prod(sides), 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU()]
        return _channels_last(nn.Sequential(*layers, nn.Linear(84, outputs)))


@dataclass(frozen=True, kw_only=True)
class Perceptron:
    """A perceptron on the pixels. Without hidden layers: a linear map.

    Attributes:
        hidden: Widths of the hidden layers, each followed by ReLU.
    """

    hidden: tuple[int, ...] = (512,)

    def __post_init__(self) -> None:
        check_widths(hidden=self.hidden)

    def build(self, frame: tuple[int, int, int], outputs: int) -> nn.Module:
        """Create the encoder."""
        widths = (math.prod(frame), *self.hidden)
        layers = [part for i, o in pairwise(widths) for part in (nn.Linear(i, o), nn.ReLU())]
        return nn.Sequential(nn.Flatten(), *layers, nn.Linear(widths[-1], outputs))


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """No encoder: the encoding is the frame itself."""

    def build(self, frame: tuple[int, int, int], outputs: int) -> nn.Module:
        """Create what flattens the frame.

        Raises:
            UserError: The encoding has another size.
        """
        if outputs != math.prod(frame):
            raise UserError(
                f"model.embedding: with the encoder Pixels, expected the {math.prod(frame)} numbers of a frame "
                f"(or as the first of model.head), got {outputs}"
            )
        return nn.Flatten()


class _Block(nn.Module):
    """relu(shortcut(x) + BN(conv(relu(BN(conv(x))))))."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after))
        self.last = nn.Sequential(nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after))
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
        nn.init.zeros_(self.last[1].weight)  # pyright: ignore[reportArgumentType]

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b o i j"]:
        return F.relu(self.shortcut(x) + self.last(F.relu(self.first(x))))


def _channels_last(model: nn.Sequential) -> nn.Sequential:
    return model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

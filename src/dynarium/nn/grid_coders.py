"""Encoder and decoder between frames and small maps, for recurrent networks that keep the plane of the picture."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dynarium.nn.frame_layers import FrameLayer, Statistics, in_order

STAGES = 3
"""How often the encoder halves a frame: 64 pixels become 8."""


class GridEncoder(nn.Module):
    """Frames to maps in [-1, 1] at an eighth of their side, as flat vectors, and to skip connections."""

    def __init__(
        self, frame: tuple[int, int, int], outputs: int, width: int = 64, statistics: Statistics = "running"
    ) -> None:
        super().__init__()
        sizes = (frame[0], *(width * 2**k for k in range(STAGES)))
        self.stages = nn.ModuleList(
            FrameLayer(sizes[k], sizes[k + 1], 4, 2, 1, statistics=statistics) for k in range(STAGES)
        )
        self.last = FrameLayer(sizes[-1], outputs, 3, 1, 1, slope=1.0, statistics=statistics)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, x: Float[Tensor, "b c h w"], steps: int, kept: int) -> tuple[Float[Tensor, "b d"], list[Tensor]]:
        """Return the maps of the frames of ``steps`` steps, and what every stage gave for the first ``kept`` of them."""
        x, sources, skips = x.contiguous(memory_format=torch.channels_last), in_order(steps), []
        for stage in self.stages:
            x, skip = stage.kept(x, sources, kept)  # pyright: ignore[reportCallIssue]
            skips.append(skip)
        return self.last(x, sources).tanh().flatten(1), skips


class GridDecoder(nn.Module):
    """Maps, as flat vectors, and skip connections to the logits of frames."""

    def __init__(
        self, frame: tuple[int, int, int], inputs: int, width: int = 64, statistics: Statistics = "running"
    ) -> None:
        super().__init__()
        sizes = (*(width * 2**k for k in reversed(range(STAGES))), frame[0])
        self.grid = grid_of(frame, inputs)
        self.first = FrameLayer(inputs, sizes[0], 3, 1, 1, statistics=statistics)
        self.stages = nn.ModuleList(
            FrameLayer(
                sizes[k],
                sizes[k + 1],
                4,
                2,
                1,
                kind="transposed",
                skips=sizes[k],
                normalised=k < STAGES - 1,
                statistics=statistics,
            )
            for k in range(STAGES)
        )
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(
        self, z: Float[Tensor, "b d"], skips: Sequence[Tensor], sources: Sequence[int]
    ) -> Float[Tensor, "b c h w"]:
        """Return the logits of the frames of ``len(sources)`` steps; step k reads part ``sources[k]`` of every skip."""
        x = self.first(z.unflatten(1, self.grid).contiguous(memory_format=torch.channels_last), sources)
        for stage, skip in zip(self.stages, reversed(skips), strict=True):
            x = stage(x, sources, skip)
        return x


def grid_of(frame: tuple[int, int, int], channels: int) -> tuple[int, int, int]:
    """Return the shape of the maps that belong to frames."""
    return channels, frame[1] // 2**STAGES, frame[2] // 2**STAGES

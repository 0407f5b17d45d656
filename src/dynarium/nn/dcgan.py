"""DCGAN encoder and decoder of 56, 64 and 128 pixels with skip connections (Radford et al. 2016; Denton & Fergus 2018).

Every stage halves (doubles) the frame: 4x4 kernels of stride 2, batch normalisation, leaky ReLU. At 56 pixels the borders
are padded by one more where 29 and 15 are reached, so that every stage has the kernels of 64 pixels. At 32 pixels (not in
the papers) the last stage of 64 pixels is left out.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dynarium.nn.frame_layers import FrameLayer, Statistics, in_order

SIDES = (32, 56, 64, 128)
"""Sides in pixels of the frames that the networks exist for."""


def _stages(side: int, width: int) -> tuple[int, ...]:
    """Return the channels of the encoder's stages."""
    return (width, 2 * width, 4 * width, 8 * width, 8 * width)[: {32: 3, 128: 5}.get(side, 4)]


class DCGANEncoder(nn.Module):
    """Frames to vectors in [-1, 1] and to skip connections.

    With width 64 and 128 outputs 3,805,376 parameters on one channel of 56 or 64 pixels, 8,001,216 of 128.
    """

    def __init__(
        self, frame: tuple[int, int, int], outputs: int, width: int = 64, statistics: Statistics = "running"
    ) -> None:
        super().__init__()
        channels, side = frame[0], frame[1]
        stages = _stages(side, width)
        paddings = (2, 2, 2, 1) if side == 56 else (1,) * len(stages)
        self.stages = nn.ModuleList(
            FrameLayer(i, o, 4, 2, p, statistics=statistics)
            for i, o, p in zip((channels, *stages[:-1]), stages, paddings, strict=True)
        )
        self.last = FrameLayer(stages[-1], outputs, 4, slope=1.0, statistics=statistics)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, x: Float[Tensor, "b c h w"], steps: int, kept: int) -> tuple[Float[Tensor, "b d"], list[Tensor]]:
        """Return the vectors of the frames of ``steps`` steps, and what every stage gave for the first ``kept`` of them.

        The finest stage comes first.
        """
        x, sources, skips = x.contiguous(memory_format=torch.channels_last), in_order(steps), []
        for stage in self.stages:
            x, skip = stage.kept(x, sources, kept)  # pyright: ignore[reportCallIssue]
            skips.append(skip)
        return self.last(x, sources).flatten(1).tanh(), skips


class DCGANDecoder(nn.Module):
    """Vectors and skip connections to the logits of frames.

    With width 64 and 128 inputs 6,558,529 parameters on one channel of 56 or 64 pixels, 14,948,673 of 128.
    """

    def __init__(
        self, frame: tuple[int, int, int], inputs: int, width: int = 64, statistics: Statistics = "running"
    ) -> None:
        super().__init__()
        channels, side = frame[0], frame[1]
        stages = _stages(side, width)[::-1]
        paddings = ((1, 0), (2, 1), (2, 1), (2, 0)) if side == 56 else ((1, 0),) * len(stages)
        self.first = FrameLayer(inputs, stages[0], 4, kind="transposed", statistics=statistics)
        self.stages = nn.ModuleList(
            FrameLayer(
                i,
                o,
                4,
                2,
                p,
                kind="transposed",
                output_padding=extra,
                skips=i,
                normalised=k < len(stages) - 1,
                statistics=statistics,
            )
            for k, (i, o, (p, extra)) in enumerate(zip(stages, (*stages[1:], channels), paddings, strict=True))
        )
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(
        self, z: Float[Tensor, "b d"], skips: Sequence[Tensor], sources: Sequence[int]
    ) -> Float[Tensor, "b c h w"]:
        """Return the logits of the frames of ``len(sources)`` steps; step k reads part ``sources[k]`` of every skip."""
        x = self.first(z[:, :, None, None], sources)
        for stage, skip in zip(self.stages, reversed(skips), strict=True):
            x = stage(x, sources, skip)
        return x

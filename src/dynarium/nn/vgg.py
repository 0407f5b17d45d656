"""VGG encoder and decoder of 64 and 128 pixels with skip connections (Simonyan & Zisserman 2015; Denton & Fergus 2018).

Stages of 3x3 convolutions, each with batch normalisation and leaky ReLU; between them 2x2 maxima on the way down, pixels
repeated on the way up. A stage's skip connection is taken before its maxima.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dynarium.nn.frame_layers import FrameLayer, Statistics, in_order

SIDES = (64, 128)
"""Sides in pixels of the frames that the networks exist for."""


class VGGEncoder(nn.Module):
    """Frames to vectors in [-1, 1] and to skip connections.

    With width 64 and 128 outputs 8,688,448 parameters on one channel of 64 pixels, 15,770,944 of 128.
    """

    def __init__(
        self, frame: tuple[int, int, int], outputs: int, width: int = 64, statistics: Statistics = "running"
    ) -> None:
        super().__init__()
        w, inputs = width, frame[0]
        plan = [[w, w], [2 * w] * 2, [4 * w] * 3, [8 * w] * 3, *([[8 * w] * 3] if frame[1] == 128 else [])]
        self.stages = nn.ModuleList()
        for outs in plan:
            ins = (inputs, *outs[:-1])
            layers = (FrameLayer(i, o, 3, 1, 1, statistics=statistics) for i, o in zip(ins, outs, strict=True))
            self.stages.append(nn.ModuleList(layers))
            inputs = outs[-1]
        self.last = FrameLayer(inputs, outputs, 4, slope=1.0, statistics=statistics)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, x: Float[Tensor, "b c h w"], steps: int, kept: int) -> tuple[Float[Tensor, "b d"], list[Tensor]]:
        """Return the vectors of the frames of ``steps`` steps, and what every stage gave for the first ``kept`` of them.

        The finest stage comes first.
        """
        x, sources, skips = x.contiguous(memory_format=torch.channels_last), in_order(steps), []
        for stage in self.stages:
            *first, last = stage  # pyright: ignore[reportGeneralTypeIssues]
            for layer in first:
                x = layer(x, sources)
            x, skip = last.kept(x, sources, kept)
            skips.append(skip)
            x = F.max_pool2d(x, 2)
        return self.last(x, sources).flatten(1).tanh(), skips


class VGGDecoder(nn.Module):
    """Vectors and skip connections to the logits of frames.

    With width 64 and 128 inputs 11,821,505 parameters on one channel of 64 pixels, 21,263,297 of 128.
    """

    def __init__(
        self, frame: tuple[int, int, int], inputs: int, width: int = 64, statistics: Statistics = "running"
    ) -> None:
        super().__init__()
        w, large = width, frame[1] == 128
        plan = [*([[8 * w] * 3] if large else []), [8 * w, 8 * w, 4 * w], [4 * w, 4 * w, 2 * w], [2 * w, w], [w]]
        self.first = FrameLayer(inputs, 8 * w, 4, kind="transposed", statistics=statistics)
        self.stages, before = nn.ModuleList(), 8 * w
        for outs in plan:
            ins = (before, *outs[:-1])
            self.stages.append(
                nn.ModuleList(
                    FrameLayer(
                        i,
                        o,
                        3,
                        1,
                        1,
                        kind="conv" if k else "doubled",
                        skips=0 if k else i,
                        statistics=statistics,
                    )
                    for k, (i, o) in enumerate(zip(ins, outs, strict=True))
                )
            )
            before = outs[-1]
        self.last = FrameLayer(before, frame[0], 3, 1, 1, kind="transposed", normalised=False)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(
        self, z: Float[Tensor, "b d"], skips: Sequence[Tensor], sources: Sequence[int]
    ) -> Float[Tensor, "b c h w"]:
        """Return the logits of the frames of ``len(sources)`` steps; step k reads part ``sources[k]`` of every skip."""
        x = self.first(z[:, :, None, None], sources)
        for stage, skip in zip(self.stages, reversed(skips), strict=True):
            for k, layer in enumerate(stage):  # pyright: ignore[reportArgumentType]
                x = layer(x, sources, None if k else skip)
        return self.last(x, sources)

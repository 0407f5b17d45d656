"""A small U-Net (Ronneberger et al. 2015) that says where a flow from noise to frames ends."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dynarium.nn.frames import full_precision


class FlowUNet(nn.Module):
    """Residual blocks on patches of the frame at two resolutions, told the time of the flow and further numbers.

    Args:
        channels: Channels of the moving frame.
        beside: Channels of what is seen beside it, of the same size.
        further: Further numbers that are known.
        width: Channels of the finer resolution; the coarser one has twice as many.
        patch: Side of the patches that are channels of one place; the frame's sides are multiples of twice as much.
    """

    def __init__(self, channels: int, beside: int, further: int, width: int, patch: int) -> None:
        super().__init__()
        self.patch, self.width = patch, width
        self.known = nn.Sequential(nn.Linear(width + further, 2 * width), nn.SiLU())
        self.inputs = nn.Conv2d((channels + beside) * patch**2, width, 3, 1, 1)
        self.fine = nn.ModuleList(_Block(width, 2 * width) for _ in range(2))
        self.down = nn.Conv2d(width, 2 * width, 2, 2)
        self.coarse = nn.ModuleList(_Block(2 * width, 2 * width) for _ in range(2))
        self.up = nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.rest = _Block(width, 2 * width)
        self.outputs = nn.Conv2d(width, channels * patch**2, 3, 1, 1)
        nn.init.zeros_(self.outputs.weight)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        time: Float[Tensor, " b"],
        beside: Float[Tensor, "b e h w"],
        further: Float[Tensor, "b a"],
    ) -> Float[Tensor, "b c h w"]:
        """Return where the flow through x ends, given its time in [0, 1]."""
        frequency = torch.exp(torch.arange(self.width // 2, device=x.device) * (-math.log(1000.0) / (self.width // 2)))
        angle = 1000 * time[:, None] * frequency
        known = self.known(torch.cat([angle.sin(), angle.cos(), further], 1))
        patches = F.pixel_unshuffle(torch.cat([x, beside], 1), self.patch)
        y = self.inputs(patches.contiguous(memory_format=torch.channels_last))
        for block in self.fine:
            y = block(y, known)
        z = self.down(y)
        for block in self.coarse:
            z = block(z, known)
        y = self.rest(y + self.up(z), known)
        return full_precision(F.pixel_shuffle(self.outputs(F.silu(y)), self.patch))


class _Block(nn.Module):
    """Two convolutions with group normalisation beside a shortcut; between them, scale and shift by what is known."""

    def __init__(self, channels: int, known: int) -> None:
        super().__init__()
        groups = math.gcd(8, channels)
        self.norms = nn.ModuleList(nn.GroupNorm(groups, channels) for _ in range(2))
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, 1, 1) for _ in range(2))
        self.known = nn.Linear(known, 2 * channels)
        nn.init.zeros_(self.convs[1].weight)  # pyright: ignore[reportArgumentType]

    def forward(self, x: Float[Tensor, "b c h w"], known: Float[Tensor, "b d"]) -> Float[Tensor, "b c h w"]:
        """Return x and what the block adds to it."""
        scale, shift = self.known(known)[..., None, None].chunk(2, 1)
        y = self.convs[0](F.silu(self.norms[0](x)))
        y = self.norms[1](y) * (1 + scale) + shift
        return x + self.convs[1](F.silu(y))

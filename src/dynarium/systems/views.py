"""Abstract states as frames: a point of a plane, phases on a circle, a rod, the strategies of a game."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dynarium.rendering import antialiased_discs


def draw_points(
    points: Float[Tensor, "b t k 2"],
    middle: tuple[float, float],
    reach: float,
    side: int,
    radius: float = 2.0,
    background: UInt8[Tensor, "b t h w"] | None = None,
) -> UInt8[Tensor, "b t c h w"]:
    """Draw k points of a plane per frame as white discs on black.

    Args:
        points: (x, y) of each point; x grows to the right and y upwards, so that row 0 shows the largest y.
        middle: Point in the middle of the frame.
        reach: Distance from there to each edge of the frame.
        side: Height and width of the frame in pixels.
        radius: Radius of the discs in 32nds of the frame.
        background: Drawn underneath; black if absent.
    """
    offset = (points - torch.tensor(middle, dtype=points.dtype, device=points.device)) / reach
    # A point far outside is drawn just outside: beyond any frame, and within the range of a pixel's number.
    pixels = ((offset * offset.new_tensor([1.0, -1.0])).clamp(-4, 4) + 1) * (side / 2)
    return antialiased_discs(pixels, radius * side / 32, side, background)[:, :, None]


@dataclass(frozen=True, kw_only=True)
class Plane:
    """A disc at (state[x], state[y]), as in a phase plane.

    Attributes:
        x: State dimension drawn to the right.
        y: State dimension drawn upwards.
        middle: (x, y) in the middle of the frame.
        reach: Distance from there to each edge.
    """

    x: int = 0
    y: int = 1
    middle: tuple[float, float] = (0.0, 0.0)
    reach: float = 3.0

    def draw(self, state: Float[Tensor, "b t n"], side: int) -> UInt8[Tensor, "b t c h w"]:
        """Draw the frames."""
        return draw_points(state[:, :, None, [self.x, self.y]], self.middle, self.reach, side)


@dataclass(frozen=True, kw_only=True)
class Circle:
    """Discs on a circle, one for each of the first ``angles`` state dimensions; 0 is down, counter-clockwise.

    Attributes:
        angles: How many of the state dimensions are angles in rad.
    """

    angles: int = 1

    def draw(self, state: Float[Tensor, "b t n"], side: int) -> UInt8[Tensor, "b t c h w"]:
        """Draw the frames."""
        angle = state[..., : self.angles]
        return draw_points(torch.stack([angle.sin(), -angle.cos()], -1), (0.0, 0.0), 1.3, side)


@dataclass(frozen=True, kw_only=True)
class Rod:
    """A rod from the middle of the frame, turned by the first state dimension in rad; 0 is down, counter-clockwise.

    It is drawn as overlapping discs, and ends four fifths of the way to the edge.
    """

    def draw(self, state: Float[Tensor, "b t n"], side: int) -> UInt8[Tensor, "b t c h w"]:
        """Draw the frames."""
        angle, along = state[..., :1], torch.linspace(0, 1, 12, dtype=state.dtype, device=state.device)
        return draw_points(torch.stack([along * angle.sin(), -along * angle.cos()], -1), (0.0, 0.0), 1.35, side)


@dataclass(frozen=True, kw_only=True)
class Strategies:
    """The outer product of two players' mixed strategies, each entry a block of the frame, in three equal channels.

    Attributes:
        choices: Number of pure strategies of each player; the state holds one player's, then the other's.
    """

    choices: int = 2

    def draw(self, state: Float[Tensor, "b t n"], side: int) -> UInt8[Tensor, "b t c h w"]:
        """Draw the frames."""
        one, other = state.split(self.choices, -1)
        block = torch.arange(side, device=state.device) * self.choices // side
        grey = (255 * one[..., None] * other[..., None, :]).clamp(0, 255).round().to(torch.uint8)
        grey = grey[..., block, :][..., block]
        return grey[:, :, None].expand(-1, -1, 3, -1, -1).contiguous()

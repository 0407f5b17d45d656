"""A dot among blocks, elsewhere in every sequence."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from dynarium.errors import UserError
from dynarium.systems.checks import check_not_negative, check_positive
from dynarium.systems.rooms import Room, Walk, draw_dot, draw_rooms, random_directions, shortened
from dynarium.types import Trajectory

_WALK = Walk()
_PLACEMENTS = 1000


@dataclass(frozen=True, kw_only=True)
class DotObstacles:
    """A dot in a square room with rectangular blocks in its way.

    The dot moves by its action if the straight way there is free, and else stays where it is, as in the two rooms. Blocks keep
    a distance from each other and from the edges, so that every free place can be reached from every other. The state holds
    (x, y) of the dot in px, y down; pixel (row i, column j) has its middle at (j, i). A block from pixel a to pixel b fills
    [a, b]. ``action[:, t]`` moves the dot from t to t+1; it is stored as it was drawn. Frames have two channels: the dot and
    the walls.

    Attributes:
        steps: Default number of time steps of a sequence.
        blocks: Number of blocks.
        lengths: Least and largest height and width of a block in pixels, uniform.
        gap: Least distance of a block from the others and from the edges in px.
        border: The line around the room is the ``border``-th pixel from each edge of the frame; the dot stays inside.
        std: Standard deviation of the dot in px.
        walk: How the displacements are drawn.
        max_action: Largest length of an action in px; a longer one is shortened.
        side: Height and width of a frame in pixels.
    """

    steps: int = 33
    blocks: int = 3
    lengths: tuple[int, int] = (3, 7)
    gap: int = 2
    border: int = 2
    std: float = 1.3
    walk: Walk = _WALK
    max_action: float = 2.45
    side: int = 28

    def __post_init__(self) -> None:
        """Check the configuration.

        Raises:
            UserError: A value outside its range, or blocks that do not fit.
        """
        check_positive(steps=self.steps, gap=self.gap, border=self.border, std=self.std, side=self.side)
        check_positive(max_action=self.max_action)
        check_not_negative(blocks=self.blocks)
        if not 1 <= self.lengths[0] <= self.lengths[1]:
            raise UserError(f"lengths: expected two positive numbers in order, got {self.lengths}")
        if self.high - self.low - 2 * self.gap + 1 < self.lengths[1]:
            raise UserError(f"lengths: a block of {self.lengths[1]} px has no room in {self.side} px")
        self.walk.check_within(self.max_action)

    @property
    def dt(self) -> float:
        """Time between two frames."""
        return 1.0

    @property
    def low(self) -> float:
        """Smallest coordinate of the dot in px."""
        return self.border - 1.0

    @property
    def high(self) -> float:
        """Largest coordinate of the dot in px."""
        return float(self.side - self.border)

    @property
    def state_names(self) -> tuple[str, ...]:
        """Name and unit of each state dimension."""
        return ("x [px]", "y [px]")

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """First and last column and row of each block."""
        names = ("left", "top", "right", "bottom")
        return tuple(f"{name} {block} [px]" for block in range(self.blocks) for name in names)

    def sample_parameters(self, n: int, generator: torch.Generator) -> Float[Tensor, "b q"]:
        """Draw the blocks of ``n`` sequences.

        Raises:
            UserError: The blocks do not fit beside each other.
        """
        placed = torch.empty(n, 0, 4, dtype=torch.float64, device=generator.device)
        for block in range(self.blocks):
            fresh = self._draw_block(n, generator)
            for _ in range(_PLACEMENTS):
                near = self._near(fresh, placed).nonzero()[:, 0]
                if len(near) == 0:
                    break
                fresh[near] = self._draw_block(len(near), generator)
            else:
                raise UserError(
                    f"blocks: no free place for block {block + 1} of {self.blocks} after {_PLACEMENTS} draws; fewer or "
                    "smaller ones may fit"
                )
            placed = torch.cat([placed, fresh[:, None]], 1)
        return placed.flatten(1)

    def simulate(self, parameters: Float[Tensor, "b q"], steps: int, generator: torch.Generator) -> Trajectory:
        """Draw first positions and displacements and return ``steps`` states of each sequence."""
        room = self._room(parameters)
        first = room.free_points(generator)
        moves = self.walk.draw(random_directions(len(parameters), generator), steps, generator)
        return Trajectory(state=room.walked(first, moves), action=moves, parameter=parameters)

    def transition(
        self, state: Float[Tensor, "b n"], action: Float[Tensor, "b a"], parameters: Float[Tensor, "b q"]
    ) -> Float[Tensor, "b n"]:
        """Return the state after one action."""
        return self._room(parameters).moved(state, shortened(action, self.max_action))

    def shortest_path(
        self, start: Float[Tensor, "b 2"], goal: Float[Tensor, "b 2"], parameters: Float[Tensor, "b q"]
    ) -> Float[Tensor, " b"]:
        """Return the length in px of the shortest way from start to goal, around the blocks."""
        return self._room(parameters).shortest(start, goal)

    def render(self, trajectory: Trajectory) -> UInt8[Tensor, "b t c h w"]:
        """Draw the frames; frame t shows state t.

        Raises:
            UserError: The trajectory has no parameters.
        """
        if trajectory.parameter is None:
            raise UserError("trajectory.parameter: expected the places of the blocks, got none")
        return draw_rooms(trajectory.state, self._walls(trajectory.parameter), self.std, self.border)

    def foreground(self, state: Float[Tensor, "b t n"]) -> Float[Tensor, "b t c h w"]:
        """Draw the dot alone."""
        return draw_dot(state, self.std, self.side)

    def _room(self, parameters: Float[Tensor, "b q"]) -> Room:
        return Room(boxes=parameters.reshape(len(parameters), self.blocks, 4), low=self.low, high=self.high)

    def _walls(self, parameters: Float[Tensor, "b q"]) -> Bool[Tensor, "b h w"]:
        left, top, right, bottom = parameters.reshape(len(parameters), self.blocks, 4)[..., None].unbind(2)
        pixel = torch.arange(self.side, device=parameters.device)
        column, row = (pixel >= left) & (pixel <= right), (pixel >= top) & (pixel <= bottom)
        return (column[:, :, None, :] & row[:, :, :, None]).any(1)

    def _draw_block(self, n: int, generator: torch.Generator) -> Float[Tensor, "b 4"]:
        options = {"device": generator.device, "generator": generator}
        length = torch.randint(self.lengths[0], self.lengths[1] + 1, (n, 2), **options)
        first, last = int(self.low) + self.gap, int(self.high) - self.gap
        share = torch.rand(n, 2, **options)
        corner = first + (share * (last - first + 2 - length)).floor()
        return torch.cat([corner, corner + length - 1], 1).double()

    def _near(self, block: Float[Tensor, "b 4"], others: Float[Tensor, "b m 4"]) -> Bool[Tensor, " b"]:
        """Return which blocks are closer to any of the others than the gap."""
        low, high = block[:, None, :2] - self.gap, block[:, None, 2:] + self.gap
        return ((others[..., :2] < high) & (others[..., 2:] > low)).all(-1).any(-1)


def dot_obstacles() -> DotObstacles:
    """Return a dot among three blocks, which are elsewhere in every sequence, 28 x 28 px."""
    return DotObstacles()

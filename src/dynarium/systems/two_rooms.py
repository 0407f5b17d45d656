"""Two rooms with a door between them, where the straight way to a goal is often closed."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from dynarium.errors import UserError
from dynarium.systems.checks import check_positive
from dynarium.systems.draws import truncated_normal, uniform
from dynarium.systems.rooms import Room, Walk, draw_dot, draw_rooms, random_directions, shortened
from dynarium.types import Trajectory

_WALK = Walk()
_BEYOND = 1000.0  # px that the wall reaches beyond the rooms, so that nothing slips past its ends
_DOOR_SPREAD = 1.4  # px, of the places at which crossing sequences pass the door


@dataclass(frozen=True, kw_only=True)
class TwoRooms:
    """A dot in a square that a wall with a door cuts in two (Sobal et al. 2025, section 4.1).

    The dot moves by its action if the straight way there is free, and else stays where it is: the law by which the published
    data are made. The state holds (x, y) of the dot in px, y down; pixel (row i, column j) has its middle at (j, i). The wall
    is ``wall_width`` pixels wide and open from ``door`` - ``door_reach`` to ``door`` + ``door_reach``. ``action[:, t]`` moves
    the dot from t to t+1; it is stored as it was drawn. Frames have two channels: the dot and the walls.

    Some sequences come to the door by construction: two walks that leave a point of it to opposite sides, one of them
    backwards. Others come to the wall no farther from the door than it is high, and run into it.

    Attributes:
        steps: Default number of time steps of a sequence.
        wall: Column of the middle of the wall, or the first and the last one of a uniform draw for each sequence.
        door: Row of the middle of the door, or the first and the last one of a uniform draw for each sequence.
        wall_width: Width of the wall in pixels, odd.
        door_reach: Half of the door's height in px.
        border: The line around the rooms is the ``border``-th pixel from each edge of the frame; the dot stays inside.
        std: Standard deviation of the dot in px.
        walk: How the displacements are drawn.
        crossing: Share of the sequences that come to the door by construction.
        beside: Share of the others that come to the wall beside the door by construction.
        max_action: Largest length of an action in px; a longer one is shortened.
        side: Height and width of a frame in pixels.
    """

    steps: int = 91
    wall: tuple[int, int] = (32, 32)
    door: tuple[int, int] = (10, 10)
    wall_width: int = 3
    door_reach: int = 4
    border: int = 5
    std: float = 1.3
    walk: Walk = _WALK
    crossing: float = 0.1
    beside: float = 0.0
    max_action: float = 2.45
    side: int = 65

    def __post_init__(self) -> None:
        """Check the configuration.

        Raises:
            UserError: A value outside its range, or a wall or a door that does not fit.
        """
        check_positive(steps=self.steps, wall_width=self.wall_width, door_reach=self.door_reach, border=self.border)
        check_positive(std=self.std, max_action=self.max_action, side=self.side)
        for name, share in (("crossing", self.crossing), ("beside", self.beside)):
            if not 0 <= share <= 1:
                raise UserError(f"{name}: expected a share in [0, 1], got {share}")
        if self.wall_width % 2 == 0:
            raise UserError(f"wall_width: expected an odd number of pixels, got {self.wall_width}")
        self.walk.check_within(self.max_action)
        for name, (first, last), reach in (("wall", self.wall, self._half), ("door", self.door, self.door_reach)):
            low, high = int(self.low) + reach + 1, int(self.high) - reach - 1
            if not low <= first <= last <= high:
                raise UserError(f"{name}: expected first and last of {low} .. {high}, got {first} and {last}")

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
        """Where the wall and its door are."""
        return ("wall x [px]", "door y [px]")

    def sample_parameters(self, n: int, generator: torch.Generator) -> Float[Tensor, "b q"]:
        """Draw the column of the wall and the row of the door for each of ``n`` sequences."""
        options = {"device": generator.device, "generator": generator}
        drawn = [torch.randint(first, last + 1, (n,), **options) for first, last in (self.wall, self.door)]
        return torch.stack(drawn, -1).double()

    def simulate(self, parameters: Float[Tensor, "b q"], steps: int, generator: torch.Generator) -> Trajectory:
        """Draw first positions and displacements and return ``steps`` states of each sequence."""
        room, n = self._room(parameters), len(parameters)
        first = room.free_points(generator)
        moves = self.walk.draw(random_directions(n, generator), steps, generator)
        rest = torch.ones(n, dtype=torch.bool, device=generator.device)
        for share, drawn in ((self.crossing, self._crossing), (self.beside, self._beside)):
            if share and steps > 2:
                chosen = rest & (torch.rand(n, device=generator.device, generator=generator) < share)
                first[chosen], moves[chosen] = drawn(parameters[chosen], steps, generator)
                rest &= ~chosen
        return Trajectory(state=room.walked(first, moves), action=moves, parameter=parameters)

    def transition(
        self, state: Float[Tensor, "b n"], action: Float[Tensor, "b a"], parameters: Float[Tensor, "b q"]
    ) -> Float[Tensor, "b n"]:
        """Return the state after one action."""
        return self._room(parameters).moved(state, shortened(action, self.max_action))

    def shortest_path(
        self, start: Float[Tensor, "b 2"], goal: Float[Tensor, "b 2"], parameters: Float[Tensor, "b q"]
    ) -> Float[Tensor, " b"]:
        """Return the length in px of the shortest way from start to goal, through the door where it must."""
        return self._room(parameters).shortest(start, goal)

    def render(self, trajectory: Trajectory) -> UInt8[Tensor, "b t c h w"]:
        """Draw the frames; frame t shows state t.

        Raises:
            UserError: The trajectory has no parameters.
        """
        if trajectory.parameter is None:
            raise UserError("trajectory.parameter: expected the places of wall and door, got none")
        return draw_rooms(trajectory.state, self._walls(trajectory.parameter), self.std, self.border)

    def foreground(self, state: Float[Tensor, "b t n"]) -> Float[Tensor, "b t c h w"]:
        """Draw the dot alone."""
        return draw_dot(state, self.std, self.side)

    @property
    def _half(self) -> int:
        return self.wall_width // 2

    def _room(self, parameters: Float[Tensor, "b q"]) -> Room:
        """Return the rooms with the two pieces of the wall."""
        wall, door = parameters.unbind(-1)
        far = torch.full_like(wall, _BEYOND)
        above = torch.stack([wall - self._half, -far, wall + self._half, door - self.door_reach], -1)
        below = torch.stack([wall - self._half, door + self.door_reach, wall + self._half, far], -1)
        return Room(boxes=torch.stack([above, below], 1), low=self.low, high=self.high)

    def _walls(self, parameters: Float[Tensor, "b q"]) -> Bool[Tensor, "b h w"]:
        wall, door = parameters[..., None].unbind(1)
        pixel = torch.arange(self.side, device=parameters.device)
        column, row = (pixel - wall).abs() <= self._half, (pixel - door).abs() > self.door_reach
        return column[:, None, :] & row[:, :, None]

    def _crossing(
        self, parameters: Float[Tensor, "b q"], steps: int, generator: torch.Generator
    ) -> tuple[Float[Tensor, "b 2"], Float[Tensor, "b t 2"]]:
        """Draw first positions and displacements that lead to the door at a step of their own, and on to the other side."""
        n, options = len(parameters), {"device": generator.device, "generator": generator}
        x = uniform((-self._half, self._half), (n,), generator)
        y = truncated_normal(0.0, _DOOR_SPREAD, (-self.door_reach, self.door_reach), (n,), generator)
        when = torch.randint(1, steps - 1, (n, 1), **options)
        direction = uniform((-math.pi / 4, math.pi / 4), (n,), generator) + math.pi * torch.randint(2, (n,), **options)
        return self._through(parameters, parameters + torch.stack([x, y], -1), direction, when, generator, steps)

    def _beside(
        self, parameters: Float[Tensor, "b q"], steps: int, generator: torch.Generator
    ) -> tuple[Float[Tensor, "b 2"], Float[Tensor, "b t 2"]]:
        """Draw first positions and displacements that lead to the wall beside the door at a step of their own, and into it."""
        n, options = len(parameters), {"device": generator.device, "generator": generator}
        side, edge = (2.0 * torch.randint(2, (n,), **options) - 1 for _ in range(2))
        x = side * uniform((self._half, self._half + self.max_action), (n,), generator)
        y = edge * uniform((self.door_reach, 3 * self.door_reach), (n,), generator)
        when = torch.randint(1, steps - 1, (n, 1), **options)
        direction = uniform((-math.pi / 4, math.pi / 4), (n,), generator) + math.pi * (side > 0)
        point = (parameters + torch.stack([x, y], -1)).clamp(self.low, self.high)
        return self._through(parameters, point, direction, when, generator, steps)

    def _through(
        self,
        parameters: Float[Tensor, "b q"],
        point: Float[Tensor, "b 2"],
        direction: Float[Tensor, " b"],
        when: Int[Tensor, "b 1"],
        generator: torch.Generator,
        steps: int,
    ) -> tuple[Float[Tensor, "b 2"], Float[Tensor, "b t 2"]]:
        """Draw first positions and displacements that are at a point at a step, and leave it in a direction.

        The way to the point is a walk away from it, backwards: steps that were free are reversed; steps that were in vain stay
        in vain as they are.
        """
        away, on = (self.walk.draw(angle, steps, generator) for angle in (direction + math.pi, direction))
        position = self._room(parameters).walked(point, away)
        free = (position[:, 1:] != position[:, :-1]).any(-1, keepdim=True)
        back = torch.where(free, -away[:, :-1], away[:, :-1])
        step = torch.arange(steps, device=generator.device) - when
        moves = torch.where((step < 0)[..., None], _at(back, (-1 - step).clamp(min=0)), _at(on, step.clamp(min=0)))
        return _at(position, when)[:, 0], moves


def _at(sequence: Float[Tensor, "b t 2"], step: Int[Tensor, "b s"]) -> Float[Tensor, "b s 2"]:
    """Return the entries of each sequence at some steps of its own."""
    return sequence.gather(1, step[..., None].expand(-1, -1, 2))


def two_rooms() -> TwoRooms:
    """Return two rooms of 65 x 65 px whose wall and door are always at the same place (Sobal et al. 2025, section 4.1)."""
    return TwoRooms()


def two_rooms_random() -> TwoRooms:
    """Return two rooms whose wall and door are elsewhere in every sequence."""
    return TwoRooms(wall=(20, 44), door=(10, 54))

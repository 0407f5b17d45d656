"""Rooms with walls: a point that moves by its actions and stays where it is when a wall is in the way."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, UInt8
from scipy.sparse.csgraph import dijkstra
from torch import Tensor

from dynarium.errors import UserError
from dynarium.rendering.gaussians import gaussian_dots, peak
from dynarium.systems.checks import check_not_negative, check_positive, check_range
from dynarium.systems.draws import truncated_normal, von_mises

_GRAZE = 1e-9  # px by which a segment may enter a box: corners and faces may be touched
_DRAWS = 1000
_PIXELS_AT_ONCE = 2**18  # whose arrays stay in the cache


@dataclass(frozen=True, kw_only=True)
class Walk:
    """Displacements of a point that keeps its direction for a while (Sobal et al. 2025, appendix on the two rooms).

    Attributes:
        length: Mean of a displacement's length in px before it is cut to ``lengths``.
        spread: Standard deviation of that length in px.
        lengths: Shortest and longest displacement in px.
        concentration: Of the von Mises angle by which the direction turns at each step; the first direction is uniform.
    """

    length: float = 1.0
    spread: float = 0.4
    lengths: tuple[float, float] = (0.2, 1.8)
    concentration: float = 5.0

    def __post_init__(self) -> None:
        """Check the configuration.

        Raises:
            UserError: A value outside its range.
        """
        check_positive(**{"walk.length": self.length, "walk.spread": self.spread})
        check_range("walk.lengths", self.lengths, low=0.0)
        check_not_negative(**{"walk.concentration": self.concentration})

    def check_within(self, max_action: float) -> None:
        """Check that the longest displacement is an action that a world allows.

        Raises:
            UserError: It is not.
        """
        if self.lengths[1] > max_action:
            raise UserError(f"max_action: expected at least the {self.lengths[1]} px of the walk, got {max_action}")

    def draw(self, first: Float[Tensor, " b"], steps: int, generator: torch.Generator) -> Float[Tensor, "b t 2"]:
        """Draw ``steps`` displacements, the first one in direction ``first``, in rad."""
        turns = von_mises(self.concentration, (len(first), steps - 1), generator)
        angle = torch.cat([first[:, None], turns], 1).cumsum(1)
        length = truncated_normal(self.length, self.spread, self.lengths, (len(first), steps), generator)
        return length[..., None] * torch.stack([angle.cos(), angle.sin()], -1)


@dataclass(frozen=True, kw_only=True)
class Room:
    """A square in which boxes are in the way of a point, for each sequence its own boxes.

    Attributes:
        boxes: Left, top, right and bottom of each box in px.
        low: Smallest coordinate of the point in px.
        high: Largest coordinate of the point in px.
    """

    boxes: Float[Tensor, "b m 4"]
    low: float
    high: float

    def inside(self, point: Float[Tensor, "b p 2"]) -> Bool[Tensor, "b p"]:
        """Return which points are inside the square."""
        return ((point >= self.low) & (point <= self.high)).all(-1)

    def crosses(self, start: Float[Tensor, "b p 2"], end: Float[Tensor, "b p 2"]) -> Bool[Tensor, "b p"]:
        """Return which segments go through the interior of a box; a segment of no length: whether it lies in one.

        A segment is in a slab from the time at which it passes one face to the time at which it passes the other; it is in a
        box while it is in both slabs.
        """
        low, high = self.boxes[:, None, :, :2] + _GRAZE, self.boxes[:, None, :, 2:] - _GRAZE
        start, move = start[:, :, None], (end - start)[:, :, None]
        still = move == 0
        move = torch.where(still, 1.0, move)
        first, second = (low - start) / move, (high - start) / move
        never = still & ~((start > low) & (start < high))
        enter = torch.where(still, -torch.inf, torch.minimum(first, second)).masked_fill(never, torch.inf).amax(-1)
        leave = torch.where(still, torch.inf, torch.maximum(first, second)).masked_fill(never, -torch.inf).amin(-1)
        return ((enter < leave) & (enter < 1) & (leave > 0)).any(-1)

    def moved(self, point: Float[Tensor, "b 2"], move: Float[Tensor, "b 2"]) -> Float[Tensor, "b 2"]:
        """Return where each point is after its displacement: where it was, if a box or the edge of the square is in the way."""
        start, end = point[:, None], (point + move)[:, None]
        free = self.inside(end) & ~self.crosses(start, end)
        return torch.where(free, point + move, point)

    def walked(self, first: Float[Tensor, "b 2"], moves: Float[Tensor, "b t 2"]) -> Float[Tensor, "b t 2"]:
        """Return the way of each point from its first place; the last displacement leads beyond it."""
        way = [first]
        for move in moves[:, :-1].unbind(1):
            way.append(self.moved(way[-1], move))
        return torch.stack(way, 1)

    def free_points(self, generator: torch.Generator) -> Float[Tensor, "b 2"]:
        """Draw a point for each sequence, uniform over the square without the boxes.

        Raises:
            UserError: No free point after 1000 draws.
        """
        n, options = len(self.boxes), {"dtype": torch.float64, "device": generator.device, "generator": generator}
        point = self.low + (self.high - self.low) * torch.rand(n, 1, 2, **options)
        for _ in range(_DRAWS):
            taken = self.crosses(point, point)[:, 0]
            if not taken.any():
                return point[:, 0]
            fresh = self.low + (self.high - self.low) * torch.rand(n, 1, 2, **options)
            point = torch.where(taken[:, None, None], fresh, point)
        raise UserError(f"blocks: they leave no free place after {_DRAWS} draws")

    def shortest(self, start: Float[Tensor, "b 2"], goal: Float[Tensor, "b 2"]) -> Float[Tensor, " b"]:
        """Return the length of the shortest path between two points, infinite where there is none.

        Around boxes it is a chain of straight lines from corner to corner: the shortest path in the graph that joins start,
        goal and all corners that see each other (Lozano-Perez & Wesley 1979), by Dijkstra's algorithm.
        """
        x, y = self.boxes[..., [0, 2, 2, 0]], self.boxes[..., [1, 1, 3, 3]]
        nodes = torch.cat([start[:, None], goal[:, None], torch.stack([x, y], -1).flatten(1, 2)], 1)
        count = nodes.shape[1]
        one, other = nodes.repeat_interleave(count, 1), nodes.repeat(1, count, 1)
        seen = ~self.crosses(one, other) & self.inside(one) & self.inside(other)
        distance = (one - other).norm(dim=-1)
        # A distance of zero means "not joined" to SciPy.
        weight = torch.where(seen, distance.clamp(min=1e-12), 0.0).unflatten(1, (count, count)).cpu().numpy()
        lengths = [float(dijkstra(one_weight, directed=False, indices=0)[1]) for one_weight in weight]
        return torch.tensor(lengths, dtype=torch.float64, device=start.device)


def shortened(action: Float[Tensor, "*b 2"], longest: float) -> Float[Tensor, "*b 2"]:
    """Return the actions, those that are longer than ``longest`` shortened to it."""
    length = action.norm(dim=-1, keepdim=True)
    return torch.where(length > longest, action * (longest / length.clamp(min=1e-12)), action)


def draw_rooms(
    position: Float[Tensor, "b t 2"], walls: Bool[Tensor, "b h w"], std: float, border: int
) -> UInt8[Tensor, "b t c h w"]:
    """Draw two channels: the dot, 255 at its middle, and the walls with the lines around the room, all 255."""
    side, (n, steps) = walls.shape[-1], position.shape[:2]
    out = torch.empty(n, steps, 2, side, side, dtype=torch.uint8, device=walls.device)
    out[:, :, 1] = walls[:, None].to(torch.uint8) * 255
    for line in (border - 1, side - border):
        out[:, :, 1, line, :] = 255
        out[:, :, 1, :, line] = 255
    chunk = max(1, _PIXELS_AT_ONCE // (steps * side**2)) if walls.device.type == "cpu" else max(1, n)
    for start in range(0, n, chunk):
        dot = gaussian_dots(position[start : start + chunk, :, None], std, side)
        out[start : start + chunk, :, 0] = dot.mul_(255 / peak(std)).round_()[:, :, 0]
    return out


def draw_dot(position: Float[Tensor, "b t 2"], std: float, side: int) -> Float[Tensor, "b t c h w"]:
    """Draw the dot alone, 1 at its middle, as the first of two channels; the other is black."""
    dot = gaussian_dots(position[:, :, None], std, side).div_(peak(std))
    return torch.cat([dot, torch.zeros_like(dot)], 2)


def random_directions(n: int, generator: torch.Generator) -> Float[Tensor, " b"]:
    """Draw directions in rad."""
    return 2 * math.pi * torch.rand(n, dtype=torch.float64, device=generator.device, generator=generator)

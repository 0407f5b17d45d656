"""Squares that bounce in a square frame: the two published laws of Moving MNIST, by chance or by reflection."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dynarium.systems.draws import integers

TOLERANCE = 1e-8
"""Pixels (or steps) by which a square may be beyond a wall before it has met it, in the law of 2020."""

Paths = tuple[Float[Tensor, "b t k 4"], Bool[Tensor, "b t k"]]
"""(x, y, vx, vy) of each square at each step, and whether it has met a wall on its way into that step."""


def snapped_paths(
    shape: tuple[int, int], steps: int, room: int, speed: int, chance: bool, generator: torch.Generator
) -> Paths:
    """Return paths by the law of Denton & Fergus 2018, whose positions are whole pixels.

    First positions are uniform in {0 .. room - 1}, velocities in {-speed .. speed}, per axis. At each step, y first, then x:
    a coordinate below 0 becomes 0, one of ``room`` or more becomes ``room`` - 1. By chance, the velocity across that wall
    is then uniform in {1 .. speed} away from it and the one along it uniform in {-speed .. speed}: in a corner, x has the last
    word. Else the velocity across is reversed. The step is taken after that, so that what remains of it is lost at a wall.

    Args:
        shape: Number of sequences and of squares in each.
        steps: Number of steps.
        room: Width of the frame less that of a square, in px.
        speed: Largest velocity along an axis, in px a step.
        chance: Redraw velocities at walls; else reverse them.
        generator: Of all draws.
    """
    n, k = shape
    position = list(integers(0, room - 1, (2, n, k), generator))
    velocity = list(integers(-speed, speed, (2, n, k), generator))
    across = integers(1, speed, (steps, 2, n, k), generator)
    along = integers(-speed, speed, (steps, 2, n, k), generator)
    states, hits = [], []
    for t in range(steps):
        hit_any = torch.zeros(n, k, dtype=torch.bool, device=generator.device)
        for axis in (1, 0):
            low, high = position[axis] < 0, position[axis] >= room
            hit = low | high
            position[axis] = position[axis].clamp(0, room - 1)
            if chance:
                away = torch.where(low, across[t, axis], -across[t, axis])
                velocity[axis] = torch.where(hit, away, velocity[axis])
                velocity[1 - axis] = torch.where(hit, along[t, axis], velocity[1 - axis])
            else:
                velocity[axis] = torch.where(hit, -velocity[axis], velocity[axis])
            hit_any = hit_any | hit
        states.append(torch.stack([*position, *velocity], -1))
        hits.append(hit_any)
        position = [x + v for x, v in zip(position, velocity, strict=True)]
    return torch.stack(states, 1), torch.stack(hits, 1)


def reflected_paths(
    shape: tuple[int, int], steps: int, room: int, speed: int, chance: bool, generator: torch.Generator
) -> Paths:
    """Return paths by the law of Franceschi et al. 2020, which meets walls between two frames.

    First positions are uniform in {0 .. room}, velocities in {-speed .. speed}, per axis. A square that would leave
    [0, room] is taken back to the point where it met the wall; there both velocities are redrawn, by chance, uniform in
    {-speed .. speed}; the one across points away from the wall; and the rest of the time step is flown with them, again and
    again until the square is inside. Arguments are those of :func:`snapped_paths`.
    """
    n, k = shape
    position = integers(0, room, (n, k, 2), generator)
    velocity = integers(-speed, speed, (n, k, 2), generator)
    states = [torch.cat([position, velocity], -1)]
    hits = [torch.zeros(n, k, dtype=torch.bool, device=generator.device)]
    for _ in range(steps - 1):
        position = position + velocity
        inside = _inside(position, room)
        hits.append(~inside.all(-1))
        while not bool(inside.all()):
            out = ~inside
            wall = torch.where(position < 0, 0.0, float(room))
            since = torch.where(out, (position - wall) / torch.where(out, velocity, 1.0), 0.0)  # time since each wall
            met = out & (since >= since.amax(-1, keepdim=True) - TOLERANCE)  # both at once in a corner
            at = torch.where(met, wall, position - velocity * since.amax(-1, keepdim=True))
            fresh = integers(-speed, speed, (n, k, 2), generator) if chance else velocity
            away = torch.where(position < 0, fresh.abs(), -fresh.abs())
            moved = torch.where(met, away, fresh)
            bounced = out.any(-1, keepdim=True)
            velocity = torch.where(bounced, moved, velocity)
            position = torch.where(bounced, at + moved * since.amax(-1, keepdim=True), position)
            inside = _inside(position, room)
        states.append(torch.cat([position, velocity], -1))
    return torch.stack(states, 1), torch.stack(hits, 1)


def _inside(position: Float[Tensor, "*b"], room: int) -> Bool[Tensor, "*b"]:
    return (position >= -TOLERANCE) & (position <= room + TOLERANCE)

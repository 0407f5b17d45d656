"""Exact elastic flight of equal discs in a convex container under constant acceleration.

Between collisions every centre moves on a parabola, so the time of the next collision is the root of a quadratic, with
a wall as with another disc (their relative motion is a straight line). The simulation jumps from collision to
collision, vectorised over sequences, and evaluates the parabolas at the wanted times: no time step, no drift.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dynarium.errors import UserError
from dynarium.systems.walls import HalfPlanes

MAX_COLLISIONS = 20_000
_SLIDE = 1e-3


def triangle_wave(
    position: Float[Tensor, "b 2"], velocity: Float[Tensor, "b 2"], low: float, high: float, times: Float[Tensor, " t"]
) -> tuple[Float[Tensor, "b t 2"], Float[Tensor, "b t 2"]]:
    """Return positions and velocities of points that reflect off the walls of the square ``[low, high]^2``.

    Unfolding the square at its walls makes the path a straight line; folding it back is a triangle wave per coordinate.
    """
    span = high - low
    straight = torch.addcmul((position - low)[:, None], velocity[:, None], times[:, None])
    crossings = torch.floor(straight / span)
    inside = straight - crossings * span
    odd = torch.remainder(crossings, 2)
    return low + torch.lerp(inside, span - inside, odd), velocity[:, None] * (1 - 2 * odd)


def time_to_wall(
    clearance: Float[Tensor, "*b"], approach: Float[Tensor, "*b"], pull: Float[Tensor, "*#b"]
) -> Float[Tensor, "*b"]:
    """Return when ``clearance - approach t - pull t^2 / 2`` next falls through zero; infinity if it never does.

    Args:
        clearance: Distance to the wall; rounding below zero counts as zero.
        approach: Speed towards the wall.
        pull: Acceleration towards the wall.
    """
    clearance = clearance.clamp(min=0)
    discriminant = approach.square() + 2 * pull * clearance
    root = discriminant.clamp(min=0).sqrt()
    # The form without cancellation for each sign of the approach speed.
    coming = torch.where(discriminant >= 0, 2 * clearance / (approach + root), torch.inf)
    going = torch.where(pull > 0, (root - approach) / pull, torch.inf)
    return torch.where(approach > 0, coming, going)


def fly(
    position: Float[Tensor, "b k 2"],
    velocity: Float[Tensor, "b k 2"],
    times: Float[Tensor, " t"],
    *,
    container: HalfPlanes,
    radius: float,
    gravity: tuple[float, float] | Float[Tensor, "b 2"] = (0.0, 0.0),
) -> tuple[Float[Tensor, "b t k 2"], Float[Tensor, "b t k 2"]]:
    """Return positions and velocities of k discs of mass 1 at ``times``, energy and containment exact to rounding.

    A disc that gravity presses on a wall without bouncing (initial conditions of measure zero) is given a hop of 1e-3
    of the speed that it gains in the mean time between the wanted times: sliding takes finitely many collisions.

    Args:
        position: Centres at time 0.
        velocity: Velocities at time 0.
        times: Increasing times, the first at or after 0.
        container: The walls that discs touch with their rim.
        radius: Radius of the discs.
        gravity: Constant acceleration, one for all or one for each sequence.

    Raises:
        UserError: More than 20,000 collisions in one sequence.
    """
    n, discs = position.shape[:2]
    centre_walls = container.shrunk(radius)
    g = torch.as_tensor(gravity, dtype=position.dtype, device=position.device).expand(n, 2)
    pull = g @ container.normals.mT
    end = times[-1]
    hop = _SLIDE * pull.clamp(min=0) * end / max(len(times) - 1, 1)
    first, second = torch.triu_indices(discs, discs, 1, device=position.device)

    x, v, accelerate = position, velocity, g[:, None]
    clock = torch.zeros(n, dtype=position.dtype, device=position.device)
    active = torch.arange(n, device=position.device)
    starts, xs, vs = [clock], [x], [v]
    for _ in range(MAX_COLLISIONS):
        towards = v @ container.normals.mT
        until = time_to_wall(centre_walls.clearance(x), towards, pull[:, None]).flatten(1)
        if discs > 1:
            until = torch.cat([until, _time_to_disc(x[:, first] - x[:, second], v[:, first] - v[:, second], radius)], 1)
        wait, which = until.min(1)
        going_on = clock + wait <= end
        if not going_on.any():
            break
        if not going_on.all():
            x, v, clock, active = x[going_on], v[going_on], clock[going_on], active[going_on]
            wait, which = wait[going_on], which[going_on]
            pull, hop, accelerate = pull[going_on], hop[going_on], accelerate[going_on]
        clock = clock + wait
        step = wait[:, None, None]
        x = x + v * step + 0.5 * accelerate * step**2
        v = v + accelerate * step
        v = _collide(x, v, which, container, hop, first, second)
        starts.append(torch.full((n,), torch.inf, dtype=x.dtype, device=x.device).index_copy_(0, active, clock))
        xs.append(torch.zeros_like(position).index_copy_(0, active, x))
        vs.append(torch.zeros_like(position).index_copy_(0, active, v))
    else:
        raise UserError(f"steps: a sequence has more than {MAX_COLLISIONS} collisions; use fewer steps or a smaller dt")

    start = torch.stack(starts, 1)
    piece = torch.searchsorted(start, times.expand(n, -1).contiguous(), right=True) - 1
    elapsed = (times - start.gather(1, piece))[..., None, None]
    rows = torch.arange(n, device=x.device)[:, None]
    x, v = torch.stack(xs, 1)[rows, piece], torch.stack(vs, 1)[rows, piece]
    accelerate = g[:, None, None]
    return x + v * elapsed + 0.5 * accelerate * elapsed**2, v + accelerate * elapsed


def _time_to_disc(
    offset: Float[Tensor, "b q 2"], velocity: Float[Tensor, "b q 2"], radius: float
) -> Float[Tensor, "b q"]:
    closing = -(offset * velocity).sum(-1)
    gap = (offset.square().sum(-1) - 4 * radius**2).clamp(min=0)
    discriminant = closing.square() - velocity.square().sum(-1) * gap
    meets = (closing > 0) & (discriminant >= 0)
    return torch.where(meets, gap / (closing + discriminant.clamp(min=0).sqrt()), torch.inf)


def _collide(
    x: Float[Tensor, "b k 2"],
    v: Float[Tensor, "b k 2"],
    which: Int[Tensor, " b"],
    container: HalfPlanes,
    hop: Float[Tensor, "b m"],
    first: Int[Tensor, " q"],
    second: Int[Tensor, " q"],
) -> Float[Tensor, "b k 2"]:
    """Return the velocities after collision ``which``: discs with walls first (disc-major), then pairs of discs."""
    discs, walls = x.shape[1], len(container.offsets)
    v = v.clone()
    row = torch.arange(len(x), device=x.device)
    if discs > 1:
        at_pair = (which >= discs * walls).nonzero()[:, 0]
        pair = which[at_pair] - discs * walls
        i, j = first[pair], second[pair]
        normal = x[at_pair, i] - x[at_pair, j]
        normal = normal / normal.norm(dim=-1, keepdim=True)
        # Equal masses exchange the components of their velocities along the line of their centres.
        exchange = ((v[at_pair, i] - v[at_pair, j]) * normal).sum(-1, keepdim=True) * normal
        v[at_pair, i] -= exchange
        v[at_pair, j] += exchange
        row = (which < discs * walls).nonzero()[:, 0]
    disc, wall = which[row] // walls, which[row] % walls
    normal = container.normals[wall]
    approach = (v[row, disc] * normal).sum(-1)
    leave = torch.maximum(approach, hop[row, wall])
    v[row, disc] -= (approach + leave)[:, None] * normal
    return v

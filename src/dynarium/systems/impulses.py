"""One disc and rigid segments as a game engine steps them: semi-implicit Euler and impulses, once per frame.

The published ball data sets were made this way (Chipmunk, through pymunk, with its default settings). It is
approximate: a disc sinks into a wall by up to a frame of flight before it is sent back, gains or loses energy under
gravity, and can tunnel through a wall. Use it only to compare with numbers measured on such data;
:mod:`dynarium.systems.billiards` is exact.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

_SLOP = 0.1  # overlap that is left alone
_OVERLAP_KEPT = 0.9**60  # share of the overlap left after one unit of time
_ITERATIONS = 10


def step_impulses(
    position: Float[Tensor, "b 2"],
    velocity: Float[Tensor, "b 2"],
    *,
    corners: Sequence[tuple[float, float]],
    radius: float,
    gravity: tuple[float, float] | Float[Tensor, "b 2"],
    dt: float,
    steps: int,
) -> tuple[Float[Tensor, "b t 2"], Float[Tensor, "b t 2"]]:
    """Return ``steps`` positions and velocities, the first ones as given, of a disc of mass 1 inside a closed polygon.

    Per step: move with the velocity and the push-out of the last step; find the closest point of every segment; add
    gravity to the velocity; ten rounds of sequential impulses, which reverse the approach speed measured before gravity
    and push out of the wall whatever overlap exceeds 0.1.
    """
    a = torch.tensor(corners, dtype=position.dtype, device=position.device)
    along = a.roll(-1, 0) - a
    g = torch.as_tensor(gravity, dtype=position.dtype, device=position.device)
    push_rate = (1 - _OVERLAP_KEPT**dt) / dt
    x, v = position, velocity
    push = torch.zeros_like(v)
    xs, vs = [x], [v]
    for _ in range(steps - 1):
        x = x + (v + push) * dt
        share = (((x[:, None] - a) * along).sum(-1) / along.square().sum(-1)).clamp(0, 1)
        away = x[:, None] - (a + share[..., None] * along)
        distance = away.norm(dim=-1)
        normal = away / distance.clamp(min=1e-300)[..., None]
        touching = distance < radius
        bounce = (v[:, None] * normal).sum(-1)
        push_speed = push_rate * (radius - distance - _SLOP).clamp(min=0)
        v = v + g * dt
        push = torch.zeros_like(v)
        impulse, push_impulse = torch.zeros_like(distance), torch.zeros_like(distance)
        for _ in range(_ITERATIONS if bool(touching.any()) else 0):
            for w in range(len(corners)):
                n, on = normal[:, w], touching[:, w]
                total = (push_impulse[:, w] + push_speed[:, w] - (push * n).sum(-1)).clamp(min=0)
                push = push + ((total - push_impulse[:, w]) * on)[:, None] * n
                push_impulse[:, w] = total * on
                total = (impulse[:, w] - bounce[:, w] - (v * n).sum(-1)).clamp(min=0)
                v = v + ((total - impulse[:, w]) * on)[:, None] * n
                impulse[:, w] = total * on
        xs.append(x)
        vs.append(v)
    return torch.stack(xs, 1), torch.stack(vs, 1)

"""Rounded polygons that slide on a table where they are pushed: quasi-static, without inertia.

A body that slides slowly moves by (v, omega) = (f, tau / c^2) up to scale, f and tau being the force and the torque of what
pushes it: the ellipsoidal limit surface of friction (Howe & Cutkosky 1996). Where bodies overlap, each is moved that way until
they touch, contacts without friction. All contacts are resolved together, a few rounds over.
"""

from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

_ROUNDS = 3
_SHARE = 0.6  # of the overlap of two bodies that a round takes away, as each pair is looked at from both sides


@dataclass(frozen=True, kw_only=True)
class Bodies:
    """K bodies of each sequence; lengths in px.

    Attributes:
        position: Where their middles are.
        angle: How they are turned, in rad.
        outline: Corners of the polygon around its middle, in one sense of rotation; the last ones may repeat.
        rounding: How far the body reaches beyond its polygon.
        reach: The length c of the limit surface: how hard a body is to turn.
        support: Where the table holds a body, from its middle; it turns about that.
    """

    position: Float[Tensor, "b k 2"]
    angle: Float[Tensor, "b k"]
    outline: Float[Tensor, "b k v 2"]
    rounding: Float[Tensor, "b k"]
    reach: Float[Tensor, "b k"]
    support: Float[Tensor, "b k 2"]

    def corners(self) -> Float[Tensor, "b k v 2"]:
        """Return the corners of the polygons where they are."""
        return turned(self.outline, self.angle[..., None]) + self.position[..., None, :]

    def select(self, rows: Int[Tensor, " r"]) -> "Bodies":
        """Return the bodies of these sequences."""
        return Bodies(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def moved(self, at: Float[Tensor, "b k 2"], by: Float[Tensor, "b k 2"]) -> "Bodies":
        """Return the bodies, each pushed at a point by such a force; a unit of force moves by a px."""
        torque = cross(at - self.position - self.support, by)
        return replace(self, position=self.position + by, angle=self.angle + torque / self.reach.square())

    def yielding(self, at: Float[Tensor, "... 2"], along: Float[Tensor, "... 2"]) -> Float[Tensor, "..."]:
        """Return how far the point moves along a unit force at it; bodies on the second axis."""
        extra = (1,) * (at.ndim - 3)
        middle = (self.position + self.support).reshape(*self.position.shape[:2], *extra, 2)
        return 1 + (cross(at - middle, along) / self.reach.reshape(*self.reach.shape, *extra)).square()


def pushed(
    bodies: Bodies,
    pusher: Float[Tensor, "b 2"],
    step: Float[Tensor, "b 2"],
    *,
    radius: float,
    low: float,
    high: float,
    pieces: int,
    settle: bool = False,
) -> tuple[Bodies, Float[Tensor, "b 2"]]:
    """Return the bodies and the disc that pushes them after its step.

    Everything stays between ``low`` and ``high`` in both coordinates. A disc that pushes a body against an edge stops.

    Args:
        bodies: Before the step.
        pusher: Where the disc is.
        step: Where it goes from there.
        radius: Of the disc in px.
        low: Smallest coordinate of the table.
        high: Largest coordinate of the table.
        pieces: Parts of the step, one after the other; each is best kept below a px.
        settle: Move overlapping bodies apart that are not pushed, too.
    """
    bodies = replace(bodies, position=bodies.position.clone(), angle=bodies.angle.clone())
    for _ in range(pieces):
        pusher = (pusher + step / pieces).clamp(low + radius, high - radius)
        # Where nothing is touched, nothing moves: only the other sequences are worked on.
        touched = settle | (_overlap(bodies, pusher, radius)[0] > 0).any(1)
        rows = touched.nonzero()[:, 0]
        if len(rows) == 0:
            continue
        some, disc = bodies.select(rows), pusher[rows]
        for _ in range(_ROUNDS):
            some = _inside(_apart(_from_disc(some, disc, radius)), low, high)
        some = _shifted_inside(some, low, high)  # what cannot be satisfied together ends here: the finger gives way
        depth, normal = _overlap(some, disc, radius)
        pusher[rows] = (disc + (depth[..., None] * normal).sum(1)).clamp(low + radius, high - radius)
        bodies.position[rows], bodies.angle[rows] = some.position, some.angle
    return bodies, pusher


def signed_distance(
    points: Float[Tensor, "*b p 2"], corners: Float[Tensor, "*b v 2"]
) -> tuple[Float[Tensor, "*b p"], Float[Tensor, "*b p 2"]]:
    """Return the distance of points from a convex polygon, negative inside, and the direction that leads away from it."""
    edge = corners.roll(-1, -2) - corners
    away = points[..., :, None, :] - corners[..., None, :, :]  # p v 2
    length = edge.square().sum(-1).clamp(min=1e-12)
    share = ((away * edge[..., None, :, :]).sum(-1) / length[..., None, :]).clamp(0, 1)
    off = away - share[..., None] * edge[..., None, :, :]
    square, nearest = off.square().sum(-1).min(-1)
    off = off.gather(-2, nearest[..., None, None].expand(*nearest.shape, 1, 2)).squeeze(-2)
    side = cross(edge[..., None, :, :], away)
    twice_area = cross(corners, corners.roll(-1, -2)).sum(-1)[..., None]
    inside = (twice_area.abs() > 1e-6) & (side * twice_area[..., None].sign() >= 0).all(-1)
    sign = torch.where(inside, -1.0, 1.0)
    distance = square.sqrt()
    return sign * distance, sign[..., None] * off / distance.clamp(min=1e-9)[..., None]


def cross(a: Float[Tensor, "... 2"], b: Float[Tensor, "... 2"]) -> Float[Tensor, "..."]:
    """Return a_x b_y - a_y b_x."""
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def turned(points: Float[Tensor, "*b 2"], angle: Float[Tensor, "..."]) -> Float[Tensor, "*b 2"]:
    """Return points turned about the origin, from x towards y."""
    c, s = angle.cos(), angle.sin()
    return torch.stack([c * points[..., 0] - s * points[..., 1], s * points[..., 0] + c * points[..., 1]], -1)


def _overlap(
    bodies: Bodies, disc: Float[Tensor, "b 2"], radius: float
) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b k 2"]]:
    """Return by how much each body overlaps a disc, and the direction from the body to the disc."""
    middle = disc[:, None, None].expand(-1, bodies.angle.shape[1], -1, -1)
    distance, normal = signed_distance(middle, bodies.corners())
    return (radius + bodies.rounding - distance[..., 0]).clamp(min=0), normal[..., 0, :]


def _from_disc(bodies: Bodies, disc: Float[Tensor, "b 2"], radius: float) -> Bodies:
    depth, normal = _overlap(bodies, disc, radius)
    at = disc[:, None] - radius * normal
    return bodies.moved(at, -(depth / bodies.yielding(at, normal))[..., None] * normal)


def _apart(bodies: Bodies) -> Bodies:
    """Move overlapping bodies apart; convex polygons are nearest to each other at a corner of one of them."""
    k = bodies.angle.shape[1]
    if k < 2:
        return bodies
    corners = bodies.corners()
    mine = corners[:, :, None].expand(-1, -1, k, -1, -1)  # the corners of a before body b
    distance, normal = signed_distance(mine, corners[:, None].expand(-1, k, -1, -1, -1))
    distance, nearest = distance.min(-1)
    pick = nearest[..., None, None].expand(*nearest.shape, 1, 2)
    normal, corner = (x.gather(-2, pick).squeeze(-2) for x in (normal, mine))
    others = ~torch.eye(k, dtype=torch.bool, device=distance.device)
    depth = (bodies.rounding[:, :, None] + bodies.rounding[:, None] - distance).clamp(min=0) * others
    at = corner - bodies.rounding[:, :, None, None] * normal
    give = bodies.yielding(at, normal) + bodies.yielding(at.transpose(1, 2), normal.transpose(1, 2)).transpose(1, 2)
    force = (_SHARE * depth / give)[..., None] * normal
    for other in range(k):
        bodies = bodies.moved(at[:, :, other], force[:, :, other]).moved(at[:, other], -force[:, other])
    return bodies


def _inside(bodies: Bodies, low: float, high: float) -> Bodies:
    """Push back what reaches beyond the edges of the table."""
    for axis in range(2):
        corners = bodies.corners()
        rounding = bodies.rounding[..., None]
        below, lowest = (rounding - corners[..., axis] + low).max(-1)
        above, highest = (rounding + corners[..., axis] - high).max(-1)
        sign = torch.where(below > above, 1.0, -1.0)
        furthest = torch.where(below > above, lowest, highest)
        normal = torch.zeros_like(bodies.position)
        normal[..., axis] = sign
        corner = corners.gather(-2, furthest[..., None, None].expand(*furthest.shape, 1, 2)).squeeze(-2)
        at = corner - rounding * normal
        force = torch.maximum(below, above).clamp(min=0) / bodies.yielding(at, normal)
        bodies = bodies.moved(at, force[..., None] * normal)
    return bodies


def _shifted_inside(bodies: Bodies, low: float, high: float) -> Bodies:
    """Shift what still reaches beyond the edges of the table, without turning it."""
    reach = bodies.rounding[..., None]
    corners = bodies.corners()
    below = (low + reach - corners.amin(-2)).clamp(min=0)
    above = (corners.amax(-2) + reach - high).clamp(min=0)
    return replace(bodies, position=bodies.position + below - above)

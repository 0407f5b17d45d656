"""Convex containers as half-planes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dynarium.errors import UserError


@dataclass(frozen=True, kw_only=True)
class HalfPlanes:
    """The convex region ``normals @ p <= offsets``; normals have unit length and point outwards."""

    normals: Float[Tensor, "m 2"]
    offsets: Float[Tensor, " m"]

    def shrunk(self, distance: float) -> "HalfPlanes":
        """Return the region moved inwards: where the centre of a disc of that radius may be."""
        return HalfPlanes(normals=self.normals, offsets=self.offsets - distance)

    def clearance(self, position: Float[Tensor, "*b 2"]) -> Float[Tensor, "*b m"]:
        """Return the distance of each point to each wall; negative outside."""
        return self.offsets - position @ self.normals.mT


def half_planes(corners: Sequence[tuple[float, float]], device: torch.device | str = "cpu") -> HalfPlanes:
    """Return the walls of a convex polygon, its corners in either orientation.

    Raises:
        UserError: Fewer than three corners, or not convex.
    """
    points = torch.tensor(corners, dtype=torch.float64)
    edges = points.roll(-1, 0) - points
    following = edges.roll(-1, 0)
    turns = edges[:, 0] * following[:, 1] - edges[:, 1] * following[:, 0]
    # Turning always the same way is not enough: a star does too, but goes around more than once.
    angles = torch.atan2(turns, (edges * following).sum(-1))
    once = abs(abs(float(angles.sum())) - 2 * torch.pi) < 1e-6
    if len(corners) < 3 or not ((turns > 0).all() or (turns < 0).all()) or not once:
        raise UserError(f"corners: expected a convex polygon without repeated corners, got {tuple(corners)}")
    outwards = torch.stack([edges[:, 1], -edges[:, 0]], -1) * turns[0].sign()
    normals = outwards / outwards.norm(dim=-1, keepdim=True)
    return HalfPlanes(normals=normals.to(device), offsets=(normals * points).sum(-1).to(device))

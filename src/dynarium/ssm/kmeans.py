"""Clusters: Lloyd's algorithm from centres spread out at random."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def kmeans(
    points: Float[Tensor, "m d"], k: int, generator: torch.Generator, iterations: int = 50
) -> tuple[Int[Tensor, " m"], Float[Tensor, "k d"]]:
    """Return the cluster of every point and the centres (Lloyd 1982; first centres by Arthur & Vassilvitskii 2007).

    The generator is the CPU's. A cluster that loses all its points keeps its centre.
    """
    weights = torch.ones(len(points), dtype=torch.float64)
    chosen: list[Tensor] = []
    for _ in range(k):
        if not bool((weights > 0).any()):  # fewer different points than clusters
            weights = torch.ones_like(weights)
        # multinomial takes at most 2^24 weights; the inverse of the distribution function takes any number.
        heights = weights.cumsum(0)
        pick = torch.searchsorted(heights, heights[-1] * torch.rand(1, dtype=torch.float64, generator=generator))
        chosen.append(points[pick.clamp(max=len(points) - 1).to(points.device)])
        weights = torch.cdist(points, torch.cat(chosen)).min(1).values.square().double().cpu()
    centres = torch.cat(chosen)
    label = nearest_centre(points, centres)
    for _ in range(iterations):
        sums = torch.zeros_like(centres).index_add_(0, label, points)
        counts = torch.bincount(label, minlength=k)[:, None]
        centres = torch.where(counts > 0, sums / counts.clamp(min=1), centres)
        before, label = label, nearest_centre(points, centres)
        if torch.equal(before, label):
            break
    return label, centres


def nearest_centre(points: Float[Tensor, "*b d"], centres: Float[Tensor, "k d"]) -> Int[Tensor, "*b"]:
    """Return the number of the centre next to every point."""
    return torch.cdist(points.flatten(0, -2), centres).argmin(-1).unflatten(0, points.shape[:-1])

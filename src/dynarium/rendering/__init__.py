"""States to frames: anti-aliased or hard-edged, batched, pure functions of positions in pixels."""

from dynarium.rendering.antialiased import antialiased_capsules, antialiased_discs, antialiased_walls
from dynarium.rendering.hard import hard_bars, hard_discs, hard_walls
from dynarium.rendering.soft import soft_discs

__all__ = [
    "antialiased_capsules",
    "antialiased_discs",
    "antialiased_walls",
    "hard_bars",
    "hard_discs",
    "hard_walls",
    "soft_discs",
]

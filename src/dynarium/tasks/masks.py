"""Which frames are hidden: masks are True where a frame is observed."""

import torch
from jaxtyping import Bool
from torch import Tensor


def random_mask(b: int, t: int, p: float, *, observe_first: int = 4, seed: int = 0) -> Bool[Tensor, "b t"]:
    """Hide every frame from ``observe_first`` on independently with probability ``p``.

    The masks of one seed are nested: what is hidden at a small p is hidden at every larger one.
    """
    uniform = torch.rand(b, t, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    mask = uniform >= p
    mask[:, :observe_first] = True
    return mask


def block_mask(b: int, t: int, steps: int, *, observe_first: int = 4) -> Bool[Tensor, "b t"]:
    """Hide the ``steps`` frames after the first ``observe_first`` and observe the rest ("planning" in Fraccaro et al. 2017)."""
    mask = torch.ones(b, t, dtype=torch.bool)
    mask[:, observe_first : observe_first + steps] = False
    return mask

"""Rooms with walls: a point that moves by its actions and stays where it is when a wall is in the way."""

import torch
from jaxtyping import Float
from torch import Tensor


def shortened(action: Float[Tensor, "*b 2"], longest: float) -> Float[Tensor, "*b 2"]:
    """Return the actions, those that are longer than ``longest`` shortened to it."""
    length = action.norm(dim=-1, keepdim=True)
    return torch.where(length > longest, action * (longest / length.clamp(min=1e-12)), action)

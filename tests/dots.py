"""Clips of a Gaussian dot that moves by its actions and stays inside: stored frames for tests of models that plan."""

import torch

from dynarium.types import SequenceBatch


def dot_clips(batch: int, steps: int = 6, side: int = 28, seed: int = 0) -> SequenceBatch:
    generator = torch.Generator().manual_seed(seed)
    action = 2 * torch.randn(batch, steps, 2, generator=generator)
    position = [2.6 + (side - 6.2) * torch.rand(batch, 2, generator=generator)]
    for i in range(steps - 1):
        position.append((position[-1] + action[:, i]).clamp(2.6, side - 3.6))
    state = torch.stack(position, 1)
    pixel = torch.arange(side)
    x, y = ((-(pixel - state[..., i, None]).square() / (2 * 1.3**2)).exp() for i in (0, 1))
    video = (255 * y[..., :, None] * x[..., None, :]).round().to(torch.uint8)[:, :, None]
    return SequenceBatch(video=video, state=state.double(), action=action)

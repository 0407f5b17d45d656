"""Small random inputs and outputs that the tests of several identifying models share."""

from dataclasses import replace

import torch

from dynarium.types import SequenceBatch


def random_signals(b: int = 3, t: int = 14, **fields) -> SequenceBatch:
    generator = torch.Generator().manual_seed(1)
    u = torch.randn(b, t, 2, generator=generator, dtype=torch.float64)
    y = torch.randn(b, t, 1, generator=generator, dtype=torch.float64)
    return replace(SequenceBatch(action=u, observation=y), **fields)


def cut(batch: SequenceBatch, m: int = 9) -> tuple[SequenceBatch, torch.Tensor]:
    """Return the first steps, and the inputs of the others."""
    return SequenceBatch(action=batch.action[:, :m], observation=batch.observation[:, :m]), batch.action[:, m:]

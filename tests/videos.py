"""Small random videos that the tests of several video models share."""

import torch

from dynarium.types import SequenceBatch

MASK = torch.tensor([[1, 1, 0, 0, 1, 1], [1, 0, 1, 0, 0, 0], [0, 0, 1, 1, 1, 0]], dtype=torch.bool)
"""What is observed of three sequences of six frames."""


def random_video(b=3, t=5, side=32, seed=0, control=0):
    g = torch.Generator().manual_seed(seed)
    video = (torch.rand(b, t, 1, side, side, generator=g) > 0.7).to(torch.uint8) * 255
    return SequenceBatch(video=video, action=torch.randn(b, t, control, generator=g) if control else None)


def bars(t=4):
    """Four still pictures of a bar, each at another place."""
    video = torch.zeros(4, t, 1, 32, 32, dtype=torch.uint8)
    for k in range(4):
        video[k, :, :, 8 * k : 8 * k + 8] = 255
    return SequenceBatch(video=video)


def roughened(model, size=0.3):
    """Move a model far from the tiny weights of its start, so that everything matters."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(size * torch.randn_like(p))
    return model


def losses_of(model, batch, steps, lr=5e-3):
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=lr), []
    for step in range(steps):
        loss, _ = model.loss(batch, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)

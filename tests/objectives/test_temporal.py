import pytest
import torch

from dynarium.objectives.temporal import temporal_similarity


def test_temporal_similarity_is_written_out():
    z = torch.randn(2, 4, 3, dtype=torch.float64)
    total = sum(((z[b, t] - z[b, t + 1]) ** 2).sum().item() for b in range(2) for t in range(3))
    assert temporal_similarity(z).item() == pytest.approx(total / 18)

import pytest
import torch

from dynarium.objectives.temporal import straightness, temporal_similarity


def test_temporal_similarity_is_written_out():
    z = torch.randn(2, 4, 3, dtype=torch.float64)
    total = sum(((z[b, t] - z[b, t + 1]) ** 2).sum().item() for b in range(2) for t in range(3))
    assert temporal_similarity(z).item() == pytest.approx(total / 18)


def test_straightness_of_a_line_and_of_a_zigzag():
    t = torch.arange(6.0)
    line = torch.stack([t, 2 * t], -1)[None]
    zigzag = torch.stack([t % 2, t % 2], -1)[None]
    assert straightness(line).item() == pytest.approx(1)
    assert straightness(zigzag).item() == pytest.approx(-1)
